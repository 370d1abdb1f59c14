"""What goal-conditioned methods learn on problems whose distances are known exactly."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training import SEEDS, collect, each, train

from headstart.algos import registry
from headstart.envs.tabular import chain

pytestmark = pytest.mark.usefixtures("quick_compilation")

GAMMA = 0.9


def roaming(mdp):
    """The problem without end, started anywhere: states that differ, and all of them goals."""
    return dataclasses.replace(mdp.endless, start=np.full(mdp.states, 1.0 / mdp.states))


def distances(mdp):
    """(S, S) least steps from state to state."""
    reach = (mdp.transition.max(1) > 0.0) | np.eye(mdp.states, dtype=bool)
    steps = np.full((mdp.states, mdp.states), np.inf)
    ahead = np.eye(mdp.states, dtype=bool)
    for k in range(mdp.states):
        steps = np.where(ahead, np.minimum(steps, k), steps)
        ahead = (ahead.astype(int) @ reach.astype(int)) > 0
    return steps


CHAIN = roaming(chain(6))
SETTINGS = {
    "actor_widths": (32, 32), "critic_widths": (32, 32), "batch_size": 128, "actor_lr": 3e-3, "critic_lr": 3e-3,
    "discount": GAMMA,
}  # fmt: skip
OWN = {
    "gcbc": {},
    "gcivl": {"expectile": 0.97, "tau": 0.05, "alpha": 3.0},
    "gciql": {"expectile": 0.97, "tau": 0.05, "alpha": 0.03},
    "hiql": {"expectile": 0.97, "tau": 0.05, "subgoal_steps": 2, "representation_size": 4},
    "crl": {"latent_size": 8, "alpha": 0.03},
    "qrl": {"latent_size": 16, "component_size": 4},
}
STEPS = 1200


def algorithm(name, **changes):
    found = registry.algorithm(name)
    fields = {field.name for field in dataclasses.fields(found)}
    return dataclasses.replace(
        found, **{key: value for key, value in (SETTINGS | OWN[name] | changes).items() if key in fields}
    )


def pairs(mdp):
    """Observations (S * S, S) of every state and goal."""
    states, goals = np.divmod(np.arange(mdp.states**2), mdp.states)
    return jnp.asarray(mdp.one_hot(states)), jnp.asarray(mdp.one_hot(goals))


@pytest.fixture(scope="module")
def trained():
    """name -> states of every method on the chain, from walks that go either way alike."""
    data = collect(CHAIN, CHAIN.uniform, 200, 12, continuous=True)
    kept = {}

    def of(name):
        if name not in kept:
            kept[name] = train(algorithm(name), data, STEPS)
        return kept[name]

    return of


@pytest.mark.parametrize("name", list(OWN))
def test_policies_go_towards_the_goal_from_everywhere(name, trained):
    states, goals = pairs(CHAIN)
    actions = each(trained(name), lambda state: algorithm(name).policy(state)(states, context=goals))
    assert actions.shape == (SEEDS, CHAIN.states**2, 1)
    moves = np.where(CHAIN.bin(actions), 1, -1).reshape(SEEDS, CHAIN.states, CHAIN.states)
    wanted = np.sign(np.arange(CHAIN.states)[None] - np.arange(CHAIN.states)[:, None])
    away = wanted != 0
    assert (moves == wanted)[:, away].mean() > (0.85 if name == "gcbc" else 0.96), moves


@pytest.mark.parametrize("name", ["gcivl", "gciql", "hiql"])
def test_values_are_discounted_distances(name, trained):
    truth = -(1.0 - GAMMA ** distances(CHAIN)) / (1.0 - GAMMA)
    states, goals = pairs(CHAIN)

    def value(state):
        if name == "gciql":
            return state.nets["value"](jnp.concatenate([states, goals], -1))
        return state.nets["value"](states, goals).mean(0)

    found = each(trained(name), value).reshape(SEEDS, *truth.shape)
    # The smaller of two critics that still differ a little lies low everywhere.
    np.testing.assert_allclose(found, np.broadcast_to(truth, found.shape), atol=1.3 if name == "gciql" else 0.45)
    assert all(np.corrcoef(one.ravel(), truth.ravel())[0, 1] > 0.97 for one in found)


def test_quasimetric_distances_are_numbers_of_steps(trained):
    truth = distances(CHAIN)
    states, goals = pairs(CHAIN)
    found = each(trained("qrl"), lambda state: state.nets["value"](states, goals)).reshape(SEEDS, *truth.shape)
    np.testing.assert_allclose(found[:, truth == 0.0], 0.0, atol=1e-5)
    np.testing.assert_allclose(found[:, truth == 1.0], 1.0, atol=0.45)
    for one in found:
        # Pairs that are further apart have the larger distances.
        means = [one[truth == d].mean() for d in range(CHAIN.states)]
        assert (np.diff(means) > 0.4).all(), means
        # The triangle inequality is built in.
        assert (one[:, None, :] <= one[:, :, None] + one[None] + 1e-4).all()


def test_the_contrastive_critic_knows_which_way_goals_lie(trained):
    """f(s, a, g) = log p(g ahead | s, a) / p(g) + constant: against the exact occupancies of the data's policy."""
    flow = np.einsum("sa,sat->st", CHAIN.uniform, CHAIN.transition)
    # From the next state on: (1 - gamma) (I - gamma P)^-1.
    ahead = (1.0 - GAMMA) * np.linalg.inv(np.eye(CHAIN.states) - GAMMA * flow)
    chance = np.einsum("sat,tg->sag", CHAIN.transition, ahead)
    truth = np.log(chance[:, 1] / chance[:, 0])
    states, goals = pairs(CHAIN)

    def difference(state):
        scores = []
        for action in (-0.5, 0.5):
            inputs = jnp.concatenate([states, jnp.full((len(states), 1), action)], -1)
            phi, psi = jnp.moveaxis(state.nets["critic"](inputs, goals), 1, 0)
            scores.append((phi * psi).sum(-1).mean(0))
        return scores[1] - scores[0]

    found = each(trained("crl"), difference).reshape(SEEDS, *truth.shape)
    for seed in range(SEEDS):
        assert np.corrcoef(found[seed].ravel(), truth.ravel())[0, 1] > 0.85
        assert (np.sign(found[seed]) == np.sign(truth))[np.abs(truth) > 0.1].mean() > 0.9


def test_targets_stand_outside_the_optimiser():
    for name in OWN:
        made = algorithm(name)
        spec = made.view().with_context(collect(CHAIN, CHAIN.uniform, 2, 3, continuous=True).spec)
        state = jax.eval_shape(lambda key, made=made, spec=spec: made.init(key, spec), jax.random.key(0))
        assert state.opt_state.keys() == state.nets.keys()
        moments = jax.tree.leaves(state.opt_state)
        assert len(moments) == sum(2 * len(jax.tree.leaves(net)) + 1 for net in state.nets.values())

"""What is learned, on problems small enough that the truth is known exactly."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from training import SEEDS, collect, each, train

from headstart.algos import registry
from headstart.data.dataset import Dataset
from headstart.envs.tabular import chain, gridworld

pytestmark = pytest.mark.usefixtures("quick_compilation")

TABLE = {"critic_widths": (), "critic_lr": 0.02, "tau": 0.1, "batch_size": 64}
"""Critics without hidden layers: on one-hot observations these are tables."""


def every_step_once(mdp):
    """One episode of one step for every state and action of a deterministic problem."""
    return Dataset.from_episodes(
        {
            "observations": mdp.one_hot([state, following]),
            "actions": np.array([action]),
            "rewards": [mdp.reward[state, action]],
            "terminated": mdp.terminal[following],
        }
        for state in np.flatnonzero(~mdp.terminal)
        for action in range(mdp.actions)
        for following in np.flatnonzero(mdp.transition[state, action])
    )


def discrete_q(algorithm, data, mdp, steps):
    """(seeds, S, A) learned values of all states."""
    states = jnp.asarray(mdp.one_hot(np.arange(mdp.states)))
    return each(train(algorithm, data, steps), lambda state: state.nets["critic"](states).min(0))


# -- discrete actions: the exact optimum, and its bounds ---------------------------------------------------------------


@pytest.mark.parametrize("mdp", [chain(5, discount=0.9), gridworld(3, 3, discount=0.8)], ids=["chain", "gridworld"])
def test_without_conservatism_values_are_optimal_however_often_episodes_are_cut_off(mdp):
    data = collect(mdp, mdp.uniform, 200, 8)
    cut_off = 1.0 - data.terminations.sum() / data.episodes
    assert cut_off > 0.2
    algorithm = registry.algorithm("discrete_cql", weight=0.0, discount=mdp.discount, **TABLE)
    found = discrete_q(algorithm, data, mdp, 2500)
    going = ~mdp.terminal
    np.testing.assert_allclose(found[:, going], np.broadcast_to(mdp.optimal()[1], found.shape)[:, going], atol=0.02)


def test_a_cut_off_mistaken_for_an_end_would_show():
    """The test above has teeth: with every time limit marked as an end the same values are far off."""
    mdp = chain(5, discount=0.9)
    data = collect(mdp, mdp.uniform, 200, 8)
    episodes = [data.episode(i) | {"terminated": True} for i in range(data.episodes)]
    algorithm = registry.algorithm("discrete_cql", weight=0.0, discount=mdp.discount, **TABLE)
    found = discrete_q(algorithm, Dataset.from_episodes(episodes, data.spec), mdp, 2500)
    assert (found[:, 0] < mdp.optimal()[1][0] - 0.03).all()


@pytest.mark.parametrize("regulariser", ["entropy", "chi_square"])
def test_a_large_weight_keeps_values_below_those_of_the_learned_policy(regulariser):
    """CQL theorem 3.2, with data that holds every action of a state equally often, so that no sampling error adds to
    it: the estimated value of the greedy policy is a lower bound of its true value."""
    mdp = gridworld(3, 3, discount=0.8)
    data = every_step_once(mdp)
    algorithm = registry.algorithm(
        "discrete_cql", weight=5.0, regulariser=regulariser, discount=mdp.discount, **TABLE
    )  # fmt: skip
    found = discrete_q(algorithm, data, mdp, 2500)
    going = np.flatnonzero(~mdp.terminal)
    for q in found:
        policy = np.eye(mdp.actions)[q.argmax(1)]
        truth, _ = mdp.evaluate(policy)
        assert (q.max(1)[going] <= truth[going] + 0.05).all()
        assert (q.max(1)[going] < truth[going] - 0.1).sum() >= 4


def test_calibration_stops_the_fall_at_the_reference():
    """Only the way right is in the data. CQL pushes the unseen way down without end, Cal-QL to the data's return."""
    mdp = chain(4, discount=0.9)
    right = np.tile([0.0, 1.0], (mdp.states, 1))
    data = collect(mdp, right, 20, 10)
    going = np.flatnonzero(~mdp.terminal)
    reference = mdp.evaluate(right)[0][going]
    settings = TABLE | {"discount": mdp.discount, "weight": 5.0, "critic_bias": 1.5, "critic_lr": 0.003}
    unseen = {
        calibrated: discrete_q(registry.algorithm("discrete_cql", calibrated=calibrated, **settings), data, mdp, 2500)
        for calibrated in (False, True)
    }
    assert (unseen[False][:, going, 0] < reference - 1.0).all()
    # The output's bias is shared by the states, hence the margin.
    assert (unseen[True][:, going] > reference[:, None] - 0.2).all()
    assert (unseen[True][:, going, 0] < 1.3).all()  # but down it went, from 1.5


# -- continuous actions: the policy ------------------------------------------------------------------------------------

MDP = chain(4, discount=0.7)
NETS = {"actor_widths": (16, 16), "batch_size": 64, "actor_lr": 3e-3}
CRITICS = NETS | {"critic_widths": (16, 16), "critic_lr": 3e-3, "discount": MDP.discount, "tau": 0.05}
SETTINGS = {
    "bc": NETS,
    "cql": CRITICS | {"actions": 2, "weight": 0.2, "initial_temperature": 0.05},
    "fql": CRITICS | {"alpha": 0.3, "flow_steps": 5},
    "iql": CRITICS | {"expectile": 0.9, "inverse_temperature": 10.0},
    "sac": CRITICS | {"initial_temperature": 0.05},
    "td3bc": CRITICS | {"actor_every": 1, "q_weight": 10.0},
}


@pytest.mark.parametrize("name", list(SETTINGS))
def test_learned_policies_are_nearly_optimal(name):
    """Data of a policy that goes either way alike (for BC: right nine times in ten); the best one always goes right."""
    behaviour = np.tile([0.1, 0.9], (MDP.states, 1)) if name == "bc" else MDP.uniform
    data = collect(MDP, behaviour, 150, 8, continuous=True)
    algorithm = registry.algorithm(name, **SETTINGS[name])
    states = train(algorithm, data, 800)
    everywhere = jnp.asarray(MDP.one_hot(np.arange(MDP.states)))
    actions = each(states, lambda state: algorithm.policy(state)(everywhere))
    assert actions.shape == (SEEDS, MDP.states, 1)
    best = MDP.optimal()[0][0]
    assert MDP.evaluate(MDP.uniform)[0][0] < 0.7 * best
    for seed in range(SEEDS):
        policy = np.eye(MDP.actions)[MDP.bin(actions[seed])]
        assert MDP.evaluate(policy)[0][0] >= 0.98 * best, actions[seed]
    if name == "iql":
        check_expectile(states, data)


def check_expectile(states, data):
    """V lies between the mean and the maximum of Q over the data's actions."""
    observed = data.observations[data.transitions]
    actions = jnp.asarray(data.actions[data.transitions])
    q = each(states, lambda state: state.targets["critic"](jnp.asarray(observed), actions).min(0))
    v = each(states, lambda state: state.nets["value"](jnp.asarray(observed)))
    for state in np.flatnonzero(~MDP.terminal):
        rows = observed[:, state] == 1.0
        assert (v[:, rows][:, 0] > q[:, rows].mean(1)).all()
        assert (v[:, rows][:, 0] < q[:, rows].max(1)).all()

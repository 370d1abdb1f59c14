"""What flows and chunks are for, where the truth is known: several modes, the better one, exact values of chunks."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training import SEEDS, collect, each, train

from headstart.algos import registry
from headstart.data.dataset import Dataset
from headstart.envs.tabular import chain

pytestmark = pytest.mark.usefixtures("quick_compilation")

NETS = {"actor_widths": (32,), "batch_size": 64, "actor_lr": 1e-2, "flow_steps": 5}
CRITICS = NETS | {"critic_widths": (32,), "critic_lr": 1e-2, "tau": 0.1}


def drawn(algorithm, states, observation, count=300):
    """(seeds, count, d) sampled actions at one observation."""
    keys = jax.random.split(jax.random.key(0), count)
    return each(
        states, lambda state: jax.vmap(lambda key: algorithm.policy(state)(jnp.asarray([observation]), key)[0])(keys)
    )


# -- modes ------------------------------------------------------------------------------------------------------------

LEFT, RIGHT, SPREAD = -0.7, 0.5, 0.1


@pytest.fixture(scope="module")
def two_modes():
    """One state and two ways, right one in three times; only the way right is rewarded."""
    rng = np.random.default_rng(0)
    right = rng.uniform(size=(600, 1)) < 1.0 / 3.0
    actions = np.where(right, RIGHT, LEFT) + SPREAD * rng.normal(size=(600, 1))
    return Dataset.from_episodes(
        {
            "observations": np.ones((2, 1), np.float32), "actions": action[None].astype(np.float32),
            "rewards": way.astype(np.float32), "terminated": True,
        }
        for action, way in zip(actions, right, strict=True)
    )  # fmt: skip


def shares(actions):
    """(seeds,) of actions near the left mode, near the right one, and between them."""
    left, right = (np.abs(actions[..., 0] - mode) < 3 * SPREAD for mode in (LEFT, RIGHT))
    between = (actions[..., 0] > LEFT + 3 * SPREAD) & (actions[..., 0] < RIGHT - 3 * SPREAD)
    return left.mean(1), right.mean(1), between.mean(1)


def test_a_cloned_flow_has_both_modes_where_a_gaussian_lies_between(two_modes):
    settings = {"actor_widths": (64, 64), "batch_size": 64, "actor_lr": 3e-3}
    flow = registry.algorithm("bc", policy_kind="flow", flow_steps=8, **settings)
    left, right, between = shares(drawn(flow, train(flow, two_modes, 1500), [1.0]))
    assert (np.abs(left - 2.0 / 3.0) < 0.2).all()
    assert (np.abs(right - 1.0 / 3.0) < 0.2).all()
    assert (between < 0.2).all()

    gaussian = registry.algorithm("bc", policy_kind="gaussian", **settings)
    states = train(gaussian, two_modes, 400)
    mode = each(states, lambda state: gaussian.policy(state)(jnp.ones((1, 1))))
    assert np.abs(mode - (2.0 * LEFT + RIGHT) / 3.0).max() < 0.1
    assert (shares(drawn(gaussian, states, [1.0]))[2] > 0.3).all()


@pytest.mark.parametrize("settings", [{"alpha": 0.3}, {"best_of": 12}], ids=["one step", "best of"])
def test_fql_goes_the_rarer_but_better_way(two_modes, settings):
    fql = registry.algorithm("fql", **CRITICS, **settings)
    actions = drawn(fql, train(fql, two_modes, 1000), [1.0])
    assert ((actions[..., 0] > 0.1).mean(1) > 0.6).all()


# -- chunks -----------------------------------------------------------------------------------------------------------

H = 3
MDP = chain(5, discount=0.8)


@pytest.fixture(scope="module")
def planned():
    """QC on a chain that a random policy walked; many of its episodes were cut off."""
    data = collect(MDP, MDP.uniform, 300, 12, continuous=True)
    assert 0.2 < data.terminations.sum() / data.episodes < 0.8
    qc = registry.algorithm("qc", chunk=H, **CRITICS | {"best_of": 16, "discount": MDP.discount})
    return qc, train(qc, data, 1500)


def exact(state, ways):
    """Value of the ways 0 or 1 of a chunk from a state on, and acting best after it."""
    value, best = 0.0, MDP.optimal()[0]
    for k, way in enumerate(ways):
        value += MDP.discount**k * MDP.reward[state, way]
        state = MDP.transition[state, way].argmax()
        if MDP.terminal[state]:
            return value
    return value + MDP.discount ** len(ways) * best[state]


def test_values_of_chunks_are_exact_whether_the_task_ends_inside_or_not(planned):
    """Every state with all chunks of the middles of the two ways, those that end early among them."""
    _, states = planned
    cases = [(s, ways) for s in np.flatnonzero(~MDP.terminal) for ways in itertools.product((0, 1), repeat=H)]
    features = jnp.asarray(MDP.one_hot([s for s, _ in cases]))
    actions = jnp.asarray([[way - 0.5 for way in ways] for _, ways in cases])
    q = each(states, lambda state: state.nets["critic"](features, actions).mean(0))
    expected = np.array([exact(*case) for case in cases])
    assert np.ptp(expected) > 0.5
    assert np.abs(q - expected).max(1).max() < 0.12
    assert np.abs(q - expected).mean() < 0.05


def test_planned_chunks_walk_the_shortest_way(planned):
    qc, states = planned
    start = jnp.asarray(MDP.one_hot([0]))
    chunks = each(states, lambda state: qc.policy(state).chunk(start))
    assert chunks.shape == (SEEDS, 1, H, 1)
    assert (chunks > 0).all()
    # A call gives the first action of the same chunk.
    np.testing.assert_array_equal(each(states, lambda state: qc.policy(state)(start)), chunks[:, :, 0])

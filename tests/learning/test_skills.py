"""What methods that learn skills without a task find out on problems whose distances and values are known exactly."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from training import SEEDS, collect, each, train

from headstart.algos.fb import FB
from headstart.algos.hilp import HILP
from headstart.artifact import Artifact
from headstart.data.normalize import Normalizer
from headstart.envs.tabular import chain

pytestmark = pytest.mark.usefixtures("quick_compilation")

GAMMA = 0.9
# Without end and started anywhere: states that differ in their place alone.
CHAIN = dataclasses.replace(chain(6).endless, start=np.full(6, 1.0 / 6.0))
STATES = CHAIN.one_hot(np.arange(6))
SETTINGS = {
    "skill_size": 4, "actor_widths": (16, 16), "batch_size": 64, "actor_lr": 3e-3, "tau": 0.05, "discount": GAMMA,
}  # fmt: skip


def learned(algorithm, steps):
    """The artifact of walks that go either way alike."""
    data = collect(CHAIN, CHAIN.uniform, 200, 12, continuous=True)
    spec = algorithm.view().with_context(data.spec)
    return Artifact(algorithm, spec, train(algorithm, data, steps), Normalizer.of(data.spec), tuple(range(SEEDS)))


def everyone(observations):
    return np.broadcast_to(observations, (SEEDS, *observations.shape))


def moves(actions):
    """-1 to the left, 1 to the right."""
    return np.where(CHAIN.bin(actions), 1, -1)


def ways_to_goals(model):
    """(SEEDS, S, S) moves of a model told every goal in turn, and the right ones (S, S), 0 at the goal."""
    states, goals = np.repeat(STATES, 6, axis=0), np.tile(STATES, (6, 1))
    found = moves(model.prompt().act(everyone(states), context=everyone(goals))).reshape(SEEDS, 6, 6)
    return found, np.sign(np.arange(6)[None] - np.arange(6)[:, None])


# -- HILP -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hilp():
    changes = {"critic_widths": (16, 16), "critic_lr": 3e-3, "skill_discount": GAMMA, "inverse_temperature": 3.0}
    return learned(HILP(**SETTINGS | changes), 1200)


def test_hilbert_distances_order_states_as_the_true_ones_do(hilp):
    found = -each(hilp.state, lambda state: state.nets["phi"](STATES[:, None], STATES[None])[0])
    truth = np.abs(np.arange(6)[:, None] - np.arange(6))
    np.testing.assert_allclose(found[:, truth == 1], 1.0, atol=0.35)
    for seed in range(SEEDS):
        # Each further state is further away, seen from anywhere.
        for near, far in zip(range(5), range(1, 6), strict=True):
            assert found[seed][truth == near].max() < found[seed][truth == far].min()


def test_hilp_goes_towards_goals_that_it_is_told(hilp):
    found, wanted = ways_to_goals(hilp)
    assert (found == wanted)[:, wanted != 0].mean() > 0.96


def test_hilp_collects_rewards_that_it_is_told(hilp):
    for direction, elsewhere in ((-1, slice(1, None)), (1, slice(None, -1))):
        model = hilp.prompt(reward_examples=(STATES, direction * np.arange(6.0)))
        found = moves(model.act(everyone(STATES)))[:, elsewhere]
        assert (found == direction).mean() > 0.9, found


# -- FB ---------------------------------------------------------------------------------------------------------------

FB_GAMMA = 0.8


@pytest.fixture(scope="module")
def fb():
    changes = {
        "skill_size": 6, "actor_widths": (32, 32), "forward_widths": (32, 32), "backward_widths": (32,),
        "critic_lr": 3e-3, "discount": FB_GAMMA, "exploration_noise": 0.1,
    }  # fmt: skip
    return learned(FB(**SETTINGS | changes), 1500)


def collecting(model, state):
    """The model told to be in a state, by examples of all states alike, and what it does: (SEEDS, S, A)."""
    told = model.prompt(reward_examples=(STATES, np.eye(6)[state]))
    return told, np.eye(2)[CHAIN.bin(told.act(everyone(STATES)))]


def test_fb_goes_towards_goals_that_it_is_told(fb):
    found, wanted = ways_to_goals(fb)
    assert (found == wanted)[:, wanted != 0].mean() > 0.96


def test_fb_without_learning_is_near_optimal_for_any_reward(fb):
    for state in range(6):
        task = dataclasses.replace(CHAIN, reward=CHAIN.transition[..., state], discount=FB_GAMMA)
        best = task.optimal()[0].mean()
        found = [task.evaluate(policy)[0].mean() for policy in collecting(fb, state)[1]]
        assert min(found) > 0.95 * best, (state, found, best)


def test_fb_knows_where_its_policies_go(fb):
    """F^T B times the data's density is the exact successor measure, sum over t of gamma^t P(s_t+1 | s, a)."""
    density = np.full(6, 1.0 / 6.0)  # of next states: walks from anywhere stay anywhere
    for state in (2, 5):
        model, policies = collecting(fb, state)
        for seed, policy in enumerate(policies):
            flow = np.einsum("sa,sat->st", policy, CHAIN.transition)
            exact = CHAIN.transition @ np.linalg.inv(np.eye(6) - FB_GAMMA * flow)
            state_of_seed = jax.tree.map(lambda leaf, seed=seed: leaf[seed], fb.state)
            features = np.concatenate([STATES, np.tile(model.contexts[seed], (6, 1))], -1)
            # To the left and to the right.
            actions = np.broadcast_to(np.float32([-0.5, 0.5])[:, None], (6, 2, 1))
            forward = np.asarray(state_of_seed.nets["forward"](features[:, None], actions)).mean(0)
            backward = np.asarray(fb.algorithm.features(state_of_seed, STATES))
            found = forward @ backward.T * density
            assert np.corrcoef(found.ravel(), exact.ravel())[0, 1] > 0.85
            assert np.abs(found - exact).mean() < 0.5

"""Returns-to-go against a loop over every episode, and in closed form for success, failure and cut-off."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.algorithm import View
from headstart.data.dataset import Dataset
from headstart.data.returns import pessimistic_tail, returns_to_go
from headstart.data.views import table
from headstart.errors import UsageError


def dataset(*episodes):
    """Data from (rewards, terminated) pairs."""
    return Dataset.from_episodes(
        {
            "observations": np.zeros((len(rewards) + 1, 1)),
            "rewards": np.asarray(rewards, float),
            "terminated": terminated,
        }
        for rewards, terminated in episodes
    )


def found(data, discount, tail):
    return returns_to_go(data.rewards, data.terminations, data.episode_start, data.episode_end, discount, tail)


REWARDS = st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=12)


@given(
    st.lists(st.tuples(REWARDS, st.booleans()), min_size=1, max_size=6),
    st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0]),
    st.floats(-50, 0),
)
def test_returns_are_those_of_a_loop(episodes, discount, tail):
    data = dataset(*episodes)
    returns = found(data, discount, tail)
    assert returns.shape == (len(data),)
    assert returns.dtype == np.float32
    row = 0
    for rewards, terminated in episodes:
        for start in range(len(rewards) + 1):
            total, factor = 0.0, 1.0
            for reward in rewards[start:]:
                total += factor * reward
                factor *= discount
            total += 0.0 if terminated else factor * tail
            np.testing.assert_allclose(returns[row], total, rtol=1e-5, atol=1e-5)
            row += 1


def test_success_after_steps_that_cost_one():
    """Reward -1 a step and 0 at the last: -(1 - gamma^k) / (1 - gamma), k steps before success."""
    gamma = 0.9
    steps_left = np.arange(5, -1, -1)
    expected = -(1 - gamma**steps_left) / (1 - gamma)
    np.testing.assert_allclose(found(dataset(([-1] * 5 + [0], True)), gamma, -10.0)[:6], expected, rtol=1e-6)


def test_failure_throughout_is_worth_the_tail_at_every_step():
    """As Cal-QL's code has it: reward / (1 - gamma) everywhere."""
    gamma = 0.99
    data = dataset(([-1.0] * 30, False), ([-1.0, 0.0], True))
    mc_returns = table(data, View(discount=gamma, mc_return=True, actions=False)).mc_returns
    np.testing.assert_allclose(mc_returns[:31], -100.0, rtol=1e-5)
    np.testing.assert_allclose(mc_returns[31:33], [-1.0, 0.0])


def test_the_tail_counts_rewards_of_steps_only():
    """The rewards column is zero at final observations; where all rewards are -2, the lowest is still -2 and where all
    are positive the tail is 0, since an episode may end at any time."""
    assert pessimistic_tail(-2.0, 0.5) == -4.0
    assert pessimistic_tail(3.0, 0.5) == pessimistic_tail(0.0, 1.0) == 0.0
    with pytest.raises(UsageError, match="no lower bound for what follows a cut-off; set discount below 1"):
        pessimistic_tail(-1.0, 1.0)
    data = dataset(([3.0, 5.0], False))
    mc_returns = table(data, View(discount=0.5, mc_return=True, actions=False)).mc_returns
    np.testing.assert_allclose(mc_returns, [5.5, 5.0, 0.0])


@pytest.mark.parametrize("continuation", [[-1.0, -1.0], [-1.0, 0.0], [0.0, 0.0, -1.0, 0.0]])
def test_a_cut_off_return_is_a_lower_bound_whatever_follows(continuation):
    """Cut one long episode: the bound of the first part never exceeds what the whole episode returned."""
    gamma = 0.9
    whole = found(dataset(([-1.0, 0.0, -1.0, *continuation], True)), gamma, -10.0)
    part = found(dataset(([-1.0, 0.0, -1.0], False)), gamma, pessimistic_tail(-1.0, gamma))
    assert (part[:3] <= whole[:3] + 1e-6).all()


def test_returns_of_long_episodes_keep_their_digits():
    """Summed in float64: a hundred thousand steps of reward 0.1."""
    steps, gamma = 100_000, 0.9999
    returns = found(dataset(([0.1] * steps, True)), gamma, 0.0)
    expected = np.float32(0.1) * (1 - gamma ** np.arange(steps, -1, -1.0)) / (1 - gamma)
    np.testing.assert_allclose(returns, expected, rtol=1e-5, atol=1e-6)

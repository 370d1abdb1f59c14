"""Index samplers: never outside the episode, and with the law that they name."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from headstart.algorithm import Goals, View
from headstart.data import index
from headstart.errors import UsageError

pytestmark = pytest.mark.usefixtures("quick_compilation")

B = 64
KEYS = st.integers(0, 2**31 - 1).map(jax.random.key)
REMAINING = st.lists(st.integers(1, 40), min_size=B, max_size=B).map(lambda steps: np.asarray(steps, np.int32))

geometric = jax.jit(index.geometric, static_argnums=(1, 2))
uniform = jax.jit(index.uniform, static_argnums=2)
hindsight = jax.jit(index.hindsight, static_argnums=1)
chunk = jax.jit(index.chunk, static_argnums=1)


def drawn(key, goals, discount=0.99, count=1000, size=B):
    """A draw of goals, in NumPy."""
    view = View(size, discount, goals=goals)
    return jax.tree.map(np.asarray, hindsight(key, view, count)["goals"])


@settings(max_examples=50, deadline=None)
@given(KEYS, REMAINING, st.sampled_from([0.01, 0.5, 0.99, 0.9999, None]))
def test_future_goals_stay_in_their_episode(key, remaining, discount):
    goals = Goals(geometric=discount is not None)
    draw = drawn(key, goals, discount or 0.99)
    steps = index.steps_to_goal(draw, remaining)
    assert steps.dtype == np.int32
    assert (draw.kind == index.FUTURE).all()
    assert (steps >= 1).all()
    assert (steps <= remaining).all()
    np.testing.assert_array_equal(jax.jit(index.steps_to_goal)(draw, remaining), steps)


@settings(max_examples=50, deadline=None)
@given(KEYS, st.integers(1, 1000))
def test_uniform_positions_lie_below_the_count(key, count):
    positions = uniform(key, count, B)
    assert positions.shape == (B,)
    assert positions.dtype == np.int32
    assert (positions >= 0).all()
    assert (positions < count).all()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=8, max_size=8))
def test_chunks_count_up_and_hold_at_the_end(remaining):
    steps, inside = chunk(np.asarray(remaining, np.int32), 5)
    np.testing.assert_array_equal(steps, [[min(k, left - 1) for k in range(5)] for left in remaining])
    np.testing.assert_array_equal(inside, [[k < left for k in range(5)] for left in remaining])


@pytest.mark.parametrize("discount", [0.8, 0.99])
def test_geometric_steps_follow_their_law(discount):
    """P(k) = (1 - gamma) gamma^(k - 1), and what would leave the episode falls on its last row."""
    cap, count = 12, 20_000
    draw = drawn(jax.random.key(3), Goals(geometric=True), discount, size=count)
    assert draw.ahead.max() > 3 / (1 - discount)
    steps = index.steps_to_goal(draw, np.full(count, cap, np.int32))
    law = (1 - discount) * discount ** np.arange(cap)
    law[-1] = discount ** (cap - 1)
    np.testing.assert_allclose(law.sum(), 1.0)
    assert stats.chisquare(np.bincount(steps, minlength=cap + 1)[1:], count * law).pvalue > 0.01


def test_the_mean_of_geometric_steps():
    steps = np.asarray(geometric(jax.random.key(0), 0.99, 200_000))
    # Standard deviation about 100, so that of the mean is 0.22.
    np.testing.assert_allclose(steps.mean(), 100.0, atol=1.0)


def test_uniform_laws():
    count = 20_000
    draw = drawn(jax.random.key(4), Goals(), size=count)
    steps = index.steps_to_goal(draw, np.full(count, 7, np.int32))
    assert stats.chisquare(np.bincount(steps, minlength=8)[1:]).pvalue > 0.01
    positions = uniform(jax.random.key(5), 9, count)
    assert stats.chisquare(np.bincount(positions, minlength=9)).pvalue > 0.01


@pytest.mark.parametrize("shares", [(0.2, 0.5, 0.3), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.5, 0.0, 0.5)])
def test_kinds_of_goals_have_their_shares(shares):
    count = 20_000
    draw = drawn(jax.random.key(6), Goals(*shares, commanded=0.25), count=9, size=count)
    found = np.bincount(draw.kind, minlength=3)
    expected = count * np.asarray(shares)
    assert (found[expected == 0] == 0).all()
    if len(shares) - shares.count(0.0) > 1:
        assert stats.chisquare(found[expected > 0], expected[expected > 0]).pvalue > 0.01
    np.testing.assert_allclose(draw.commanded.mean(), 0.25, atol=0.015)
    assert stats.chisquare(np.bincount(draw.other, minlength=9)).pvalue > 0.01
    # The draws do not hang together.
    if 0.0 < shares[2] < 1.0:
        assert abs(np.corrcoef(draw.kind == index.RANDOM, draw.commanded)[0, 1]) < 0.03


def test_rows_and_goals_of_values_and_actors_are_drawn_apart():
    key = jax.random.key(7)
    draws = hindsight(key, View(B, goals=Goals(0, 0, 1), actor_goals=Goals(0, 0, 1)), 1000)
    columns = [uniform(key, 1000, B), draws["goals"].other, draws["actor_goals"].other]
    for i in range(3):
        assert abs(np.corrcoef(columns[i], columns[i - 1])[0, 1]) < 0.5
    assert hindsight(key, View(B), 1000) == {}


def test_impossible_goals_are_refused():
    with pytest.raises(UsageError, match="must sum to 1, found 0.5, 0.5 and 0.5"):
        Goals(0.5, 0.5, 0.5)
    with pytest.raises(UsageError, match="Goals.random: expected at least 0, found -0.5"):
        Goals(0.5, 1.0, -0.5)
    with pytest.raises(UsageError, match="geometric goals need a discount between 0 and 1, found 1.0"):
        View(discount=1.0, goals=Goals(geometric=True))
    with pytest.raises(UsageError, match="n_step 1"):
        View(n_step=3, goals=Goals())

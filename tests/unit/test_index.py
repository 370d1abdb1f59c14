"""Index samplers: never outside the episode, and with the law that they name."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from headstart.data import index

pytestmark = pytest.mark.usefixtures("quick_compilation")

B = 64
KEYS = st.integers(0, 2**31 - 1).map(jax.random.key)
REMAINING = st.lists(st.integers(1, 40), min_size=B, max_size=B).map(lambda steps: np.asarray(steps, np.int32))

geometric = jax.jit(index.geometric_future)
uniform_future = jax.jit(index.uniform_future)
uniform = jax.jit(index.uniform, static_argnums=2)
chunk = jax.jit(index.chunk, static_argnums=2)


@settings(max_examples=50, deadline=None)
@given(KEYS, REMAINING, st.sampled_from([0.01, 0.5, 0.99, 0.9999]))
def test_future_rows_stay_in_their_episode(key, remaining, discount):
    for steps in (geometric(key, remaining, discount), uniform_future(key, remaining)):
        assert steps.dtype == np.int32
        assert (steps >= 1).all()
        assert (steps <= remaining).all()


@settings(max_examples=50, deadline=None)
@given(KEYS, st.integers(1, 1000))
def test_uniform_positions_lie_below_the_count(key, count):
    positions = uniform(key, count, B)
    assert positions.shape == (B,)
    assert positions.dtype == np.int32
    assert (positions >= 0).all()
    assert (positions < count).all()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 500), st.integers(1, 12)), min_size=8, max_size=8))
def test_chunks_count_up_and_hold_at_the_end(pairs):
    rows, remaining = np.asarray(pairs, np.int32).T
    expected = [[row + min(k, left) for k in range(5)] for row, left in pairs]
    np.testing.assert_array_equal(chunk(rows, remaining, 5), expected)


def test_geometric_steps_follow_their_law():
    """P(k) = (1 - gamma) gamma^(k - 1), and what would leave the episode falls on its last row."""
    discount, cap, count = 0.8, 12, 20_000
    steps = np.asarray(geometric(jax.random.key(3), np.full(count, cap, np.int32), discount))
    law = (1 - discount) * discount ** np.arange(cap)
    law[-1] = discount ** (cap - 1)
    np.testing.assert_allclose(law.sum(), 1.0)
    assert stats.chisquare(np.bincount(steps, minlength=cap + 1)[1:], count * law).pvalue > 0.01


def test_uniform_laws():
    count = 20_000
    steps = uniform_future(jax.random.key(4), np.full(count, 7, np.int32))
    assert stats.chisquare(np.bincount(steps, minlength=8)[1:]).pvalue > 0.01
    positions = uniform(jax.random.key(5), 9, count)
    assert stats.chisquare(np.bincount(positions, minlength=9)).pvalue > 0.01

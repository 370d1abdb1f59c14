"""Losses and distances of goal-conditioned methods against NumPy, and the properties that they are named for."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from headstart.losses import goals
from headstart.nets.goals import interval_lengths, residual_distance, to_sphere

pytestmark = pytest.mark.usefixtures("quick_compilation")

RNG = np.random.default_rng(0)


def test_advantage_expectile():
    u, advantage = RNG.normal(size=(2, 2, 7))
    found = goals.advantage_expectile(jnp.asarray(u), jnp.asarray(advantage), 0.9)
    np.testing.assert_allclose(found, np.where(advantage < 0, 0.1, 0.9) * u**2, rtol=1e-5)
    with pytest.raises(ValueError, match="arrays of one rank"):
        goals.advantage_expectile(jnp.zeros((2, 3)), jnp.zeros(3), 0.9)


def test_binary_nce():
    logits = RNG.normal(size=(2, 5, 5)) * 3.0
    probability = special.expit(logits)
    expected = -np.where(np.eye(5) == 1.0, np.log(probability), np.log(1.0 - probability))
    np.testing.assert_allclose(goals.binary_nce(jnp.asarray(logits)), expected, rtol=1e-4, atol=1e-5)
    # Sure of itself: no overflow.
    assert np.isfinite(goals.binary_nce(jnp.full((3, 3), 1e4))).all()


def test_spread_and_cost():
    d = np.array([0.0, 1.0, 1.5, 100.0, 499.0, 2000.0])
    np.testing.assert_allclose(goals.spread(jnp.asarray(d)), 100.0 * np.logaddexp(0.0, 5.0 - d / 100.0), rtol=1e-5)
    np.testing.assert_allclose(goals.beyond_cost(jnp.asarray(d)), np.maximum(d - 1.0, 0.0) ** 2, rtol=1e-6)


def test_representations_have_one_length():
    x = RNG.normal(size=(6, 10)).astype(np.float32)
    found = np.asarray(to_sphere(jnp.asarray(x)))
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), np.sqrt(10.0), rtol=1e-5)
    np.testing.assert_allclose(found / x, (found / x)[:, :1].repeat(10, 1), rtol=1e-4)


def covered(u, v, resolution=64):
    """Length of the union of [u_j, max(u_j, v_j)] for numbers that are multiples of 1 / resolution."""
    cells = set()
    for left, right in zip(u, v, strict=True):
        cells |= set(range(round(left * resolution), round(max(left, right) * resolution)))
    return len(cells) / resolution


NUMBERS = st.lists(st.integers(-64, 64), min_size=4, max_size=4).map(lambda n: np.asarray(n, np.float32) / 64.0)


@settings(max_examples=60, deadline=None)
@given(NUMBERS, NUMBERS)
def test_interval_lengths_are_those_of_the_union(u, v):
    np.testing.assert_allclose(interval_lengths(jnp.asarray(u), jnp.asarray(v)), covered(u, v), atol=1e-6)


@pytest.mark.parametrize("distance", [interval_lengths, residual_distance])
def test_distances_are_quasimetrics(distance):
    a, b, c = jnp.asarray(RNG.normal(size=(3, 50, 8)), jnp.float32)
    np.testing.assert_allclose(distance(a, a), 0.0, atol=2e-6)
    assert (distance(a, b) >= 0.0).all()
    assert (distance(a, c) <= distance(a, b) + distance(b, c) + 1e-5).all()
    assert np.abs(distance(a, b) - distance(b, a)).max() > 0.1

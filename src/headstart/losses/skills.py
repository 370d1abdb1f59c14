"""Losses of successor measures, of all pairs of a batch. Their means over the pairs are the losses."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from headstart.losses.value import same_rank


def successor_measure(measure: jax.Array, backup: jax.Array) -> jax.Array:
    """(B, B) of M(s_i, a_i, s'_j), densities of where i's future lies, and gamma times those of its next step: (M -
    backup)**2 / 2 off the diagonal, where j is any state, and -M on it, where j is the step that was taken (Touati and
    Ollivier 2021, eq. 9)."""
    same_rank(measure, backup)
    return _pairs(-measure, 0.5 * jnp.square(measure - jax.lax.stop_gradient(backup)))


def orthonormality(gram: jax.Array) -> jax.Array:
    """(B, B) of the products <B(s_i), B(s_j)>: their squares off the diagonal, minus twice those on it. The mean is
    |E[B B^T] - I|**2 but for a constant (Touati et al. 2023, appendix B)."""
    return _pairs(-2.0 * gram, jnp.square(gram))


def _pairs(own: jax.Array, other: jax.Array) -> jax.Array:
    """(B, B) weighted so that the mean is that of `own` on the diagonal, plus that of `other` off it."""
    rows = own.shape[0]
    return jnp.where(jnp.eye(rows, dtype=bool), rows * own, rows / (rows - 1) * other)

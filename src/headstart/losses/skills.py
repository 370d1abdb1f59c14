"""Losses of methods that learn skills: of successor measures, over all pairs of a batch, whose means are the losses;
and how far a skill that was seen lies from what was expected."""

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


def normal_divergence(mean: jax.Array, log_std: jax.Array, prior_mean: jax.Array, prior_log_std: jax.Array):
    """(...,) KL of one diagonal normal (..., k) from another, the prior, in nats (OPAL, Ajay et al. 2021, eq. 2).

    It is that of tanh of both as well: a bijection changes no divergence.
    """
    same_rank(mean, log_std, prior_mean, prior_log_std)
    ratio = jnp.exp(2.0 * (log_std - prior_log_std))
    distance = jnp.square((mean - prior_mean) * jnp.exp(-prior_log_std))
    return (0.5 * (ratio + distance - 1.0) + prior_log_std - log_std).sum(-1)


def _pairs(own: jax.Array, other: jax.Array) -> jax.Array:
    """(B, B) weighted so that the mean is that of `own` on the diagonal, plus that of `other` off it."""
    rows = own.shape[0]
    return jnp.where(jnp.eye(rows, dtype=bool), rows * own, rows / (rows - 1) * other)

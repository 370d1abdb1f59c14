"""Losses of critics and values. Elementwise: no loss takes a mean over the batch."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def same_rank(*arrays: jax.Array) -> None:
    """Refuse arrays of different rank, which would broadcast silently."""
    ranks = [jnp.ndim(array) for array in arrays]
    if len(set(ranks)) != 1:
        raise ValueError(f"losses take arrays of one rank, found ranks {ranks}")


def bootstrap(reward: jax.Array, discount: jax.Array, next_value: jax.Array) -> jax.Array:
    """reward + discount * next_value, without gradient; all (B,)."""
    same_rank(reward, discount, next_value)
    return jax.lax.stop_gradient(reward + discount * next_value)


def squared(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """(prediction - target)**2 without the half, as the reference codes have it."""
    same_rank(prediction, target)
    return jnp.square(prediction - target)


def expectile(difference: jax.Array, tau: float) -> jax.Array:
    """|tau - 1[u < 0]| u**2 of u = target - prediction (Kostrikov et al. 2021, IQL, eq. 4)."""
    weight = jnp.where(difference < 0.0, 1.0 - tau, tau)
    return weight * jnp.square(difference)

"""Which rows: random integers only, drawn alike on the device and on the host."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def uniform(key: jax.Array, count: jax.Array | int, size: int) -> jax.Array:
    """(size,) int32 positions, uniform over [0, count)."""
    return jax.random.randint(key, (size,), 0, count)


def geometric_future(key: jax.Array, remaining: jax.Array, discount: float) -> jax.Array:
    """(B,) steps ahead of the current row, 1 + Geometric(1 - discount) and at most `remaining` (B,), the steps left.

    discount: in (0, 1). The hindsight goals of goal-conditioned RL: row + offset never leaves the row's episode.
    """
    u = jax.random.uniform(key, remaining.shape, minval=jnp.finfo(jnp.float32).tiny)
    offset = 1 + jnp.floor(jnp.log(u) / jnp.log(discount)).astype(jnp.int32)
    return jnp.minimum(offset, remaining)


def uniform_future(key: jax.Array, remaining: jax.Array) -> jax.Array:
    """(B,) steps ahead of the current row, uniform over 1 to `remaining` (B,)."""
    return jax.random.randint(key, remaining.shape, 1, remaining + 1)


def chunk(rows: jax.Array, remaining: jax.Array, length: int) -> jax.Array:
    """(B, length) rows from each of `rows` (B,) on, held at the end of its episode, `remaining` (B,) steps away."""
    ahead = jnp.minimum(jnp.arange(length), remaining[:, None])
    return rows[:, None] + ahead

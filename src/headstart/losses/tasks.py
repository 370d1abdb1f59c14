"""Conservative data sharing (CDS; Yu et al. 2021, arXiv:2109.08128): which relabelled rows a task takes."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def own_quantile(q: jax.Array, contexts: jax.Array, shared: jax.Array, quantile: float) -> jax.Array:
    """(B,) for every row the quantile of Q among the rows of its task that were recorded for it: the lowest value that
    at least so large a share of them does not exceed. Infinite where the task has no such row.

    q: (B,). contexts: (B, c), the same for rows of one task. shared: (B,) bool, relabelled from another task.
    """
    squares = jnp.square(contexts).sum(-1)
    products = jnp.matmul(contexts, contexts.T, precision="highest")
    apart = squares[:, None] + squares - 2.0 * products
    peers = (apart <= 1e-5 * (squares[:, None] + squares)) & ~shared
    below = (peers & (q <= q[:, None])).sum(1) / jnp.maximum(peers.sum(1), 1)
    return jnp.where(peers & (below >= quantile), q, jnp.inf).min(1)


def shared_weight(advantage: jax.Array, shared: jax.Array, soft: bool) -> jax.Array:
    """(B,) weight of each row: 1 where it is its task's own, else 1 or 0 by the sign of the advantage, or soft,
    sigmoid(advantage / its mean size among the relabelled rows).

    advantage: (B,) Q less `own_quantile`.
    """
    if soft:
        known = shared & jnp.isfinite(advantage)
        size = jnp.where(known, jnp.abs(advantage), 0.0).sum() / jnp.maximum(known.sum(), 1)
        weight = jax.nn.sigmoid(advantage / jnp.maximum(size, 1e-6))
    else:
        weight = (advantage >= 0.0).astype(advantage.dtype)
    return jnp.where(shared, weight, 1.0)

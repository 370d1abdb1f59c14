"""Losses of goal-conditioned values. Elementwise: no loss takes a mean over the batch."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from headstart.losses.value import same_rank


def advantage_expectile(difference: jax.Array, advantage: jax.Array, tau: float) -> jax.Array:
    """|tau - 1[A < 0]| u**2 of u = target - prediction, weighted by the sign of another number, the advantage A.

    Action-free expectile regression of an ensemble (Park et al. 2023, HIQL, eq. 4; Ghosh et al. 2023, ICVF): all of its
    members agree on which steps were good.
    """
    same_rank(difference, advantage)
    return jnp.where(advantage < 0.0, 1.0 - tau, tau) * jnp.square(difference)


def binary_nce(logits: jax.Array) -> jax.Array:
    """(..., B, B) cross-entropies of "column j is the goal of row i", true on the diagonal (Eysenbach et al. 2022,
    contrastive RL, eq. 6). Its minimum is the log of p(g ahead | s, a) / p(g), plus log of the odds of a positive."""
    positive = jnp.eye(logits.shape[-1], dtype=logits.dtype)
    return jax.nn.softplus(logits) - positive * logits


def spread(distance: jax.Array, offset: float = 500.0, temperature: float = 0.01) -> jax.Array:
    """softplus((offset - d) * temperature) / temperature: pushes distances up, ever less beyond `offset` steps (Wang et
    al. 2023, QRL, appendix; OGBench's constants, in which an episode has up to a thousand steps)."""
    return jax.nn.softplus((offset - distance) * temperature) / temperature


def beyond_cost(distance: jax.Array, cost: float = 1.0) -> jax.Array:
    """max(d - cost, 0)**2: how far a single step, which costs `cost`, is thought to be beyond that (QRL, eq. 10)."""
    return jnp.square(jax.nn.relu(distance - cost))

"""Losses of preferences between segments. Elementwise: no loss takes a mean over the batch."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from headstart.losses.value import same_rank


def bradley_terry(first: jax.Array, second: jax.Array, preferred: jax.Array, mistakes: float = 0.0) -> jax.Array:
    """(B,) cross-entropy of "the second segment is preferred" (Bradley and Terry 1952; Christiano et al. 2017, eq. 1).

    first, second: (B,) sums of predicted rewards. preferred: (B,) 0 the first, 1 the second, 0.5 neither. mistakes:
    share of answers that are given at random, whatever the segments (the same paper, 2.2.3).
    """
    same_rank(first, second)
    same_rank(first, preferred)
    difference = second - first
    if not mistakes:
        return jax.nn.softplus(difference) - preferred * difference
    probability = (1.0 - mistakes) * jax.nn.sigmoid(difference) + mistakes / 2.0
    return -(preferred * jnp.log(probability) + (1.0 - preferred) * jnp.log1p(-probability))

"""From observations to the feature vectors that heads take."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


def flatten(observation: Any, context: jax.Array | None = None) -> jax.Array:
    """(B, features): all observation arrays (dicts in the order of their names) and the context, concatenated.

    observation: (B, *shape), or a dict of such arrays; bytes are scaled to [0, 1]. context: (B, c) or None.
    """
    leaves = jax.tree.leaves(observation) + ([] if context is None else [context])
    parts = [
        leaf.reshape(leaf.shape[0], -1) / (255.0 if leaf.dtype == jnp.uint8 else 1.0)
        for leaf in map(jnp.asarray, leaves)
    ]
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=-1)

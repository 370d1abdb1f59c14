"""Augmentation: other images that mean the same."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from headstart.batch import Batch


def shifted(batch: Batch, most: int, key: jax.Array) -> Batch:
    """The batch with its images moved by up to `most` pixels up or down and left or right, uniformly; what moves in at
    an edge repeats it (random crops of the padded image; Laskin et al. 2020, Yarats et al. 2021, DrQ).

    All images of a row move alike, its observations and its goals, as in OGBench's code: how they differ stays true.
    """
    corners = jax.random.randint(key, (batch.size, 2), 0, 2 * most + 1)

    def moved(leaf: Any) -> Any:
        if leaf.dtype != jnp.uint8 or leaf.ndim < 4:
            return leaf
        edges = [(0, 0)] * (leaf.ndim - 3) + [(most, most), (most, most), (0, 0)]
        padded = jnp.pad(leaf, edges, mode="edge")

        def cut(image: jax.Array, corner: jax.Array) -> jax.Array:
            return jax.lax.dynamic_slice(image, (*[0] * (leaf.ndim - 4), *corner, 0), leaf.shape[1:])

        return jax.vmap(cut)(padded, corners)

    return jax.tree.map(moved, batch)

"""Pytrees by key path: what is written to files, and how it is filled back in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np


def path_name(path: tuple) -> str:
    """A readable key path: `nets/actor/trunk/hidden/0/weight`."""
    return "/".join(str(getattr(part, "key", getattr(part, "name", getattr(part, "idx", part)))) for part in path)


def flatten(tree: Any) -> dict[str, Any]:
    """{key path: leaf} of every leaf, in the order of the tree.

    Raises `ValueError` where two leaves would have the same path (a name in the tree holds a slash).
    """
    pairs = [(path_name(path), leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]]
    if len(named := dict(pairs)) < len(pairs):
        ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"two arrays would be kept as {twice}; names must not hold a slash")
    return named


def fill(template: Any, leaves: Mapping[str, Any]) -> Any:
    """The template's structure with the leaves of these key paths, as arrays of the template's types.

    Raises `ValueError` that names the first path which is missing, left over, or of another shape or type.
    """
    wanted = flatten(template)
    for name in sorted(wanted.keys() | leaves.keys()):
        if name not in leaves:
            raise ValueError(f"{name} is missing")
        if name not in wanted:
            raise ValueError(f"{name} is not expected")
        (shape, dtype), expected = ((tuple(side[name].shape), np.dtype(side[name].dtype)) for side in (leaves, wanted))
        if (shape, dtype) != expected:
            raise ValueError(f"{name} has shape {shape} and type {dtype}, expected {expected[0]} and {expected[1]}")
    return jax.tree.unflatten(jax.tree.structure(template), [jax.numpy.asarray(leaves[name]) for name in wanted])

"""Pytrees by key path: what is written to files, and how it is filled back in."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np


def path_name(path: tuple) -> str:
    """A readable key path: `nets/actor/trunk/hidden/0/weight`."""
    return "/".join(
        str(getattr(part, "key", getattr(part, "name", getattr(part, "idx", part)))) for part in path
    )


def flatten(tree: Any) -> dict[str, Any]:
    """{key path: leaf} of every leaf."""
    return {path_name(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def fill(template: Any, leaves: dict[str, Any]) -> Any:
    """The template's structure with the leaves of these key paths, as arrays of the template's types.

    Raises `ValueError` that names the first path which is missing, left over, or of another shape or type.
    """
    paths, structure = jax.tree_util.tree_flatten_with_path(template)
    wanted = {path_name(path): leaf for path, leaf in paths}
    for name in sorted(wanted.keys() | leaves.keys()):
        if name not in leaves:
            raise ValueError(f"{name} is missing")
        if name not in wanted:
            raise ValueError(f"{name} is not expected")
        found = (tuple(leaves[name].shape), np.dtype(leaves[name].dtype))
        expected = (tuple(wanted[name].shape), np.dtype(wanted[name].dtype))
        if found != expected:
            raise ValueError(f"{name} has shape {found[0]} and type {found[1]}, expected {expected[0]} and {expected[1]}")
    return jax.tree.unflatten(structure, [jax.numpy.asarray(leaves[name]) for name in wanted])

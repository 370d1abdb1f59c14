"""Pytrees as flat tables: key path -> array."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from headstart.errors import ArtifactError


def named_leaves(tree: Any) -> dict[str, Any]:
    """{key path: leaf} in the order of the tree; a path reads like `actor/trunk/hidden/0/weight`.

    Raises `ArtifactError` where two leaves would have the same path (a name in the tree holds a slash).
    """
    pairs = [(_text(path), leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]]
    named = dict(pairs)
    if len(named) < len(pairs):
        paths = [path for path, _ in pairs]
        twice = next(path for path in paths if paths.count(path) > 1)
        raise ArtifactError(f"two arrays would be kept as {twice}; names must not hold a slash")
    return named


def fill(expected: Any, found: Mapping[str, np.ndarray], where: str) -> Any:
    """The tree `expected` (leaves with shape and dtype) with the arrays of `found` in place of its leaves.

    Raises `ArtifactError` that names `where`, the key path and both sides unless key paths, shapes and types agree.
    """
    named = named_leaves(expected)
    missing = [path for path in named if path not in found]
    extra = sorted(found.keys() - named.keys())
    if missing and extra:
        raise ArtifactError(f"{where}: expected {missing[0]}{_more(missing)}, found {extra[0]}{_more(extra)} instead")
    if missing:
        raise ArtifactError(f"{where}: {missing[0]}{_more(missing)} is missing")
    if extra:
        raise ArtifactError(f"{where}: {extra[0]}{_more(extra)} is not part of this model")
    for path, leaf in named.items():
        if found[path].shape != leaf.shape:
            raise ArtifactError(f"{where}: {path} has shape {found[path].shape}, expected {leaf.shape}")
        if found[path].dtype != leaf.dtype:
            raise ArtifactError(f"{where}: {path} holds {found[path].dtype}, expected {leaf.dtype}")
    return jax.tree.unflatten(jax.tree.structure(expected), [found[path] for path in named])


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over paths, types, shapes and contents; the order does not count."""
    total = hashlib.sha256()
    for path in sorted(arrays):
        array = np.asarray(arrays[path], order="C")
        total.update(f"{path} {array.dtype} {array.shape}\n".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def _text(path: tuple) -> str:
    parts = (getattr(key, "name", None) or str(getattr(key, "key", getattr(key, "idx", key))) for key in path)
    return "/".join(parts)


def _more(paths: list[str]) -> str:
    return f" (and {len(paths) - 1} more)" if len(paths) > 1 else ""

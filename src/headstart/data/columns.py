"""Columns: arrays with a leading time axis, or dicts of such arrays (dict observations)."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from headstart.errors import DataError
from headstart.spec import ArraySpec, Spec

SUCCESS_KEYS = ("success", "is_success", "goal_achieved")
"""Names by which environments and recordings say that the task counts as solved, in order of precedence."""

ALIGNMENT = 64
"""Bytes: on CPUs JAX shares arrays that begin at a multiple of these."""

STEP_COLUMNS = ("actions", "rewards", "successes", "tasks", "shared")
"""Columns of a `Dataset` that say something of a step, and may be absent."""


def as_array(column: Any) -> np.ndarray:
    """The array itself (memory-mapped arrays stay so), or a new one from a sequence."""
    return column if isinstance(column, np.ndarray) else np.asarray(column)


def as_arrays(observations: Any) -> Any:
    """An array, or a dict of arrays in the order of their names."""
    return map_arrays(as_array, observations)


def map_arrays(function: Callable, observations: Any) -> Any:
    """`function` of the array, or of each array of a dict."""
    if isinstance(observations, Mapping):
        return {name: function(observations[name]) for name in sorted(observations)}
    return function(observations)


def map_pairs(function: Callable, a: Any, b: Any) -> Any:
    """`function` of two arrays, or of those of the same name in two dicts."""
    return {name: function(a[name], b[name]) for name in a} if isinstance(a, Mapping) else function(a, b)


def named_arrays(observations: Any, prefix: str = "observations") -> list[tuple[str, np.ndarray]]:
    """[("observations", array)], or one ("observations/NAME", array) for each array of a dict."""
    if isinstance(observations, Mapping):
        return [(f"{prefix}/{name}", column) for name, column in observations.items()]
    return [(prefix, observations)]


def compact(column: np.ndarray) -> np.ndarray:
    """Pixels stay bytes; everything else becomes float32, one-dimensional columns get an axis."""
    if column.dtype != np.uint8:
        column = cast(column, np.float32)
    return column[:, None] if column.ndim == 1 else column


def scalars(name: str, column: np.ndarray, source: str) -> np.ndarray:
    """A column of one number a row, (N,) or (N, 1), as (N,). Raises `DataError` for other shapes."""
    if column.size != len(column):
        raise DataError(f"{source}: {name} has rows of shape {column.shape[1:]}, expected one number a row")
    return column.reshape(len(column))


def join(name: str, parts: Sequence[np.ndarray], source: str, finals: Sequence[np.ndarray] | None = None) -> np.ndarray:
    """Columns of successive episodes, one after the other, each followed by its final row (1, ...) where `finals` are
    given. Raises `DataError` where their rows differ in shape."""
    for index, part in enumerate(parts):
        if part.shape[1:] != parts[0].shape[1:]:
            raise DataError(
                f"{source}: {name} of episode {index} has rows of shape {part.shape[1:]}, "
                f"those of episode 0 have {parts[0].shape[1:]}"
            )
    pieces = parts if finals is None else list(itertools.chain(*zip(parts, finals, strict=True)))
    dtype = np.result_type(*{piece.dtype for piece in pieces})
    return np.concatenate(pieces, out=empty((sum(map(len, pieces)), *parts[0].shape[1:]), dtype))


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An uninitialised array that the device shares where it is the CPU, instead of holding a copy."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    buffer = np.empty(size + ALIGNMENT, np.uint8)
    start = -buffer.ctypes.data % ALIGNMENT
    return buffer[start : start + size].view(dtype).reshape(shape)


def cast(column: np.ndarray, dtype: Any) -> np.ndarray:
    """The column in that type, itself where it has it; a new one is `empty`'s."""
    if column.dtype == dtype:
        return column
    new = empty(column.shape, dtype)
    new[...] = column
    return new


def infer_spec(observations: Any, actions: np.ndarray | None) -> Spec:
    """The spec of arrays: actions within [-1, 1] get these bounds, others the bounds of the data."""
    parts = sorted(observations.items()) if isinstance(observations, Mapping) else [("", observations)]
    action = None
    if actions is not None:
        action = ArraySpec.of_array(actions)
        if not action.discrete:
            flat = actions.reshape(len(actions), -1)
            low, high = np.minimum(flat.min(0), -1.0), np.maximum(flat.max(0), 1.0)
            if np.isfinite(low).all() and np.isfinite(high).all():
                action = dataclasses.replace(action, low=tuple(low.tolist()), high=tuple(high.tolist()))
    return Spec(tuple((name, ArraySpec.of_array(column)) for name, column in parts), action)

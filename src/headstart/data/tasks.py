"""Tasks that data names: which there are, and the vector by which algorithms know each."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from headstart import config
from headstart.data.files import existing, read_npz
from headstart.errors import DataError, UsageError, unknown
from headstart.spec import ArraySpec

ONE_HOT = "one-hot"


@dataclasses.dataclass(frozen=True)
class TaskTable:
    """K tasks; the id of a task is its place.

    names: K, all different. vectors: K of the same c numbers each, what algorithms see as context. source: where the
    vectors are from: "one-hot", or what made them. One-hot vectors may be longer than there are tasks: each spare place
    is for a task to come.

    Raises `UsageError` for no task, names given twice, and vectors that do not fit.
    """

    names: tuple[str, ...]
    vectors: tuple[tuple[float, ...], ...]
    source: str = ONE_HOT

    def __post_init__(self):
        config.settle(self)
        if not self.names or len(set(self.names)) < len(self.names):
            raise UsageError(f"tasks need names that are all different, found {', '.join(self.names) or 'none'}")
        sizes = {len(vector) for vector in self.vectors}
        if len(self.vectors) != len(self.names) or len(sizes) != 1 or 0 in sizes:
            raise UsageError(
                f"{len(self.names)} tasks need as many vectors of one length, found {len(self.vectors)} of lengths "
                f"{sorted(sizes)}"
            )
        if not np.isfinite(self.array).all():
            raise UsageError("vectors of tasks hold NaN or infinity")

    @classmethod
    def one_hot(cls, names: Iterable[str], spare: int = 1) -> TaskTable:
        """A place for every task, and so many more for tasks to come."""
        names = tuple(names)
        rows = np.eye(len(names), len(names) + spare)
        return cls(names, tuple(map(tuple, rows.tolist())))

    @classmethod
    def of(cls, vectors: Mapping[str, Any], source: str = "given") -> TaskTable:
        """Any vectors by name, such as sentence embeddings; kept in single precision."""
        rows = [np.asarray(vector, np.float32).reshape(-1) for vector in vectors.values()]
        return cls(tuple(vectors), tuple(tuple(row.tolist()) for row in rows), source)

    @property
    def array(self) -> np.ndarray:
        """(K, c) float32."""
        return np.asarray(self.vectors, np.float32)

    @property
    def context(self) -> ArraySpec:
        """The shape of a vector."""
        return ArraySpec((len(self.vectors[0]),))

    def id(self, name: str) -> int:
        """The place of a task. Raises `UsageError` for a name that it does not hold."""
        if name not in self.names:
            raise unknown("task", name, self.names)
        return self.names.index(name)

    def vector(self, name: str) -> np.ndarray:
        """(c,) float32. Raises `UsageError` for a name that it does not hold."""
        return self.array[self.id(name)]

    def joined(self, other: TaskTable) -> TaskTable:
        """These tasks, and after them those of `other` that are not among them.

        One-hot: a new task takes the next spare place. Else it brings its vector.
        Raises `UsageError` where no place is left, vectors differ in length, or a task has one here and another there.
        """
        new = [name for name in other.names if name not in self.names]
        if self.source == ONE_HOT == other.source:
            size = len(self.vectors[0])
            if len(self.names) + len(new) > size:
                raise UsageError(
                    f"there are {size} one-hot places for tasks, {len(self.names)} of them taken, and "
                    f"{', '.join(new)} would need {len(new)} more; pretrain with more (spare)"
                )
            return TaskTable.one_hot((*self.names, *new), size - len(self.names) - len(new))
        if self.context != other.context or ONE_HOT in (self.source, other.source):
            raise UsageError(
                f"vectors of tasks differ: {self.context.size} numbers ({self.source}), "
                f"{other.context.size} ({other.source})"
            )
        for name in set(self.names) & set(other.names):
            if not np.array_equal(self.vector(name), other.vector(name)):
                raise UsageError(f"task {name!r} has one vector here ({self.source}), another there ({other.source})")
        added = tuple(other.vectors[other.id(name)] for name in new)
        source = self.source if other.source == self.source or not new else f"{self.source} + {other.source}"
        return TaskTable((*self.names, *new), self.vectors + added, source)

    def with_vectors(self, table: TaskTable) -> TaskTable:
        """The same tasks with the vectors that `table` has for them. Raises `UsageError` where it lacks one."""
        return TaskTable(self.names, tuple(table.vectors[table.id(name)] for name in self.names), table.source)

    def describe(self) -> str:
        """Short text: `3 tasks (open, close, push), one-hot vectors of 4`."""
        names = ", ".join(self.names[:8]) + (f" and {len(self.names) - 8} more" if len(self.names) > 8 else "")
        return f"{len(self.names)} tasks ({names}), {self.source} vectors of {self.context.size}"


def union(tables: Iterable[TaskTable]) -> TaskTable:
    """All tasks of all tables; different one-hot ones are counted anew, with one place to spare.

    Raises `UsageError` as `TaskTable.joined`.
    """
    first, *others = tables = list(tables)
    if all(table.source == ONE_HOT for table in tables) and any(table != first for table in others):
        return TaskTable.one_hot(dict.fromkeys(name for table in tables for name in table.names))
    return functools.reduce(TaskTable.joined, others, first)


def read_vectors(file: str | Path) -> TaskTable:
    """The vectors in a file, by name: an `.npz` with an array (c,) for each task, or JSON, {"name": [numbers]}.

    Raises `DataError` for files that cannot be read, `UsageError` as `TaskTable`.
    """
    place = existing(file, "vectors of tasks, .npz or .json")
    if place.suffix == ".npz":
        return TaskTable.of(read_npz(place), place.name)
    content = read_json(place)
    if not isinstance(content, dict) or not all(isinstance(vector, list) for vector in content.values()):
        raise DataError(f'{place}: expected one object, {{"name of a task": [numbers], ...}}')
    try:
        return TaskTable.of(content, place.name)
    except (TypeError, ValueError) as error:
        raise DataError(f"{place}: expected a list of numbers for each task ({error})") from error


def read_json(place: Path) -> Any:
    """What a JSON file holds. Raises `DataError` where it cannot be read."""
    try:
        return json.loads(place.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{place} is not readable JSON") from error

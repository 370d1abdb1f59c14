"""What an agent sees and does: shapes, types and bounds of observation, action and context."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from headstart import config
from headstart.errors import UsageError


class Size(int):
    """A number of features that knows which of them are images. Sums and multiples (the same features several times)
    know it too; to all else it is an integer.

    images: (position of its first feature, (height, width, channels)) of each.
    """

    images: tuple[tuple[int, tuple[int, ...]], ...]

    def __new__(cls, count: int, images: tuple[tuple[int, tuple[int, ...]], ...] = ()):
        size = super().__new__(cls, count)
        size.images = images
        return size

    def __add__(self, other: int) -> Size:
        moved = tuple((int(self) + start, shape) for start, shape in getattr(other, "images", ()))
        return Size(int(self) + int(other), self.images + moved)

    def __radd__(self, other: int) -> Size:
        return Size(other) + self

    def __rmul__(self, times: int) -> Size:
        return sum([self] * times, Size(0))


@dataclasses.dataclass(frozen=True)
class ArraySpec:
    """One array of one time step.

    shape: without batch or time axis. dtype: NumPy name. low, high: bounds of every element, flattened in C
    order, or None where unbounded. categories: number of values of a discrete scalar, else None.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None
    categories: int | None = None

    @property
    def image(self) -> bool:
        """Whether it is an image: bytes of shape (height, width, channels)."""
        return self.dtype == "uint8" and len(self.shape) == 3

    @property
    def size(self) -> int:
        """Number of elements; of an image a `Size`, which says so."""
        count = int(np.prod(self.shape, dtype=int))
        return Size(count, ((0, self.shape),)) if self.image else count

    @property
    def discrete(self) -> bool:
        return self.categories is not None

    @classmethod
    def of_space(cls, space: Any) -> ArraySpec:
        """The spec of a Gymnasium `Box` or `Discrete` space.

        Raises `UsageError` for other spaces (dicts are handled by `Spec.of_env`).
        """
        import gymnasium

        if isinstance(space, gymnasium.spaces.Discrete):
            if space.start != 0:
                raise UsageError(f"discrete spaces must start at 0, this one starts at {space.start}")
            return cls((), "int32", categories=int(space.n))
        if isinstance(space, gymnasium.spaces.Box):
            bounded = bool(np.all(np.isfinite(space.low)) and np.all(np.isfinite(space.high)))
            low, high = (
                tuple(np.ravel(b).astype(float).tolist()) if bounded else None for b in (space.low, space.high)
            )
            dtype = "uint8" if space.dtype == np.uint8 else "float32"
            return cls(tuple(int(n) for n in space.shape), dtype, low, high)
        raise UsageError(f"spaces of type {type(space).__name__} are not supported; use Box, Discrete or a Dict of Box")

    @classmethod
    def of_array(cls, array: np.ndarray) -> ArraySpec:
        """The spec of a column with a leading time axis; integers with no further axis count as discrete."""
        array = np.asarray(array) if not hasattr(array, "dtype") else array
        if np.issubdtype(array.dtype, np.integer) and array.dtype != np.uint8 and array.ndim == 1:
            return cls((), "int32", categories=int(array.max()) + 1 if len(array) else 1)
        return cls(tuple(array.shape[1:]), "uint8" if array.dtype == np.uint8 else "float32")

    def describe(self) -> str:
        """Short text: `float32[39]`, `4 choices`."""
        if self.discrete:
            return f"{self.categories} choices"
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


@dataclasses.dataclass(frozen=True)
class Spec:
    """Observation (named arrays; a plain array has the one name ""), action and context of a decision problem.

    action is None where the data holds none; context (a goal, skill or task) is None where there is none.
    """

    observation: tuple[tuple[str, ArraySpec], ...]
    action: ArraySpec | None
    context: ArraySpec | None = None

    @classmethod
    def of_env(cls, env: Any) -> Spec:
        """The spec of a Gymnasium environment (the single one, not the vectorised)."""
        import gymnasium

        space = env.observation_space
        if isinstance(space, gymnasium.spaces.Dict):
            observation = tuple((name, ArraySpec.of_space(part)) for name, part in sorted(space.spaces.items()))
        else:
            observation = (("", ArraySpec.of_space(space)),)
        return cls(observation, ArraySpec.of_space(env.action_space))

    @property
    def images(self) -> tuple[str, ...]:
        """Names of the observation arrays that are images."""
        return tuple(name for name, part in self.observation if part.image)

    @property
    def observation_size(self) -> int:
        """Number of elements of all observation arrays together."""
        return sum(part.size for _, part in self.observation)

    @property
    def input_size(self) -> int:
        """Number of features of a flattened observation with its context."""
        return self.observation_size + (self.context.size if self.context else 0)

    def zeros(self, batch: int) -> Any:
        """An observation batch of zeros, shape (batch, *shape) each; a dict where observations are named."""
        arrays = {name: np.zeros((batch, *part.shape), part.dtype) for name, part in self.observation}
        return arrays[""] if list(arrays) == [""] else arrays

    def require(self, other: Spec, mine: str, theirs: str) -> None:
        """Raise `UsageError` unless `other` has the same observations and actions; the message names both sides."""
        names, others = dict(self.observation), dict(other.observation)
        if names.keys() != others.keys():
            raise UsageError(f"observations differ: {mine} has {_names(names)}, {theirs} has {_names(others)}")
        for name, part in names.items():
            if part.shape != others[name].shape:
                label = f"observation {name!r}" if name else "observation"
                raise UsageError(
                    f"{label} differs: {mine} has shape {part.shape}, {theirs} has shape {others[name].shape}"
                )
        if self.action is None or other.action is None:
            return
        if self.action.discrete != other.action.discrete or self.action.shape != other.action.shape:
            raise UsageError(
                f"actions differ: {mine} has {self.action.describe()}, {theirs} has {other.action.describe()}"
            )

    def describe(self) -> str:
        """Short text: `observation float32[39], action float32[28]`."""
        parts = [f"observation {name + ' ' if name else ''}{part.describe()}" for name, part in self.observation]
        parts.append(f"action {self.action.describe() if self.action else 'absent'}")
        if self.context:
            parts.append(f"context {self.context.describe()}")
        return ", ".join(parts)

    def to_json(self) -> dict:
        return config.to_json(self)

    @classmethod
    def from_json(cls, data: dict) -> Spec:
        return config.from_json(cls, data)


def _names(parts: Mapping[str, Any]) -> str:
    return "one array" if list(parts) == [""] else "arrays " + ", ".join(parts)

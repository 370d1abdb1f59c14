"""What data holds, whether it is sound, and what it can be used for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from headstart import config
from headstart.data.dataset import Dataset
from headstart.spec import ArraySpec

CHUNK_BYTES = 32 << 20


@dataclasses.dataclass(frozen=True)
class Quantiles:
    """Spread of finite numbers."""

    minimum: float
    q25: float
    median: float
    q75: float
    maximum: float
    mean: float

    @classmethod
    def of(cls, values: np.ndarray) -> Quantiles | None:
        """None where no value is finite."""
        values = np.asarray(values, np.float64)
        values = values[np.isfinite(values)]
        if not len(values):
            return None
        return cls(*np.quantile(values, [0, 0.25, 0.5, 0.75, 1]).tolist(), float(values.mean()))


@dataclasses.dataclass(frozen=True)
class Column:
    """One column over the rows where it means something.

    kind: such as `float32[39]`. low, high: of all finite values, None where there are none. constant: number of
    elements that never change. nonfinite_rows: rows with NaN or infinity.
    """

    name: str
    kind: str
    low: float | None
    high: float | None
    constant: int
    nonfinite_rows: int


@dataclasses.dataclass(frozen=True)
class Use:
    """Something that data may be used for, whether it can, and why or why not."""

    name: str
    possible: bool
    reason: str


@dataclasses.dataclass(frozen=True)
class Inspection:
    """Plain values, computed in one pass over the columns.

    success_rate: share of episodes with a success, None where nobody says. cut_off: share of episodes that ended
    without termination. duplicate_steps: steps whose observation, action and reward repeat an earlier step's.
    actions_out_of_bounds: steps with an action outside the bounds of the spec. actions_beyond_one: steps with an
    element outside [-1, 1]. Both None where there are no (such) actions. memory_bytes: size of all columns once in
    memory. disk_bytes: None where unknown. tasks: steps of each task by its name, None where there are none.
    """

    source: str
    version: str
    environment: str
    transforms: tuple[str, ...]
    sha256: str
    episodes: int
    steps: int
    lengths: Quantiles
    columns: tuple[Column, ...]
    rewards: Quantiles | None
    returns: Quantiles | None
    success_rate: float | None
    cut_off: float
    duplicate_steps: int
    actions_out_of_bounds: int | None
    actions_beyond_one: int | None
    memory_bytes: int
    disk_bytes: int | None
    uses: tuple[Use, ...]
    tasks: dict[str, int] | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return config.to_json(self)


def inspect(data: Dataset, disk_bytes: int | None = None) -> Inspection:
    """Look at every row once, some megabytes at a time, so the data may be larger than memory.

    disk_bytes: size of the files that the data was read from (`sources.disk_size`).
    """
    spread = _Spread(data)
    hashes = []
    for part, steps in _chunks(data):
        spread.add(part, steps)
        hashes.append(_hashes(part, steps))
    columns = spread.columns()
    rewards = returns = None
    if data.rewards is not None:
        rewards = Quantiles.of(data.rewards[data.transitions])
        # The final rows hold zeros, so that whole episodes can be summed.
        returns = Quantiles.of(np.add.reduceat(np.asarray(data.rewards, np.float64), data.starts))
    success_rate = None
    if data.successes is not None:
        success_rate = float(np.logical_or.reduceat(data.successes, data.starts).mean())
    tasks = None
    if data.tasks is not None:
        names = data.task_table.names
        counts = np.bincount(data.tasks[data.transitions], minlength=len(names))
        tasks = dict(zip(names, counts.tolist(), strict=True))
    provenance = data.provenance
    return Inspection(
        source=provenance.source,
        version=provenance.version,
        environment=provenance.environment,
        transforms=provenance.transforms,
        sha256=data.digest,
        episodes=data.episodes,
        steps=data.steps,
        lengths=Quantiles.of(data.ends - data.starts),
        columns=columns,
        rewards=rewards,
        returns=returns,
        success_rate=success_rate,
        cut_off=float(1 - data.terminations[data.ends - 1].mean()),
        duplicate_steps=data.steps - len(np.unique(np.concatenate(hashes))),
        actions_out_of_bounds=spread.out_of_bounds,
        actions_beyond_one=spread.beyond_one,
        memory_bytes=data.nbytes,
        disk_bytes=disk_bytes,
        uses=_uses(data, columns, rewards, success_rate),
        tasks=tasks,
    )


def _chunks(data: Dataset) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
    """(columns over some rows, which of these rows are steps)."""
    named = {name: column for name, column in data.columns() if name not in ("episode_start", "episode_end")}
    row_bytes = sum(column.nbytes for column in named.values()) // len(data) + 1
    count = max(1, CHUNK_BYTES // row_bytes)
    for start in range(0, len(data), count):
        rows = slice(start, start + count)
        ends = np.asarray(data.episode_end[rows])
        yield {name: np.asarray(column[rows]) for name, column in named.items()}, ends != start + np.arange(len(ends))


def _hashes(part: dict[str, np.ndarray], steps: np.ndarray) -> np.ndarray:
    """A 64-bit hash of observation, action and reward of every step."""
    kept = [
        np.ascontiguousarray(column.reshape(len(steps), -1)[steps]).view(np.uint8)
        for name, column in part.items()
        if name.startswith("observations") or name in ("actions", "rewards")
    ]
    rows = np.concatenate(kept, axis=1)
    return np.fromiter((hash(row.tobytes()) for row in rows), np.int64, len(rows))


class _Spread:
    """Bounds of every column, gathered over chunks."""

    def __init__(self, data: Dataset):
        self.named = [(n, c) for n, c in data.columns() if n.startswith("observations") or n in ("actions", "rewards")]
        self.action = data.spec.action if data.actions is not None else None
        self.low = {name: np.full(int(np.prod(column.shape[1:])), np.inf) for name, column in self.named}
        self.high = {name: -low for name, low in self.low.items()}
        self.nonfinite = dict.fromkeys(self.low, 0)
        self.out_of_bounds = 0 if self.action else None
        self.beyond_one = 0 if self.action and not self.action.discrete else None

    def add(self, part: dict[str, np.ndarray], steps: np.ndarray) -> None:
        for name in self.low:
            rows = part[name].reshape(len(steps), -1)
            if not name.startswith("observations"):
                rows = rows[steps]
            if name == "actions":
                self._count(rows)
            if np.issubdtype(rows.dtype, np.floating):
                finite = np.isfinite(rows)
                self.nonfinite[name] += int((~finite.all(1)).sum())
                low, high = (np.where(finite, rows, bound) for bound in (np.inf, -np.inf))
            else:
                low = high = rows
            if len(rows):
                self.low[name] = np.minimum(self.low[name], low.min(0))
                self.high[name] = np.maximum(self.high[name], high.max(0))

    def _count(self, actions: np.ndarray) -> None:
        low, high = _bounds(self.action)
        self.out_of_bounds += int(((actions < low) | (actions > high)).any(1).sum())
        if self.beyond_one is not None:
            self.beyond_one += int((np.abs(actions) > 1).any(1).sum())

    def columns(self) -> tuple[Column, ...]:
        found = []
        for name, column in self.named:
            low, high = self.low[name], self.high[name]
            finite = low <= high
            found.append(
                Column(
                    name,
                    f"{column.dtype}[{','.join(map(str, column.shape[1:]))}]" if column.ndim > 1 else str(column.dtype),
                    float(low[finite].min()) if finite.any() else None,
                    float(high[finite].max()) if finite.any() else None,
                    int((low == high).sum()),
                    self.nonfinite[name],
                )
            )
        return tuple(found)


def _bounds(action: ArraySpec) -> tuple[Any, Any]:
    if action.discrete:
        return 0, action.categories - 1
    # The bounds are those of 32-bit numbers.
    return (
        np.float32(sign * np.inf) if bound is None else np.asarray(bound, np.float32)
        for sign, bound in ((-1, action.low), (1, action.high))
    )


def _uses(
    data: Dataset, columns: tuple[Column, ...], rewards: Quantiles | None, success_rate: float | None
) -> tuple[Use, ...]:
    broken = [column.name for column in columns if column.nonfinite_rows]

    def use(name: str, needs: tuple[str, ...], reason: str) -> Use:
        missing = [need for need in needs if getattr(data, need) is None]
        if missing:
            return Use(name, False, f"needs {' and '.join(missing)}")
        bad = [column for column in broken if column.partition("/")[0] in ("observations", *needs)]
        if bad:
            return Use(name, False, f"NaN or infinity in {' and '.join(bad)}: repair or drop these rows first")
        return Use(name, True, reason)

    rewarded = "actions and rewards are there"
    if rewards is not None and rewards.minimum == rewards.maximum:
        rewarded = f"but every reward is {rewards.minimum:g}, so all behaviour looks equally good"
    shown = "actions are there" if success_rate is None else f"{success_rate:.0%} of the episodes succeed"
    return (
        use("offline reinforcement learning", ("actions", "rewards"), rewarded),
        use("imitation", ("actions",), shown),
        use("goal-conditioned learning", ("actions",), "goals are later observations of the same episode"),
        use("passive pretraining", (), "observations are enough"),
        *[use("multi-task learning", ("actions",), "rows name their tasks")] * (data.tasks is not None),
    )

"""Dataset: flat arrays, one row per time step, with the bounds of every episode."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np

from headstart.data.columns import (
    STEP_COLUMNS,
    as_array,
    as_arrays,
    cast,
    compact,
    infer_spec,
    join,
    map_arrays,
    map_pairs,
    named_arrays,
    scalars,
)
from headstart.data.tasks import TaskTable
from headstart.errors import DataError
from headstart.spec import Spec


@dataclasses.dataclass(frozen=True)
class Provenance:
    """Where data came from and what was done to it, in order."""

    source: str = "memory"
    version: str = ""
    environment: str = ""
    transforms: tuple[str, ...] = ()

    def then(self, transform: str) -> Provenance:
        """The same with one more transform."""
        return dataclasses.replace(self, transforms=(*self.transforms, transform))


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """R rows, one per time step *including each episode's final observation*, so the successor of row r is r + 1.

    An episode of T steps takes T + 1 rows. The last of them holds only an observation; the other columns are zero
    there and mean nothing. `terminations[r]` says that the step from row r ended the task; an episode whose last
    step is not so marked was cut off (time limit or end of recording).

    observations:  (R, *shape), or a dict of such arrays.
    actions:       (R, d), or (R,) integers, or None (passive data).
    rewards:       (R,) reward of the step from row r, or None.
    terminations:  (R,) bool.
    episode_start: (R,) int32, first row of the row's episode.
    episode_end:   (R,) int32, last row of the row's episode (its final observation).
    successes:     (R,) bool, the task counted as solved after the step from row r; None where nobody says.
    tasks:         (R,) int32, the task that the row's reward is of, by its place in `task_table` (on the final row that
                   of the last step); None where there are none.
    shared:        (R,) bool, the row is another task's, relabelled (`data.share`); None: none is.
    """

    observations: Any
    actions: np.ndarray | None
    rewards: np.ndarray | None
    terminations: np.ndarray
    episode_start: np.ndarray
    episode_end: np.ndarray
    spec: Spec
    successes: np.ndarray | None = None
    provenance: Provenance = Provenance()
    tasks: np.ndarray | None = None
    shared: np.ndarray | None = None
    task_table: TaskTable | None = None

    # -- building ---------------------------------------------------------------------------------------------

    @classmethod
    def from_episodes(
        cls,
        episodes: Iterable[Mapping[str, Any]],
        spec: Spec | None = None,
        provenance: Provenance = Provenance(),
        task_table: TaskTable | None = None,
        task: str | None = None,
    ) -> Dataset:
        """Data from episodes, each a mapping with

        observations: (T + 1, *shape), or a dict of such arrays; the last is the final observation.
        actions:      (T, d) or (T,), may be absent in all.
        rewards:      (T,), may be absent in all.
        terminated:   bool, the last step ended the task (absent: False, the episode was cut off).
        successes:    (T,) bool, may be absent in all.
        tasks:        (T,) ids in `task_table` (by default that of the names "0", "1", ...), may be absent in all.
        shared:       (T,) bool, may be absent in all.

        task: the name of the task of all episodes.
        Raises `DataError` for episodes without a step, columns that disagree in length, negative discrete actions, and
        ids of tasks that are not in the table.

        >>> import numpy as np
        >>> data = Dataset.from_episodes([{"observations": np.zeros((3, 2)), "rewards": [0.0, 1.0]}])
        >>> data.steps, len(data)
        (2, 3)
        """
        episodes = list(episodes)
        if not episodes:
            raise DataError(f"{provenance.source}: no episodes")
        lengths = [_check_episode(episode, i, provenance.source) for i, episode in enumerate(episodes)]
        rows = np.asarray(lengths) + 1
        ends = np.cumsum(rows) - 1
        starts = ends - rows + 1
        terminations = np.zeros(rows.sum(), bool)
        terminations[ends - 1] = [bool(episode.get("terminated", False)) for episode in episodes]
        columns = {name: _joined_column(name, episodes, provenance.source) for name in STEP_COLUMNS}
        first = episodes[0]["observations"]
        names = [name for name, _ in named_arrays(as_arrays(first))]
        for index, episode in enumerate(episodes):
            if [name for name, _ in named_arrays(as_arrays(episode["observations"]))] != names:
                raise DataError(f"{provenance.source}: episode {index} has other observations than {', '.join(names)}")
        if isinstance(first, Mapping):
            observations = {
                name: join(
                    f"observations/{name}", [as_array(e["observations"][name]) for e in episodes], provenance.source
                )
                for name in sorted(first)
            }
        else:
            observations = join("observations", [as_array(e["observations"]) for e in episodes], provenance.source)
        if task is not None:
            task_table = task_table or TaskTable.one_hot([task])
            columns["tasks"] = np.full(rows.sum(), task_table.id(task))
        return cls._of_rows(observations, columns, terminations, starts, ends, spec, provenance, task_table)

    @classmethod
    def from_arrays(
        cls,
        observations: Any,
        actions: Any = None,
        rewards: Any = None,
        terminations: Any = None,
        timeouts: Any = None,
        next_observations: Any = None,
        successes: Any = None,
        tasks: Any = None,
        shared: Any = None,
        spec: Spec | None = None,
        provenance: Provenance = Provenance(),
        task_table: TaskTable | None = None,
    ) -> Dataset:
        """Data from flat columns with one row per *step* (the D4RL layout).

        terminations: (N,) the step ended the task. timeouts: (N,) the episode was cut off after the step.
        next_observations: like observations; where absent, the final observation of an episode that terminated is
        its last observation once more (its value is multiplied by zero), and in an episode that was cut off the
        last step is given up, since where it led is not known.

        Raises `DataError` where columns disagree in length.
        """
        observations = as_arrays(observations)
        source = provenance.source
        count = len(named_arrays(observations)[0][1])
        given = {
            "actions": actions, "rewards": rewards, "terminations": terminations, "timeouts": timeouts,
            "successes": successes, "tasks": tasks, "shared": shared,
        }  # fmt: skip
        given = {name: None if column is None else as_array(column) for name, column in given.items()}
        following = [] if next_observations is None else named_arrays(as_arrays(next_observations), "next_observations")
        for name, column in [*named_arrays(observations), *given.items(), *following]:
            if column is not None and len(column) != count:
                raise DataError(f"{source}: {name} has {len(column)} rows, observations have {count}")
        if count == 0:
            raise DataError(f"{source}: no rows")
        if next_observations is not None:
            next_observations = as_arrays(next_observations)
            shapes = map_arrays(lambda column: column.shape, observations)
            if map_arrays(lambda column: column.shape, next_observations) != shapes:
                raise DataError(f"{source}: next_observations differ from observations in names or shapes")
        ended = []
        for name in ("terminations", "timeouts"):
            marks = np.zeros(count, bool) if given[name] is None else scalars(name, given[name], source)
            if strange := set(np.unique(marks).tolist()) - {0, 1}:
                raise DataError(f"{source}: {name} mark the ends by 1 and other steps by 0, found {min(strange):g}")
            ended.append(marks.astype(bool))
        terminated, last = ended[0], ended[0] | ended[1]
        last[-1] = True
        ends = np.flatnonzero(last)
        starts = np.concatenate([[0], ends[:-1] + 1])
        episodes = []
        for start, end in zip(starts, ends, strict=True):
            steps = end + 1 - start
            if next_observations is not None:
                final = map_arrays(lambda column, end=end: column[end : end + 1], next_observations)
            elif terminated[end]:
                final = map_arrays(lambda column, end=end: column[end : end + 1], observations)
            else:
                steps -= 1
                if steps == 0:
                    continue
                final = map_arrays(lambda column, end=end: column[end : end + 1], observations)
            part = slice(start, start + steps)
            episode = {
                "observations": map_pairs(lambda a, b, part=part: np.concatenate([a[part], b]), observations, final),
                "terminated": terminated[end],
            }
            episode |= {name: given[name][part] for name in STEP_COLUMNS if given[name] is not None}
            episodes.append(episode)
        return cls.from_episodes(episodes, spec, provenance, task_table)

    @classmethod
    def _of_rows(cls, observations, columns, terminations, starts, ends, spec, provenance, task_table) -> Dataset:
        lengths = ends - starts + 1
        observations = map_arrays(compact, observations)
        actions = columns["actions"]
        if actions is not None:
            discrete = np.issubdtype(actions.dtype, np.integer) and actions.ndim == 1
            if discrete and actions.min() < 0:
                raise DataError(f"{provenance.source}: discrete actions count from 0, found {actions.min()}")
            actions = cast(actions, np.int32 if discrete else np.float32)
            if actions.ndim == 1 and not discrete:
                actions = actions[:, None]
        types = {"rewards": np.float32, "successes": bool, "tasks": np.int32, "shared": bool}
        typed = {
            name: None if columns[name] is None else columns[name].astype(kind, copy=False)
            for name, kind in types.items()
        }
        spec = spec or infer_spec(observations, actions)
        if typed["tasks"] is not None:
            task_table = task_table or TaskTable.one_hot(map(str, range(max(typed["tasks"].max(), 0) + 1)))
            if typed["tasks"].min() < 0 or typed["tasks"].max() >= len(task_table.names):
                raise DataError(
                    f"{provenance.source}: tasks hold ids outside the table of {len(task_table.names)} tasks"
                )
            spec = dataclasses.replace(spec, context=task_table.context)
        return cls(
            observations=observations,
            actions=actions,
            terminations=terminations,
            episode_start=np.repeat(starts, lengths).astype(np.int32),
            episode_end=np.repeat(ends, lengths).astype(np.int32),
            spec=spec,
            provenance=provenance,
            task_table=None if typed["tasks"] is None else task_table,
            **typed,
        )

    # -- what it holds ----------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        size = f"{self.episodes:,} episodes, {self.steps:,} steps"
        return f"Dataset({self.provenance.source}: {size}; {self.spec.describe()})"

    def __len__(self) -> int:
        """Number of rows R."""
        return len(self.terminations)

    @functools.cached_property
    def starts(self) -> np.ndarray:
        """(E,) first row of every episode."""
        return np.flatnonzero(self.episode_start == np.arange(len(self))).astype(np.int32)

    @functools.cached_property
    def ends(self) -> np.ndarray:
        """(E,) last row of every episode, its final observation."""
        return self.episode_end[self.starts]

    @functools.cached_property
    def transitions(self) -> np.ndarray:
        """(steps,) int32 rows that have a successor: all but the final observations."""
        return np.flatnonzero(self.episode_end != np.arange(len(self))).astype(np.int32)

    @property
    def episodes(self) -> int:
        return len(self.starts)

    @property
    def steps(self) -> int:
        return len(self) - self.episodes

    @property
    def nbytes(self) -> int:
        """Bytes of all columns."""
        return sum(column.nbytes for _, column in self.columns())

    def columns(self) -> list[tuple[str, np.ndarray]]:
        """(name, array) of every column that is there; dict observations as `observations/name`."""
        named = named_arrays(self.observations)
        order = ("actions", "rewards", "terminations", "episode_start", "episode_end", "successes", "tasks", "shared")
        for name in order:
            if (column := getattr(self, name)) is not None:
                named.append((name, column))
        return named

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over names, types, shapes and contents of all columns, and over the transforms."""
        total = hashlib.sha256()
        for name, column in self.columns():
            total.update(f"{name} {column.dtype} {column.shape}\n".encode())
            # A slice at a time, so that data on disk need not fit in memory.
            for start in range(0, len(column), 1 << 16):
                total.update(np.ascontiguousarray(column[start : start + (1 << 16)]).reshape(-1).view(np.uint8))
        total.update("\n".join(self.provenance.transforms).encode())
        if self.task_table is not None:
            total.update(repr((self.task_table.names, self.task_table.vectors)).encode())
        return total.hexdigest()

    def summary(self) -> dict[str, Any]:
        """Provenance as plain JSON data."""
        return {
            "source": self.provenance.source,
            "version": self.provenance.version,
            "environment": self.provenance.environment,
            "transforms": list(self.provenance.transforms),
            "sha256": self.digest,
            "episodes": self.episodes,
            "steps": self.steps,
        } | ({} if self.task_table is None else {"tasks": self.task_table.describe()})

    # -- the same data, changed -------------------------------------------------------------------------------

    def replace(self, transform: str, **columns: Any) -> Dataset:
        """A copy with other columns (same rows) and one more transform in its provenance."""
        return dataclasses.replace(self, **columns, provenance=self.provenance.then(transform))

    def episode(self, index: int) -> dict[str, Any]:
        """Episode `index` in the form that `from_episodes` takes."""
        start, end = int(self.starts[index]), int(self.ends[index])
        episode = {
            "observations": map_arrays(lambda column: column[start : end + 1], self.observations),
            "terminated": bool(self.terminations[end - 1]),
        }
        for name in STEP_COLUMNS:
            if (column := getattr(self, name)) is not None:
                episode[name] = column[start:end]
        return episode

    def select(self, episodes: Iterable[int], transform: str) -> Dataset:
        """The given episodes, in that order. Raises `DataError` where none is left."""
        return self.rebuild([self.episode(int(i)) for i in episodes], transform)

    def rebuild(self, episodes: Iterable[Mapping[str, Any]], transform: str) -> Dataset:
        """Data of the same kind from other episodes. Raises `DataError` where none is left."""
        episodes = list(episodes)
        if not episodes:
            raise DataError(f"{self.provenance.source}: no episode is left after {transform!r}")
        return Dataset.from_episodes(episodes, self.spec, self.provenance.then(transform), self.task_table)

    def require_finite(self, ignored: Collection[str] = ()) -> None:
        """Raise `DataError` that names the first column, episode and step with NaN or infinity, but for columns that
        nobody is to read."""
        for name, column in self.columns():
            if name in ignored or not np.issubdtype(column.dtype, np.floating):
                continue
            for start in range(0, len(column), 1 << 18):
                part = np.asarray(column[start : start + (1 << 18)])
                if not np.isfinite(part).all():
                    row = start + int(np.flatnonzero(~np.isfinite(part.reshape(len(part), -1)).all(1))[0])
                    episode = int(np.searchsorted(self.starts, row, side="right")) - 1
                    raise DataError(
                        f"{self.provenance.source}: {name} holds NaN or infinity (first in episode {episode}, step "
                        f"{row - self.starts[episode]}, both from 0); "
                        "repair or drop these rows first (`headstart data inspect` counts them)"
                    )


def _check_episode(episode: Mapping[str, Any], index: int, source: str) -> int:
    """Number of steps T of an episode."""
    named = named_arrays(as_arrays(episode["observations"]))
    steps = len(named[0][1]) - 1
    if steps < 1:
        raise DataError(f"{source}: episode {index} has {steps + 1} observations; at least 2 are needed for a step")
    for name, column in named:
        if len(column) != steps + 1:
            raise DataError(f"{source}: episode {index}: {name} has {len(column)} rows, expected {steps + 1}")
    for name in STEP_COLUMNS:
        column = episode.get(name)
        if column is not None and len(column) != steps:
            raise DataError(f"{source}: episode {index}: {name} has {len(column)} rows, expected {steps} (one a step)")
    return steps


def _joined_column(name: str, episodes: list[Mapping[str, Any]], source: str) -> np.ndarray | None:
    present = [episode.get(name) is not None for episode in episodes]
    if not any(present):
        return None
    if not all(present):
        raise DataError(f"{source}: {name} are absent in episode {present.index(False)} but present in others")
    columns = [as_array(episode[name]) for episode in episodes]
    if name != "actions":
        columns = [scalars(name, column, source) for column in columns]
    finals = [column[-1:] if name == "tasks" else np.zeros_like(column[-1:]) for column in columns]
    return join(name, columns, source, finals)

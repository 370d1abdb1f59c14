"""Data -> data: pure functions, each of which adds one line to the provenance."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from headstart.data.columns import STEP_COLUMNS, map_arrays
from headstart.data.dataset import Dataset, Provenance
from headstart.data.tasks import TaskTable, union
from headstart.errors import DataError, UsageError, unknown
from headstart.spec import ArraySpec, Spec


def scale_rewards(data: Dataset, scale: float, shift: float = 0.0) -> Dataset:
    """Rewards become `scale * reward + shift`. Raises `DataError` where there are none."""
    rewards = np.zeros(len(data), np.float32)
    steps = data.transitions
    rewards[steps] = np.float32(scale) * _column(data, "rewards")[steps] + np.float32(shift)
    return data.replace(f"rewards scaled to {scale:g} r {shift:+g}", rewards=rewards)


def sparse_success(data: Dataset, step_reward: float = -1.0, success_reward: float = 0.0) -> Dataset:
    """The task as "reach success once": `step_reward` for every step until the first success, `success_reward` for the
    step that reaches it, which ends the episode as terminated.

    An episode without a success keeps its length and its own ending. Raises `DataError` where nobody says what counts
    as success.
    """

    def episodes() -> Iterator[dict[str, Any]]:
        for episode, success in _first_successes(data):
            steps = len(episode["successes"])
            episode["rewards"] = np.full(steps, step_reward, np.float32)
            if success is not None:
                episode["rewards"][success] = success_reward
                episode = _cut(episode, success + 1) | {"terminated": True}
            yield episode

    return data.rebuild(
        episodes(), f"reward {step_reward:g} until the first success, {success_reward:g} and termination at it"
    )


def only_successes(data: Dataset) -> Dataset:
    """The episodes with a success. Raises `DataError` where there is none, or nobody says what counts as success."""
    keep = [index for index, (_, success) in enumerate(_first_successes(data)) if success is not None]
    return data.select(keep, f"{len(keep)} of {data.episodes} episodes kept: those with a success")


def cut_at_success(data: Dataset, terminated: bool = True) -> Dataset:
    """Every episode ends after its first success, and the task with it.

    terminated: False says that the task would have gone on, so the episode counts as cut off there. Raises
    `DataError` where nobody says what counts as success.
    """
    episodes = [
        episode if success is None else _cut(episode, success + 1) | {"terminated": terminated}
        for episode, success in _first_successes(data)
    ]
    return data.rebuild(
        episodes, "episodes end at the first success" + (" (terminated)" if terminated else " (cut off)")
    )


def drop_rewards(data: Dataset) -> Dataset:
    """The data without rewards."""
    return data.replace("rewards dropped", rewards=None)


def without(data: Dataset, names: Sequence[str]) -> Dataset:
    """The data without these arrays of its observations. Raises `UsageError` where one is absent, or none is left."""
    if not isinstance(data.observations, dict):
        raise UsageError(f"{data.provenance.source}: observations are one array, of which no part has a name")
    parts = dict(data.spec.observation)
    for name in names:
        if name not in parts:
            raise unknown("array of observations", name, parts)
    left = {name: column for name, column in data.observations.items() if name not in names}
    if not left:
        raise UsageError(f"{data.provenance.source}: no observations are left without {', '.join(names)}")
    spec = dataclasses.replace(
        data.spec, observation=tuple((name, part) for name, part in data.spec.observation if name in left)
    )
    return data.replace(f"observations without {', '.join(names)}", observations=left, spec=spec)


def drop_actions(data: Dataset) -> Dataset:
    """The data without actions: what passive video leaves."""
    return data.replace("actions dropped", actions=None, spec=dataclasses.replace(data.spec, action=None))


def of_task(data: Dataset, name: str, table: TaskTable | None = None) -> Dataset:
    """The data, all of it one task's. table: that holds the task; by default one of this alone, one-hot.

    Raises `UsageError` where the table does not hold it.
    """
    table = table or TaskTable.one_hot([name])
    tasks = np.full(len(data), table.id(name), np.int32)
    return _with_tasks(data, tasks, table, f"all of task {name!r}")


def in_table(data: Dataset, table: TaskTable, transform: str) -> Dataset:
    """The data with its tasks, by name, as they are in another table. Raises `UsageError` where that lacks one."""
    places = np.array([table.id(name) for name in data.task_table.names], np.int32)
    return _with_tasks(data, places[data.tasks], table, transform)


def with_task_vectors(data: Dataset, table: TaskTable) -> Dataset:
    """The data with the vectors that `table` has for its tasks.

    Raises `DataError` where it has no tasks, `UsageError` where a vector is missing.
    """
    _column(data, "tasks")
    return in_table(data, data.task_table.with_vectors(table), f"vectors of tasks from {table.source}")


def concatenate(parts: Sequence[Dataset]) -> Dataset:
    """All episodes of all parts, in order. Bounds become those that hold for every part; tasks of one name are one.

    Raises `UsageError` where shapes or vectors of tasks differ or no part is given, and `DataError` where a column is
    absent in some parts only (but for `shared`); drop it in the others first.
    """
    if not parts:
        raise UsageError("no data to concatenate")
    parts = _alike_in_tasks(parts)
    first = parts[0]
    spec = first.spec
    for part in parts[1:]:
        spec = _common(spec, part.spec, first.provenance.source, part.provenance.source)
    columns: dict[str, Any] = {"task_table": first.task_table}
    for name in STEP_COLUMNS:
        present = [getattr(part, name) is not None for part in parts]
        if any(present) and not all(present):
            has, lacks = parts[present.index(True)].provenance.source, parts[present.index(False)].provenance.source
            raise DataError(f"{has} holds {name}, {lacks} does not; drop them first or leave one of the two out")
        columns[name] = np.concatenate([getattr(part, name) for part in parts]) if all(present) else None
    offsets = np.cumsum([0, *(len(part) for part in parts[:-1])]).astype(np.int32)
    for name in ("episode_start", "episode_end"):
        columns[name] = np.concatenate([getattr(p, name) + offset for p, offset in zip(parts, offsets, strict=True)])
    if isinstance(first.observations, dict):
        observations = {name: np.concatenate([p.observations[name] for p in parts]) for name in first.observations}
    else:
        observations = np.concatenate([part.observations for part in parts])
    environments = {part.provenance.environment for part in parts}
    return Dataset(
        observations=observations,
        terminations=np.concatenate([part.terminations for part in parts]),
        spec=spec,
        provenance=Provenance(
            " + ".join(part.provenance.source for part in parts),
            environment=environments.pop() if len(environments) == 1 else "",
            transforms=("concatenated: " + "; ".join(_origin(part) for part in parts),),
        ),
        **columns,
    )


def subset(data: Dataset, episodes: int | None = None, fraction: float | None = None, seed: int = 0) -> Dataset:
    """A random choice of episodes, in their own order: so many, or a fraction (rounded, at least one).

    Raises `UsageError` unless exactly one of the two is given and within what is there.
    """
    if (episodes is None) == (fraction is None):
        raise UsageError("give either a number of episodes or a fraction")
    if fraction is not None:
        if not 0 < fraction <= 1:
            raise UsageError(f"fraction is {fraction:g}; expected more than 0 and at most 1")
        episodes = max(1, round(fraction * data.episodes))
    if not 1 <= episodes <= data.episodes:
        raise UsageError(f"{episodes} episodes asked for; {data.provenance.source} has {data.episodes}")
    chosen = np.sort(np.random.default_rng(seed).choice(data.episodes, episodes, replace=False))
    return data.select(chosen, f"{episodes} of {data.episodes} episodes chosen at random (seed {seed})")


def sample_steps(data: Dataset, fraction: float, seed: int = 0) -> Dataset:
    """A share of all steps, drawn at random, each an episode of its own: what is left where few steps are labelled.

    At least one step is. Raises `UsageError` for a fraction that is not above 0 and at most 1.
    """
    if not 0 < fraction <= 1:
        raise UsageError(f"fraction is {fraction:g}; expected more than 0 and at most 1")
    count = max(1, round(fraction * data.steps))
    rows = np.sort(np.random.default_rng(seed).choice(data.transitions, count, replace=False))
    names = [name for name in STEP_COLUMNS if getattr(data, name) is not None]
    episodes = [
        {name: getattr(data, name)[row : row + 1] for name in names}
        | {
            "observations": map_arrays(lambda column, row=row: column[row : row + 2], data.observations),
            "terminated": bool(data.terminations[row]),
        }
        for row in rows
    ]
    return data.rebuild(episodes, f"{count} of {data.steps} steps drawn at random (seed {seed}), each an episode")


def _column(data: Dataset, name: str) -> np.ndarray:
    column = getattr(data, name)
    if column is None:
        raise DataError(f"{data.provenance.source} holds no {name}")
    return column


def _first_successes(data: Dataset) -> Iterator[tuple[dict[str, Any], int | None]]:
    """Every episode with the step of its first success, or None."""
    _column(data, "successes")
    for index in range(data.episodes):
        episode = data.episode(index)
        steps = np.flatnonzero(episode["successes"])
        yield episode, int(steps[0]) if len(steps) else None


def _with_tasks(data: Dataset, tasks: np.ndarray, table: TaskTable, transform: str) -> Dataset:
    spec = dataclasses.replace(data.spec, context=table.context)
    return data.replace(transform, tasks=tasks, task_table=table, spec=spec)


def _alike_in_tasks(parts: Sequence[Dataset]) -> Sequence[Dataset]:
    """The parts with one table of tasks, and all with the column `shared` where one has it; provenance as it was.

    Raises `UsageError` where vectors of tasks do not go together.
    """
    tables = [part.task_table for part in parts if part.task_table is not None]
    if len(tables) == len(parts) and any(table != tables[0] for table in tables):
        table = union(tables)
        parts = [dataclasses.replace(in_table(part, table, ""), provenance=part.provenance) for part in parts]
    if any(part.shared is not None for part in parts):
        none = [np.zeros(len(part), bool) if part.shared is None else part.shared for part in parts]
        parts = [dataclasses.replace(part, shared=shared) for part, shared in zip(parts, none, strict=True)]
    return parts


def _cut(episode: dict[str, Any], steps: int) -> dict[str, Any]:
    """The first steps of an episode, as cut off unless they are all."""
    total = len(episode["successes"])
    cut = {name: episode[name][:steps] for name in STEP_COLUMNS if name in episode}
    cut["observations"] = map_arrays(lambda column: column[: steps + 1], episode["observations"])
    return cut | {"terminated": episode["terminated"] and steps == total}


def _common(a: Spec, b: Spec, mine: str, theirs: str) -> Spec:
    a.require(b, mine, theirs)
    if (a.action is None) != (b.action is None):
        raise DataError(f"{mine if a.action else theirs} holds actions, the other does not; drop them first")
    others = dict(b.observation)
    for name, part in a.observation:
        if part.dtype != others[name].dtype:
            raise UsageError(f"observations differ: {mine} has {part.dtype}, {theirs} has {others[name].dtype}")
    observation = tuple((name, _hull(part, others[name])) for name, part in a.observation)
    return Spec(observation, a.action and _hull(a.action, b.action), a.context)


def _hull(a: ArraySpec, b: ArraySpec) -> ArraySpec:
    """The narrowest bounds that hold for both."""
    if a.discrete:
        return dataclasses.replace(a, categories=max(a.categories, b.categories))
    low = None if a.low is None or b.low is None else tuple(map(min, a.low, b.low))
    high = None if a.high is None or b.high is None else tuple(map(max, a.high, b.high))
    return dataclasses.replace(a, low=low, high=high)


def _origin(part: Dataset) -> str:
    done = f", {', '.join(part.provenance.transforms)}" if part.provenance.transforms else ""
    return f"{part.provenance.source} ({part.episodes} episodes{done})"

"""Data of one task for the others: every step relabelled for every task that it was not recorded for."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from headstart.data.columns import STEP_COLUMNS, map_arrays
from headstart.data.dataset import Dataset
from headstart.data.files import existing, read_npz
from headstart.data.transform import concatenate
from headstart.errors import DataError, UsageError

Rewards = Callable[[Mapping[str, Any], str], tuple[Any, Any] | None]
"""(episode as `Dataset.episode` gives it, name of a task) -> rewards (T,) of its steps in that task and whether each of
them ends it (T,); None where they are not known."""


def share(
    data: Dataset,
    rewards: Rewards | Mapping[str, tuple[np.ndarray, np.ndarray | None]] | None = None,
    unlabelled: float | None = None,
) -> Dataset:
    """The data, and all of it once more for each other task of its table, marked as `shared`.

    rewards: those of the relabelled steps, by a function, or {task: (rewards (steps,), ends (steps,) or None)} over all
    of the data's steps. unlabelled: the reward where they are not known; None: the lowest that the task's own data has.
    With rewards of 0 and 1 that is zero, as in UDS (Yu et al. 2022, arXiv:2202.01741, "unlabelled data sharing"). An
    episode that ends a task is cut there, and goes on as another; one that nobody labels is cut off at its end.

    The result is K times as large for K tasks. Raises `DataError` where tasks or rewards are absent, `UsageError` for
    rewards of other lengths and tasks.
    """
    for name in ("tasks", "rewards"):
        if getattr(data, name) is None:
            raise DataError(f"{data.provenance.source} holds no {name}, by which it could be shared between tasks")
    names = data.task_table.names
    label = rewards if callable(rewards) else _of_columns(data, rewards or {})
    episodes = [data.episode(index) for index in range(data.episodes)]
    own = [np.unique(episode["tasks"]) for episode in episodes]
    if any(len(tasks) > 1 for tasks in own):
        raise UsageError(f"{data.provenance.source}: an episode has several tasks; only those of one task are shared")
    lowest = _lowest(data) if unlabelled is None else np.full(len(names), unlabelled)
    relabelled, known = [], 0
    for task, name in enumerate(names):
        for index, episode in enumerate(episodes):
            if own[index][0] != task:
                labels = label(episode | {"index": index}, name)
                known += labels is not None
                relabelled += _relabelled(episode, task, lowest[task], labels)
    if not relabelled:
        raise UsageError(f"{data.provenance.source} is of one task; there is none to share it with")
    how = f"{len(relabelled)} episodes shared between {len(names)} tasks: rewards known for {known}, else " + (
        "the task's lowest" if unlabelled is None else f"{unlabelled:g}"
    )
    other = Dataset.from_episodes(relabelled, data.spec, data.provenance, data.task_table)
    return concatenate([data, other]).replace(how)


def read_rewards(file: str | Path) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
    """Rewards of tasks for `share` from an `.npz` file: NAME, and NAME/ends where steps end the task."""
    columns = read_npz(existing(file, "rewards of tasks"))
    ends = {
        name.removesuffix("/ends"): column.astype(bool) for name, column in columns.items() if name.endswith("/ends")
    }
    return {name: (column, ends.get(name)) for name, column in columns.items() if not name.endswith("/ends")}


def _lowest(data: Dataset) -> np.ndarray:
    """(K,) lowest reward of every task, of all where it has no data."""
    rows = data.transitions
    lowest = np.full(len(data.task_table.names), data.rewards[rows].min())
    for task in np.unique(data.tasks[rows]):
        lowest[task] = data.rewards[rows][data.tasks[rows] == task].min()
    return lowest


def _of_columns(data: Dataset, columns: Mapping[str, tuple[np.ndarray, np.ndarray | None]]) -> Rewards:
    """The same from columns over all steps."""
    for name, pair in columns.items():
        data.task_table.id(name)
        for column in pair:
            if column is not None and np.shape(column) != (data.steps,):
                raise UsageError(
                    f"rewards of task {name!r} have shape {np.shape(column)}, expected ({data.steps},): one for each "
                    "step of the data"
                )
    # Every episode before takes one row more than it has steps.
    first = data.starts - np.arange(data.episodes)

    def label(episode: Mapping[str, Any], name: str) -> tuple[Any, Any] | None:
        if name not in columns:
            return None
        rewards, ends = columns[name]
        part = slice(first[episode["index"]], first[episode["index"]] + len(episode["rewards"]))
        return rewards[part], np.zeros(len(episode["rewards"]), bool) if ends is None else ends[part]

    return label


def _relabelled(
    episode: Mapping[str, Any], task: int, lowest: float, labels: tuple[Any, Any] | None
) -> Iterator[dict[str, Any]]:
    """An episode as one or several of another task."""
    steps = len(episode["rewards"])
    if labels is None:
        labels = np.full(steps, lowest), np.zeros(steps, bool)
    rewards, ends = (np.asarray(column) for column in labels)
    if rewards.shape != (steps,) or ends.shape != (steps,):
        raise UsageError(f"expected rewards and ends of {steps} steps, found shapes {rewards.shape} and {ends.shape}")
    said = {"rewards": rewards, "tasks": np.full(steps, task), "shared": np.ones(steps, bool)}
    if "successes" in episode:
        said["successes"] = ends
    columns = {name: episode[name] for name in STEP_COLUMNS if name in episode} | said
    stops = np.unique([*(np.flatnonzero(ends) + 1), steps])
    for start, stop in itertools.pairwise([0, *stops]):
        whole = slice(start, stop + 1)
        yield {
            "observations": map_arrays(lambda column, whole=whole: column[whole], episode["observations"]),
            "terminated": bool(ends[stop - 1]),
            **{name: column[start:stop] for name, column in columns.items()},
        }

"""Which tasks training goes on with: those of a model, those of the data, and the one that is named."""

from __future__ import annotations

from typing import Any

from headstart.algos import registry
from headstart.artifact.model import Artifact
from headstart.data import transform
from headstart.data.dataset import Dataset
from headstart.data.tasks import ONE_HOT, TaskTable, union
from headstart.errors import UsageError


def settle(
    algorithm: Any, source: Artifact | None, task: str | None, acts: bool, *parts: Dataset | None
) -> tuple[TaskTable | None, tuple[Dataset | None, ...]]:
    """The tasks that an algorithm goes on with, None where it acts on none, and the data with ids among them.

    source: the model it goes on from. task: of data that names none, and to act on; acts: whether it must be known for
    that. The tasks of the model keep their vectors, new ones of the data come after them.

    Raises `UsageError` for a task that is unknown, has no vector, or is not asked for, and vectors that do not fit.
    """
    if not algorithm.view().tasks:
        if task is not None:
            raise UsageError(
                f"{registry.title(algorithm)} is not set to act on tasks; switch that on (tasks), or name none (task)"
            )
        return None, parts
    known = None if source is None else source.tasks
    if task is not None:
        parts = tuple(part if part is None or part.tasks is not None else _of(part, task, known) for part in parts)
    tables = [part.task_table for part in parts if part is not None and part.task_table is not None]
    if known is None and not tables:
        # What lacks them says so.
        return None, parts
    table = known.joined(union(tables)) if known and tables else known or union(tables)
    if task is not None:
        table.id(task)
    elif acts:
        raise UsageError(f"say on which task to act (task): {', '.join(table.names)}")
    return table, tuple(
        part
        if part is None or part.tasks is None or part.task_table == table
        else transform.in_table(part, table, "tasks as the model counts them")
        for part in parts
    )


def _of(part: Dataset, task: str, known: TaskTable | None) -> Dataset:
    """Data that names no task, as of that one."""
    if known is None or task in known.names:
        return transform.of_task(part, task, known)
    if known.source != ONE_HOT:
        raise UsageError(
            f"task {task!r} is new and needs a vector like the others ({known.source}); give the data one first: "
            "headstart data convert SOURCE TARGET --task NAME --task-vectors FILE"
        )
    return transform.of_task(part, task)

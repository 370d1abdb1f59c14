"""Data of several tasks from sources that say which task each is of: a JSON file.

    {
      "tasks": {"open the door": "minari:door/open-v0", "close it": ["arrays:close.npz", "arrays:more.npz"]},
      "vectors": "embeddings.npz",
      "spare": 1
    }

vectors: a file with a vector for every task (`tasks.read_vectors`); without it, tasks are one-hot. spare: places for
tasks to come, of one-hot vectors. Sources are those of `sources.load`; paths in them and that of the vectors are as on
the command line, from where the program runs.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from headstart.data import sources, transform
from headstart.data.dataset import Dataset
from headstart.data.files import existing
from headstart.data.tasks import TaskTable, read_json, read_vectors
from headstart.errors import DataError, UsageError, unknown

KEYS = ("tasks", "vectors", "spare")


def path(locator: str) -> Path:
    """The file that a locator means."""
    return existing(locator, "a JSON file that names a source for every task")


def read(locator: str) -> Dataset:
    """The data of all sources, each row with the task of its source; see the module.

    Raises `DataError` for a file of another form and sources that cannot be read, `UsageError` for keys it does not
    know and data that does not go together.
    """
    place = path(locator)
    content = read_json(place)
    if not isinstance(content, dict):
        raise DataError(f"{place}: expected an object with the keys {', '.join(KEYS)}")
    for key in content:
        if key not in KEYS:
            raise unknown(f"key of {place}", key, KEYS)
    named = content.get("tasks")
    if not isinstance(named, dict) or not named or not all(map(_sources, named.values())):
        raise DataError(f'{place}: expected "tasks" as an object, {{"name of a task": a source or a list of them}}')
    spare = content.get("spare", 1)
    if type(spare) is not int or spare < 0:
        raise DataError(f'{place}: expected "spare" as a whole number from 0 on, found {spare!r}')
    table = TaskTable.one_hot(named, spare)
    if (vectors := content.get("vectors")) is not None:
        if not isinstance(vectors, str) or "spare" in content:
            raise UsageError(f'{place}: "vectors" is the name of a file, and "spare" is of one-hot vectors alone')
        table = table.with_vectors(read_vectors(vectors))
    parts = []
    for name, listed in named.items():
        for source in [listed] if isinstance(listed, str) else listed:
            part = sources.load(source)
            if part.tasks is not None:
                raise UsageError(f"{place}: {source} names tasks of its own; give it as a source by itself")
            parts.append(transform.of_task(part, name, table))
    data = transform.concatenate(parts)
    return dataclasses.replace(data, provenance=dataclasses.replace(data.provenance, source=f"tasks:{locator}"))


def _sources(listed: object) -> bool:
    return isinstance(listed, str) or (isinstance(listed, list) and bool(listed) and all(map(_source, listed)))


def _source(entry: object) -> bool:
    return isinstance(entry, str)

"""Plain NumPy files: an `.npz` of columns with one row per step, or a folder of memory-mapped columns.

The folder is headstart's own layout, the rows of a `Dataset` as they are: `dataset.json` and one `COLUMN.npy` each
(`observations/NAME.npy` for dict observations). Its columns stay on disk and are read where they are used, so the
data may be larger than memory.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from headstart import config
from headstart.data.columns import STEP_COLUMNS
from headstart.data.dataset import Dataset, Provenance
from headstart.data.files import existing, new_folder, numeric, read_npz, relative, same_length
from headstart.data.tasks import TaskTable
from headstart.errors import DataError, UsageError, unknown
from headstart.spec import Spec

HEADER = "dataset.json"
FORMAT = 1
SYNONYMS = {"terminals": "terminations", "truncations": "timeouts"}
COLUMNS = ("observations", *STEP_COLUMNS, "terminations", "timeouts", "next_observations")


def path(locator: str) -> Path:
    """The file or folder that a locator means."""
    place = Path(locator).expanduser()
    return place if place.is_dir() else existing(place, "an .npz file or a folder of columns")


def read(locator: str) -> Dataset:
    """The data of `FILE.npz` or of a folder that `write` made.

    Keys of the file: `observations` (or `observations/NAME` for dict observations), `actions`, `rewards`,
    `terminations` or `terminals`, `timeouts` or `truncations`, `next_observations` (or `next_observations/NAME`),
    `successes`, `tasks`, `shared`; all but the first may be absent. They mean what they mean in `Dataset.from_arrays`.

    Raises `DataError` for files that are damaged or disagree in length, `UsageError` for unknown keys.
    """
    place = path(locator)
    if place.is_dir():
        return _read_folder(place)
    columns: dict[str, Any] = {}
    content = read_npz(place)
    same_length(place, content)
    for key, column in content.items():
        name, _, part = key.partition("/")
        name = SYNONYMS.get(name, name)
        if name not in COLUMNS or (bool(part) and not name.endswith("observations")):
            raise unknown(f"column of {place}", key, [*COLUMNS, *SYNONYMS])
        if name in columns and not (part and isinstance(columns[name], dict)):
            raise DataError(f"{place}: {key} and another column both hold {name}; keep one of them")
        if part:
            columns.setdefault(name, {})[part] = column
        else:
            columns[name] = column
    if "observations" not in columns:
        raise DataError(f"{place}: no 'observations'; found {', '.join(columns) or 'nothing'}")
    if not columns.keys() & {"terminations", "timeouts"}:
        print(f"{place}: neither terminations nor timeouts say where episodes end: all rows are one", file=sys.stderr)
    return Dataset.from_arrays(**columns, provenance=Provenance(f"arrays:{locator}"))


def write(data: Dataset, folder: str | Path, overwrite: bool = False) -> Path:
    """Write a folder that `read` memory-maps. Returns its path.

    Raises `UsageError` where it exists (unless `overwrite`, and it is such a folder) and `DataError` where it cannot be
    written.
    """
    target = Path(folder).expanduser()
    if target.suffix == ".npz":
        raise UsageError(f"{target}: data is written as a folder of columns; give a name without .npz")
    columns = data.columns()
    header = {
        "format": FORMAT,
        "spec": data.spec.to_json(),
        "provenance": config.to_json(data.provenance),
        "sha256": data.digest,
        "columns": {name: {"dtype": str(column.dtype), "shape": list(column.shape)} for name, column in columns},
    }
    if data.task_table is not None:
        header["tasks"] = config.to_json(data.task_table)
    with new_folder(target, overwrite, HEADER, data.nbytes) as place:
        for name, column in columns:
            file = place / f"{relative(name)}.npy"
            file.parent.mkdir(parents=True, exist_ok=True)
            np.save(file, column, allow_pickle=False)
        (place / HEADER).write_text(json.dumps(header, indent=2) + "\n")
    return target


def _read_folder(place: Path) -> Dataset:
    header = _header(place)
    try:
        spec = Spec.from_json(header["spec"])
        provenance = config.from_json(Provenance, header["provenance"])
        table = config.from_json(TaskTable, header["tasks"]) if "tasks" in header else None
        described = {name: (str(np.dtype(c["dtype"])), tuple(c["shape"])) for name, c in header["columns"].items()}
    except (KeyError, TypeError, AttributeError, UsageError) as error:
        raise DataError(f"{place / HEADER} is damaged: {error}") from error
    columns: dict[str, Any] = {}
    observations: dict[str, np.ndarray] = {}
    for name, expected in described.items():
        column = _column(place / f"{relative(name)}.npy", name, expected)
        if name.startswith("observations/"):
            observations[name.removeprefix("observations/")] = column
        else:
            columns[name] = column
    columns.setdefault("observations", observations)
    needed = {"terminations", "episode_start", "episode_end"} | ({"tasks"} if table else set())
    fields = {"observations", *STEP_COLUMNS} - {"tasks"} | needed
    if not needed <= columns.keys() <= fields or not len(columns["observations"]):
        raise DataError(f"{place / HEADER} lists the columns {', '.join(described)}; expected those of a Dataset")
    columns = {"actions": None, "rewards": None} | columns
    data = Dataset(**columns, spec=spec, provenance=provenance, task_table=table)
    _check_bounds(place, data)
    return data


def _header(place: Path) -> dict[str, Any]:
    try:
        header = json.loads((place / HEADER).read_text())
    except FileNotFoundError as error:
        raise DataError(f"{place} holds no {HEADER}; expected a folder that headstart wrote") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{place / HEADER} is not readable JSON") from error
    found = header.get("format") if isinstance(header, dict) else None
    if found != FORMAT:
        raise DataError(f"{place / HEADER} has format {found!r}; this headstart reads format {FORMAT}")
    return header


def _column(file: Path, name: str, expected: tuple[str, tuple[int, ...]]) -> np.ndarray:
    try:
        column = numeric(file, name, np.lib.format.open_memmap(existing(file, f"the column {name}"), mode="r"))
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{file} is damaged or cut short") from error
    found = (str(column.dtype), column.shape)
    if found != expected:
        raise DataError(f"{file} holds {found[0]} of shape {found[1]}; {HEADER} says {expected[0]} of {expected[1]}")
    return column


def _check_bounds(place: Path, data: Dataset) -> None:
    """Raise `DataError` unless all columns have one length and the episodes tile the rows."""
    count = len(data)
    for name, column in data.columns():
        if len(column) != count:
            raise DataError(f"{place}: {name} has {len(column)} rows, terminations has {count}")
    last = np.flatnonzero(data.episode_end == np.arange(count))
    first = np.concatenate([[0], last[:-1] + 1])
    lengths = last - first + 1
    if (
        not len(last)
        or last[-1] != count - 1
        or lengths.min() < 2
        or not np.array_equal(np.repeat(first, lengths), data.episode_start)
        or not np.array_equal(np.repeat(last, lengths), data.episode_end)
    ):
        raise DataError(f"{place}: episode_start and episode_end are damaged: the episodes do not tile the rows")

"""Files of arrays, opened with errors that a user can act on. Nothing is ever unpickled."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from headstart.errors import DataError, UsageError


def existing(path: str | Path, kind: str) -> Path:
    """The path, `~` expanded. Raises `DataError` where there is no such file; `kind` says what was expected."""
    path = Path(path).expanduser()
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise DataError(f"{path} {found}; expected {kind}")
    return path


def numeric(path: Path, key: str, column: np.ndarray) -> np.ndarray:
    """The column, if it has a time axis and holds numbers or booleans. Raises `DataError` otherwise."""
    if column.dtype.kind not in "biuf":
        raise DataError(f"{path}: {key} holds {column.dtype} values, expected numbers or booleans")
    if column.ndim == 0:
        raise DataError(f"{path}: {key} is a single value, expected an array with one row per step")
    return column


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an `.npz` file. Raises `DataError` for damaged files and for anything that is no number."""
    # NumPy leaves a file open that it cannot read, hence the outer `with`.
    with path.open("rb") as raw:
        try:
            file = np.load(raw, allow_pickle=False)
        except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
            raise DataError(f"{path} is not a readable .npz file (damaged, cut short or of another format)") from error
        if isinstance(file, np.ndarray):
            raise DataError(f"{path} holds one array; expected an .npz file with named arrays")
        return {key: numeric(path, key, _member(path, file, key)) for key in file}


def _member(path: Path, file: Mapping[str, np.ndarray], key: str) -> np.ndarray:
    try:
        return file[key]
    except ValueError as error:
        if "Object arrays" in str(error):
            raise DataError(f"{path}: {key} holds Python objects; only plain arrays are loaded") from error
        raise DataError(f"{path}: {key} is damaged") from error
    except (OSError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: {key} is damaged or cut short") from error


def require(path: Path, columns: Mapping[str, np.ndarray], *keys: str) -> None:
    """Raise `DataError` where one of the keys is missing."""
    for key in keys:
        if key not in columns:
            raise DataError(f"{path}: no {key!r}; expected at least {', '.join(keys)}, found {_listing(columns)}")


def same_length(path: Path, columns: Mapping[str, np.ndarray]) -> None:
    """Raise `DataError` where a column has another number of rows than the observations."""
    reference = next((key for key in columns if key.partition("/")[0] == "observations"), None)
    for key, column in columns.items():
        if reference and len(column) != len(columns[reference]):
            raise DataError(f"{path}: {key} has {len(column)} rows, {reference} has {len(columns[reference])}")


def _listing(columns: Mapping[str, np.ndarray]) -> str:
    keys = sorted(columns)
    return ", ".join(keys[:12]) + (f" and {len(keys) - 12} more" if len(keys) > 12 else "") if keys else "nothing"


def size(path: Path) -> int:
    """Bytes of a file, or of all files under a folder."""
    return sum(part.stat().st_size for part in ([path] if path.is_file() else path.rglob("*")) if part.is_file())


@contextlib.contextmanager
def new_folder(target: Path, overwrite: bool, marker: str, needed: int) -> Iterator[Path]:
    """A temporary sibling of `target`, renamed to it when the block is done: a half-written folder is never seen.

    Raises `UsageError` where the target exists, unless `overwrite` is set and it holds `marker` (a file that shows
    that it is such a data set and nothing else); `DataError` where it cannot be written, or less than `needed` bytes
    are free (HDF5 can crash the whole process when a disk fills up, so this is checked first).
    """
    if target.exists() and not overwrite:
        raise UsageError(f"{target} already exists; choose another name or ask for it to be overwritten (--overwrite)")
    if target.exists() and not (target / marker).is_file():
        raise UsageError(f"{target} is not a data set of this format (no {marker}) and is left alone")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(target.parent).free
        if free < needed:
            raise DataError(f"{target} needs {needed / 1e6:,.0f} MB and {free / 1e6:,.0f} MB are free; make room first")
        # Absolute, since Minari joins a relative folder to itself.
        parent = target.parent.absolute()
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=parent) as temporary:
            folder = Path(temporary) / "new"
            folder.mkdir()
            yield folder
            if target.exists():
                target.rename(Path(temporary) / "old")
            folder.rename(target)
    except OSError as error:
        raise DataError(f"{target} cannot be written: {error.strerror or f'{error} (is the disk full?)'}") from error


def relative(name: str) -> str:
    """A column name as a relative path. Raises `DataError` for names that would lead out of their folder."""
    parts = name.split("/")
    if (os.sep != "/" and os.sep in name) or any(part in ("", ".", "..") for part in parts):
        raise DataError(f"column name {name!r} cannot be a file name")
    return name

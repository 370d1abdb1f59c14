"""Where data comes from and goes to: "scheme:locator" <-> Dataset."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

from headstart.data.dataset import Dataset
from headstart.data.files import size
from headstart.errors import UsageError, unknown

FORMATS = {
    "arrays": "headstart.data.arrays",
    "d4rl": "headstart.data.d4rl",
    "minari": "headstart.data.minari_format",
    "ogbench": "headstart.data.ogbench",
    "tasks": "headstart.data.task_sources",
}
"""Scheme -> module with `read(locator)` and `path(locator)`, imported when first used."""

WRITABLE = ("arrays", "minari")
"""The schemes whose module also has `write(data, locator, overwrite)`."""


def load(source: str) -> Dataset:
    """The data of a source such as

    `minari:D4RL/door/human-v2`, `minari:FOLDER`: a Minari data set by ID or folder;
    `d4rl:FILE.hdf5`: the D4RL layout;
    `ogbench:antmaze-medium-navigate-v0`, `ogbench:FILE.npz`: OGBench's data sets and layout;
    `arrays:FILE.npz`, `arrays:FOLDER`: plain NumPy columns; the folder is memory-mapped;
    `tasks:FILE.json`: several of these, each of a task (`data.task_sources`).

    Raises `UsageError` for an unknown scheme and `DataError` for data that is absent or cannot be read.
    """
    if not isinstance(source, str):
        raise UsageError(f"expected a Dataset or a source such as 'minari:FOLDER', found {type(source).__name__}")
    module, locator = _format(source)
    return module.read(locator)


def write(data: Dataset, target: str, overwrite: bool = False) -> Path:
    """Write data to `minari:ID`, `minari:FOLDER` or `arrays:FOLDER`. Returns the folder.

    Raises `UsageError` where the scheme cannot be written or something is there already (unless `overwrite`), and
    `DataError` where writing fails.
    """
    module, locator = _format(target)
    scheme = target.partition(":")[0]
    if scheme not in WRITABLE:
        raise UsageError(f"{scheme}: data is not written in this layout; use minari:FOLDER or arrays:FOLDER")
    return module.write(data, locator, overwrite=overwrite)


def disk_size(source: str) -> int | None:
    """Bytes on disk of a source that has been read; None where it lies elsewhere."""
    module, locator = _format(source)
    place = module.path(locator)
    return size(place) if place.exists() else None


def _format(source: str) -> tuple[ModuleType, str]:
    scheme, colon, locator = source.partition(":")
    if not colon:
        raise UsageError(f"{source!r} names no format; write FORMAT:{source} with one of {', '.join(FORMATS)}")
    if scheme not in FORMATS:
        raise unknown("data format", scheme, FORMATS)
    if not locator:
        raise UsageError(f"{source!r} names no data; write {scheme}:FILE_OR_NAME")
    return importlib.import_module(FORMATS[scheme]), locator

"""What diagnostics found, in types: for people, for files, and for reports that read the files."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart import plotting
from headstart.errors import HeadstartError, UsageError, unknown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMAT = 1
FILE = "diagnose.json"


class Unsupported(Exception):
    """What a diagnostic needs and the model, the data or the environment does not have; its text says which."""


@dataclasses.dataclass(frozen=True)
class Table:
    """Columns, and rows of numbers, texts and None; what is not defined is None."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def __post_init__(self):
        object.__setattr__(self, "rows", tuple(tuple(map(_plain, row)) for row in self.rows))

    def to_json(self) -> dict[str, Any]:
        return {"columns": list(self.columns), "rows": [list(row) for row in self.rows]}


@dataclasses.dataclass(frozen=True, eq=False)
class Finding:
    """What one diagnostic found.

    name:    stable, for programs. title: for people.
    verdict: one or two sentences that state the evidence.
    flag:    True: something that threatens finetuning was found; False: it was looked for and not found; None: not
             judged.
    numbers: {label: number}; what is not defined is left out.
    table:   more of them, or None. figures: {file name without ending: Matplotlib figure}.
    skipped: why the diagnostic could not be made, or None.
    """

    name: str
    title: str
    verdict: str
    flag: bool | None = None
    numbers: Mapping[str, float] = dataclasses.field(default_factory=dict)
    table: Table | None = None
    figures: Mapping[str, Figure] = dataclasses.field(default_factory=dict)
    skipped: str | None = None

    def __post_init__(self):
        numbers = {label: plain for label, number in self.numbers.items() if (plain := _plain(number)) is not None}
        object.__setattr__(self, "numbers", numbers)
        object.__setattr__(self, "flag", _plain(self.flag))

    @classmethod
    def skip(cls, name: str, title: str, why: str) -> Finding:
        """The finding of a diagnostic that could not be made."""
        return cls(name, title, f"Not diagnosed: {why}.", skipped=why)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data; figures by their file names."""
        return {
            "name": self.name,
            "title": self.title,
            "verdict": self.verdict,
            "flag": self.flag,
            "numbers": dict(self.numbers),
            "table": None if self.table is None else self.table.to_json(),
            "figures": [f"{stem}.svg" for stem in self.figures],
            "skipped": self.skipped,
        }


@dataclasses.dataclass(frozen=True, eq=False)
class Diagnosis:
    """All findings about an artifact.

    artifact: its digest. algorithm: its name. data: provenance of the data, one line. environment: its string, or None.
    """

    artifact: str
    algorithm: str
    data: str
    environment: str | None
    findings: tuple[Finding, ...]

    def __getitem__(self, name: str) -> Finding:
        """The finding of that name. Raises `UsageError` for names that are not there."""
        for finding in self.findings:
            if finding.name == name:
                return finding
        raise unknown("finding", name, [finding.name for finding in self.findings])

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "artifact": self.artifact,
            "algorithm": self.algorithm,
            "data": self.data,
            "environment": self.environment,
            "findings": [finding.to_json() for finding in self.findings],
        }

    def save(self, folder: str | Path, overwrite: bool = False) -> Path:
        """Write `diagnose.json` and, beside it, every figure as SVG and PNG; returns the path of the former.

        Raises as `require_free`, and `HeadstartError` where the folder cannot be written.
        """
        file = require_free(folder, overwrite)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            for finding in self.findings:
                for stem, figure in finding.figures.items():
                    plotting.save(figure, file.parent / f"{stem}.png")
            file.write_text(json.dumps(self.to_json(), indent=2, allow_nan=False) + "\n")
        except OSError as error:
            raise HeadstartError(f"{file.parent} cannot be written: {error.strerror or error}") from error
        return file

    def describe(self) -> str:
        """A paragraph for every finding."""
        return "\n".join(f"{_mark(finding)} {finding.title}: {finding.verdict}" for finding in self.findings)


def require_free(folder: str | Path, overwrite: bool = False) -> Path:
    """The path of the findings in a folder. Raises `UsageError` where they are there already, unless `overwrite`."""
    file = Path(folder) / FILE
    if file.exists() and not overwrite:
        raise UsageError(f"{file} exists; choose another folder, or ask for it to be overwritten (overwrite)")
    return file


def _mark(finding: Finding) -> str:
    if finding.skipped is not None:
        return "[skipped]"
    return {True: "[flagged]", False: "[sound]", None: "[see]"}[finding.flag]


def _plain(value: Any) -> Any:
    """NumPy's numbers as Python's, what is not finite as None, everything else as it is."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value

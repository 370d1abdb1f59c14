"""What a report says besides scores: diagnostics, data, settings, lineage. All read from the runs' files."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headstart.errors import DataError
from headstart.report.runs import Method, RunFiles, read_json
from headstart.report.tables import Table

DIAGNOSES = 1
"""The newest format of diagnose.json that is understood."""

IMAGES = {".svg": "image/svg+xml", ".png": "image/png", ".gif": "image/gif"}
VIDEOS = {".mp4": "video/mp4", ".webm": "video/webm"}


@dataclasses.dataclass(frozen=True)
class Media:
    """A picture or a video inside the page. uri: "data:...". about: what it shows."""

    uri: str
    about: str
    video: bool = False


@dataclasses.dataclass(frozen=True)
class Finding:
    """One diagnostic. flag: whether it warns; None: it gives no verdict. skipped: why it was not made."""

    title: str
    verdict: str
    flag: bool | None
    numbers: Table | None
    table: Table | None
    figures: tuple[Media, ...]
    skipped: str | None

    @property
    def state(self) -> str:
        return "skipped" if self.skipped else {True: "flagged", False: "sound", None: "not judged"}[self.flag]


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """The findings of `headstart diagnose` for one run."""

    run: str
    about: str
    findings: tuple[Finding, ...]


def diagnoses(methods: Sequence[Method]) -> list[Diagnosis]:
    """From `diagnose/diagnose.json` of each run that has one. Raises `DataError` for what it does not understand."""
    named = {run: f"{method.label}: {run.folder.name}" for method in reversed(methods) for run in method.runs}
    files = {run: run.folder / "diagnose" / "diagnose.json" for method in methods for run in method.runs}
    return [_diagnosis(named[run], file) for run, file in files.items() if file.exists()]


def overview(found: Sequence[Diagnosis]) -> Table:
    """A row a finding, a column a run."""
    titles = dict.fromkeys(finding.title for diagnosis in found for finding in diagnosis.findings)
    states = [{finding.title: finding.state for finding in diagnosis.findings} for diagnosis in found]
    rows = tuple((title, *(states_of.get(title) for states_of in states)) for title in titles)
    return Table(("finding", *(diagnosis.run for diagnosis in found)), rows)


def _diagnosis(name: str, file: Path) -> Diagnosis:
    content = read_json(file)
    if content.get("format") != DIAGNOSES:
        raise DataError(f"{file}: expected format {DIAGNOSES}, found {content.get('format')!r}; diagnose the run again")
    try:
        about = ", ".join(filter(None, (content["algorithm"], content["data"], content["environment"])))
        findings = tuple(_finding(finding, file.parent) for finding in content["findings"])
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file} does not describe a diagnosis ({error!r}); diagnose the run again") from error
    return Diagnosis(name, about, findings)


def _finding(found: dict[str, Any], folder: Path) -> Finding:
    numbers = tuple(found["numbers"].items())
    table = found["table"]
    return Finding(
        found["title"], found["verdict"], found["flag"],
        Table(("quantity", "value"), numbers) if numbers else None,
        Table(tuple(table["columns"]), tuple(map(tuple, table["rows"]))) if table else None,
        tuple(_picture(folder / name, f"{found['title']}: {found['verdict']}") for name in found["figures"]),
        found["skipped"],
    )  # fmt: skip


def _picture(file: Path, about: str) -> Media:
    """A figure, or the PNG beside it where that is smaller: thousands of points are heavy as SVG."""
    drawn = file.with_suffix(".png")
    lighter = drawn.exists() and file.exists() and drawn.stat().st_size < file.stat().st_size
    return media(drawn if lighter else file, about)


def media(file: Path, about: str) -> Media:
    """A picture or video for the page. Raises `DataError` where it is absent or of another kind."""
    kind = (IMAGES | VIDEOS).get(file.suffix)
    if kind is None:
        raise DataError(f"{file}: expected one of {', '.join(IMAGES | VIDEOS)}")
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from error
    return Media(f"data:{kind};base64,{base64.b64encode(content).decode()}", about, file.suffix in VIDEOS)


# -- data ---------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class DataCard:
    """One data set: facts, what was done to it, and (where a run's folder holds `inspect.json`) what is in it."""

    source: str
    facts: Table
    transforms: tuple[str, ...]
    spreads: Table | None
    columns: Table | None
    uses: Table | None


def data_cards(methods: Sequence[Method], runs: Sequence[RunFiles]) -> list[DataCard]:
    """One card a data set (by its digest), with who learned from it."""
    inspections = {found.get("sha256"): found for run in runs if (found := inspection(run)) is not None}
    used: dict[str, tuple[dict[str, Any], dict[str, None]]] = {}
    for method in methods:
        for run in method.runs:
            for data in run.data:
                used.setdefault(data["sha256"], (data, {}))[1][f"{method.label} ({run.folder.name})"] = None
    return [_card(data, list(users), inspections.get(digest)) for digest, (data, users) in used.items()]


def inspection(run: RunFiles) -> dict[str, Any] | None:
    """`inspect.json` of a run: what `headstart data inspect --json` printed."""
    file = run.folder / "inspect.json"
    return read_json(file) if file.exists() else None


def _card(data: dict[str, Any], users: list[str], found: dict[str, Any] | None) -> DataCard:
    facts = [
        ("version", data.get("version") or "-"),
        ("environment", data.get("environment") or "-"),
        ("episodes", data["episodes"]),
        ("steps", data["steps"]),
        ("steps an episode", data["steps"] / max(1, data["episodes"])),
        ("used by", ", ".join(users)),
        ("SHA-256", data["sha256"]),
    ]
    spreads = columns = uses = None
    if found is not None:
        for name, words in (("success_rate", "episodes with success"), ("cut_off", "episodes cut off")):
            if found.get(name) is not None:
                facts.insert(-2, (words, f"{found[name]:.1%}"))
        names = ("minimum", "q25", "median", "q75", "maximum", "mean")
        spreads = Table(
            ("spread", "lowest", "25%", "median", "75%", "highest", "mean"),
            tuple(
                (words, *(found[name][part] for part in names))
                for name, words in (("lengths", "episode length"), ("rewards", "reward"), ("returns", "return"))
                if found.get(name)
            ),
        )
        columns = Table(
            ("column", "type", "lowest", "highest", "constant", "NaN or inf"),
            tuple(
                (part["name"], part["kind"], part["low"], part["high"], part["constant"], part["nonfinite_rows"])
                for part in found["columns"]
            ),
        )
        uses = Table(("use", "possible", "why"), tuple((u["name"], u["possible"], u["reason"]) for u in found["uses"]))
    return DataCard(data["source"], Table(("", ""), tuple(facts)), tuple(data["transforms"]), spreads, columns, uses)


# -- settings and lineage -----------------------------------------------------------------------------------------


def settings(run: RunFiles) -> Table:
    """All of config.json but the data, a row a field."""
    return Table(("field", "value"), tuple(_flat(run.config).items()))


def differences(methods: Sequence[Method]) -> Table | None:
    """Fields in which the last runs of methods differ, where at least two of them have the field; None: nowhere.

    Of a method with several tasks its first one counts.
    """
    methods = list({method.label: method for method in reversed(methods)}.values())[::-1]
    flat = [_flat(method.chains[0][-1].config) for method in methods]
    # Seeds have a column of the results, what a run started from is its lineage.
    names = dict.fromkeys(name for one in flat for name in one if name not in ("seeds", "source"))
    rows = []
    for name in names:
        values = [one[name] for one in flat if name in one]
        if len(values) > 1 and len(set(values)) > 1:
            rows.append((name, *(one.get(name, "-") for one in flat)))
    return Table(("field", *(method.label for method in methods)), tuple(rows)) if rows else None


def lineage(run: RunFiles) -> Table | None:
    """What the run's artifact descends from, oldest first, itself last; None while there is no artifact."""
    if run.manifest is None:
        return None
    manifest = run.manifest
    own = {
        "algorithm": manifest["title"], "phase": run.config["phase"], "steps": manifest["steps"],
        "seeds": manifest["seeds"], "created": manifest["created"], "digest": manifest["digest"],
    }  # fmt: skip
    names = tuple(own)
    rows = [tuple(_plain(entry[name]) for name in names) for entry in (*manifest["lineage"], own)]
    return Table(("algorithm", "phase", "updates", "seeds", "created", "digest"), tuple(rows))


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"algorithm.config.tau": 0.005, ...} without the data."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if not prefix and name == "data":
            continue
        if isinstance(value, dict) and value:
            # algorithm.config.tau is algorithm.tau.
            flat |= _flat(value, prefix if name == "config" else f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = _plain(value)
    return flat


def _plain(value: Any) -> str:
    """A setting in full: no digit is rounded away."""
    if isinstance(value, list | dict):
        return ", ".join(map(_plain, value)) if value else "none"
    return str(value) if isinstance(value, str) else json.dumps(value)

"""What runs are doing, read from their files while they go on."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headstart.errors import unknown
from headstart.report.runs import RunFiles, find
from headstart.train.run import LOGS, read_log

PHASES = {"offline": "pretraining", "adapt": "finetuning on data", "online": "finetuning online"}
"""Phase -> what its panels are called, in the order in which they stand."""

METRICS = (("q_policy", "q_data", "value", "action_error"), ("td_loss", "actor_loss"))
"""Metrics that are shown unless others are asked for: of each group the first that a phase has."""

SILENCE = 120.0
"""Seconds without news after which a run that is not complete is taken for stopped."""

PATIENCE = 5.0
"""A run is given so many times what its last log step took, where that is longer."""


@dataclasses.dataclass(frozen=True)
class Trace:
    """One quantity of one run, the mean over its training seeds: steps and values (T,)."""

    run: str
    steps: np.ndarray
    values: np.ndarray


@dataclasses.dataclass(frozen=True)
class Panel:
    """One quantity of all runs of one phase. phase, quantity: names; steps are gradient or environment steps."""

    phase: str
    quantity: str
    traces: tuple[Trace, ...]


@dataclasses.dataclass(frozen=True)
class Status:
    """Where one run is. rate: steps a second, None before the first log step. age: seconds since its files changed.
    stopped: it is not complete, and has been silent for so long that it was probably killed."""

    run: str
    phase: str
    step: int
    total: int
    rate: float | None
    complete: bool
    age: float
    stopped: bool = False

    def describe(self) -> str:
        """Short text: `1,200 of 2,000 steps, 35/s, 0:23 left`; `..., stopped: no news for 3:20 (--resume goes on)`."""
        text = f"{self.step:,} of {self.total:,} steps"
        if self.complete:
            return f"{text}, complete"
        if self.stopped:
            return f"{text}, stopped: no news for {_clock(self.age)} (--resume goes on)"
        if self.rate:
            text += f", {self.rate:,.0f}/s, {_clock((self.total - self.step) / self.rate)} left"
        return text


@dataclasses.dataclass(frozen=True)
class Scene:
    """All that is to be shown. complete: nothing more is to come."""

    statuses: tuple[Status, ...]
    panels: tuple[Panel, ...]
    complete: bool


def look(paths: Sequence[Path], metrics: Sequence[str] = ()) -> Scene:
    """What stands in the runs' files now; lines that are being written are left out.

    metrics: names in metrics.jsonl to show in place of the usual ones. Raises as `report.runs.find`, `UsageError` for
    metrics that no run has, and `DataError` for damaged files.
    """
    runs = {_label(run): run for run in find(paths)}
    logs = {label: {log: read_log(run.folder, log) for log in LOGS} for label, run in runs.items()}
    _require_known(metrics, logs)
    statuses = tuple(_status(label, run, logs[label]) for label, run in runs.items())
    panels = []
    for phase in PHASES:
        mine = {label: logs[label] for label, run in runs.items() if run.config["phase"] == phase}
        panels += [_scores(phase, mine), *(_metric(phase, name, mine) for name in _chosen(metrics, mine))]
    # A recipe goes on to its next run until it has written its table.
    awaited = [path for path in paths if (path / "recipe.json").exists() and not (path / "results.json").exists()]
    complete = not awaited and all(status.complete for status in statuses)
    return Scene(statuses, tuple(panel for panel in panels if panel.traces), complete)


def _label(run: RunFiles) -> str:
    """The run's folder as seen from what the user named."""
    inside = run.folder.relative_to(run.root)
    return str(inside) if inside.parts else run.folder.resolve().name


def _status(label: str, run: RunFiles, logs: dict[str, list[dict[str, Any]]]) -> Status:
    files = [run.folder / "config.json", *(run.folder / f"{log}.jsonl" for log in LOGS)]
    changed = max(file.stat().st_mtime for file in files if file.exists())
    age, complete = max(0.0, time.time() - changed), run.manifest is not None
    seconds = [0.0, *(line["seconds"] for line in logs["timing"])]
    return Status(
        run=label,
        phase=run.config["phase"],
        step=max((lines[-1]["step"] for lines in logs.values() if lines), default=0),
        total=run.config["options"]["steps"],
        rate=logs["timing"][-1]["rate"] if logs["timing"] else None,
        complete=complete,
        age=age,
        stopped=not complete and age > max(SILENCE, PATIENCE * (seconds[-1] - seconds[-2:][0])),
    )


def _scores(phase: str, runs: dict[str, dict[str, list[dict[str, Any]]]]) -> Panel:
    """The evaluations: success where the environments tell it, else the return."""
    lines = {label: logs["episodes"] for label, logs in runs.items() if logs["episodes"]}
    told = all(line["success"] is not None for episodes in lines.values() for line in episodes)
    quantity = "success" if told else "return"
    return Panel(phase, quantity, tuple(_trace(label, quantity, episodes) for label, episodes in lines.items()))


def _metric(phase: str, name: str, runs: dict[str, dict[str, list[dict[str, Any]]]]) -> Panel:
    lines = {label: [line for line in logs["metrics"] if name in line] for label, logs in runs.items()}
    return Panel(phase, name, tuple(_trace(label, name, found) for label, found in lines.items() if found))


def _trace(label: str, name: str, lines: Sequence[dict[str, Any]]) -> Trace:
    at: dict[int, list[float]] = {}
    for line in lines:
        at.setdefault(line["step"], []).append(float(line[name]))
    return Trace(label, np.array(list(at)), np.array([np.mean(values) for values in at.values()]))


def _chosen(metrics: Sequence[str], runs: dict[str, dict[str, list[dict[str, Any]]]]) -> Sequence[str]:
    if metrics:
        return metrics
    # The last line has all: online the first ones come before the first update.
    known = {name for logs in runs.values() if logs["metrics"] for name in logs["metrics"][-1]}
    found = (next((name for name in group if name in known), None) for group in METRICS)
    return [name for name in found if name]


def _require_known(metrics: Sequence[str], logs: dict[str, dict[str, list[dict[str, Any]]]]) -> None:
    known = {name for mine in logs.values() for line in mine["metrics"] for name in line} - {"phase", "step", "seed"}
    for name in metrics:
        # Before its first line a run has no metrics, and any may come.
        if known and name not in known:
            raise unknown("metric", name, known)


def _clock(seconds: float) -> str:
    """`0:23`, `1:02:03`."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"

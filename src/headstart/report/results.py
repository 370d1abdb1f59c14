"""What a report says of scores: for each task its curves and table, and how methods compare."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from headstart.envs.references import reference
from headstart.report import drawings, statistics
from headstart.report.drawings import Dip, Drawing, Side
from headstart.report.runs import Method, RunFiles
from headstart.report.tables import Scored, Table
from headstart.train.evaluate import interval
from headstart.train.run import read_log
from headstart.train.scores import Curve, Finetuning, Score, Trace, worst_early

LEVELS = 101
"""Levels at which a performance profile is drawn."""


@dataclasses.dataclass(frozen=True)
class Task:
    """The evaluations of several methods in one environment.

    curves: label -> its phases, offline (False) and online (True). judged: label -> the phase that scores are taken
    from: all that is online, else the last.
    """

    env: str
    score: Score
    methods: tuple[Method, ...]
    curves: dict[str, dict[bool, Curve]]
    judged: dict[str, Curve]

    @property
    def name(self) -> str:
        """The environment without its module and its options."""
        return self.env.partition("?")[0].rpartition(":")[2].rpartition("/")[2]

    @classmethod
    def read(cls, env: str, methods: Sequence[Method], score: Score | None) -> Task:
        """score: None is success where every episode tells it, else the return. Raises as `Curve.read`."""
        score = score or ("success" if all(_tells_success(method) for method in methods) else "return")
        curves = {method.label: _curves(method, score) for method in methods}
        judged = {method.label: curves[method.label].get(True) or _last(method, score) for method in methods}
        return cls(env, score, tuple(methods), curves, judged)

    def end(self, label: str) -> np.ndarray:
        """(seeds,) mean scores at the end."""
        return self.judged[label].scores[-1].mean(-1)

    def start(self, label: str) -> np.ndarray | None:
        """(seeds,) mean scores at the switch; None where nothing was finetuned."""
        return self.judged[label].scores[0].mean(-1) if self.finetuned(label) else None

    def finetuned(self, label: str) -> bool:
        return self.judged[label].phase != "offline" and len(self.judged[label].steps) > 1

    # -- shown ------------------------------------------------------------------------------------------------

    def table(self) -> Table:
        """One row a method, as the recipes' tables have it."""
        rows = [self._row(method) for method in self.methods]
        return Table(tuple(rows[0]), tuple(tuple(row.values()) for row in rows))

    def _row(self, method: Method) -> dict[str, Any]:
        curve = self.judged[method.label]
        after = interval(curve.scores[-1], sample_members=True)
        found = Finetuning.of(curve, self.score) if self.finetuned(method.label) else None
        scores = {"before": found and found.before, "dip": found and found.dip, "after": after}
        if self.score == "success":
            scores["regret"] = found and found.regret
        elif (pair := reference(self.env)) is not None:
            scores["normalised"] = tuple(100.0 * (value - pair[0]) / (pair[1] - pair[0]) for value in after)
        _, seeds, episodes = curve.scores.shape
        return {
            "method": method.label, **{name: Scored(value, self.score) for name, value in scores.items()},
            "seeds": seeds, "episodes": episodes, "seconds": _seconds(method),
        }  # fmt: skip

    def drawing(self, name: str, labels: Sequence[str]) -> Drawing:
        dips = {}
        for label, phases in self.curves.items():
            if True in phases and self.finetuned(label):
                before = float(phases[True].scores[0].mean())
                low = interval(worst_early(phases[True])[1], sample_members=True)
                if low[0] < before:
                    dips[label] = Dip(before, low)
        return drawings.learning_curves(name, _sides(self.curves), labels, self.score, dips)


def comparisons(tasks: Sequence[Task], labels: Sequence[str]) -> list[tuple[str, list[Drawing]]]:
    """[(title, drawings)]: over all tasks together where all are scored by success and share methods, and for each
    task with several methods."""
    made = []
    if len(tasks) > 1 and all(task.score == "success" for task in tasks):
        shared = [label for label in labels if all(label in task.curves for task in tasks)]
        if shared:
            made.append((f"All {len(tasks)} tasks", _compared("all-tasks", tasks, shared, labels)))
    for i, task in enumerate(tasks, 1):
        if len(task.curves) > 1:
            made.append((task.name, _compared(f"task-{i}", [task], list(task.curves), labels)))
    return made


def _compared(name: str, tasks: Sequence[Task], shown: Sequence[str], labels: Sequence[str]) -> list[Drawing]:
    score = tasks[0].score
    ends = {label: [task.end(label) for task in tasks] for label in shown}
    starts = {label: [task.start(label) for task in tasks] for label in shown}
    starts = {label: scores for label, scores in starts.items() if all(part is not None for part in scores)}
    groups = {"at the switch": starts, "at the end": ends} if starts else {"at the end": ends}
    means = {
        group: {label: statistics.estimate(scores) for label, scores in found.items()}
        for group, found in groups.items()
    }
    many = "of all tasks " if len(tasks) > 1 else ""
    drawn = [
        drawings.intervals(
            f"{name}-iqm", "Interquartile mean",
            f"Of {score} over training seeds {many}(fewer than four scores: their mean), with 95% stratified bootstrap "
            f"intervals{'; hollow: at the switch, filled: at the end' if starts else ''}.",
            means, labels, score,
        )
    ]  # fmt: skip
    if len(shown) > 1:
        every = np.concatenate([scores for parts in ends.values() for scores in parts])
        low, high = (0.0, 1.0) if score == "success" else (every.min(), every.max())
        levels = np.linspace(low, high, LEVELS)
        drawn.append(
            drawings.profiles(
                f"{name}-profile", "Performance profile",
                f"Share of training seeds {many}whose {score} at the end is above τ; shaded: 95% stratified bootstrap "
                "intervals. Higher is better everywhere.",
                levels, {label: statistics.performance_profile(scores, levels) for label, scores in ends.items()},
                labels, score,
            )
        )  # fmt: skip
        pairs = {
            f"{first} > {second}": statistics.probability_of_improvement(ends[first], ends[second])
            for first, second in itertools.combinations(shown, 2)
        }
        drawn.append(
            drawings.intervals(
                f"{name}-improvement", "Probability of improvement",
                "How likely a training seed of the first method ends higher than one of the second, ties counting "
                "half; 95% stratified bootstrap intervals. Dashed: a coin's.",
                {"probability": pairs}, labels, None, 0.5,
            )
        )  # fmt: skip
    return drawn


def training(methods: Sequence[Method], name: str, labels: Sequence[str]) -> list[Drawing]:
    """A drawing for every metric that the runs logged; critics' values first."""
    found: dict[str, dict[str, dict[bool, Trace]]] = {}
    for method in methods:
        for online in (False, True):
            runs = [run for chain in method.scored(online) for run in chain]
            metrics = {key for run in runs for line in read_log(run.folder, "metrics") for key in line}
            for metric in metrics - {"phase", "step", "seed", "updates"}:
                trace = _trace(method.scored(online), metric)
                if np.isfinite(trace.values).any():
                    found.setdefault(metric, {}).setdefault(method.label, {})[online] = trace
    order = sorted(found, key=lambda metric: (not metric.startswith("q_"), "loss" not in metric, metric))
    # Names are those of files.
    names = [f"{name}-{re.sub(r'[^A-Za-z0-9_-]', '-', metric)}" for metric in order]
    return [drawings.metric(n, metric, _sides(found[metric]), labels) for n, metric in zip(names, order, strict=True)]


# -- reading ------------------------------------------------------------------------------------------------------


def _tells_success(method: Method) -> bool:
    runs = [run for online in (False, True) for chain in method.scored(online) for run in chain]
    return all(line["success"] is not None for run in runs for line in run.episodes)


def _curves(method: Method, score: Score) -> dict[bool, Curve]:
    curves = {}
    for online in (False, True):
        chains = [chain for chain in method.scored(online) if chain]
        if chains:
            parts = [Curve.after_one_another([Curve.read(run.folder, score) for run in chain]) for chain in chains]
            curves[online] = Curve.side_by_side(parts)
    return curves


def _last(method: Method, score: Score) -> Curve:
    """The last phase alone, where none is online."""
    return Curve.side_by_side([Curve.read(chain[-1].folder, score) for chain in method.scored(False)])


def _trace(chains: Sequence[Sequence[RunFiles]], metric: str) -> Trace:
    parts = [[Trace.read(run.folder, metric) for run in chain] for chain in chains if chain]
    return Trace.side_by_side([Trace.after_one_another(chain) for chain in parts])


def _seconds(method: Method) -> int:
    """Wall-clock of the phases that are drawn."""
    runs = [run for online in (False, True) for chain in method.scored(online) for run in chain]
    return round(sum(lines[-1]["seconds"] for run in runs if (lines := read_log(run.folder, "timing"))))


def _sides(found: dict[str, dict[bool, object]]) -> list[Side]:
    sides = [
        Side(online, {label: phases[online] for label, phases in found.items() if online in phases})
        for online in (False, True)
    ]
    return [side for side in sides if side.lines]

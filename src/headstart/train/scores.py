"""Scores across the switch from pretraining to finetuning, computed from per-episode records."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from headstart.errors import DataError
from headstart.train.evaluate import interval
from headstart.train.run import read_log

Score = Literal["success", "return"]


@dataclasses.dataclass(frozen=True)
class Curve:
    """Evaluations of one phase of one method.

    steps: (T,) when. scores: (T, seeds, episodes) of every evaluation episode.
    """

    phase: str
    steps: np.ndarray
    scores: np.ndarray

    @classmethod
    def read(cls, run: str | Path, score: Score) -> Curve:
        """The evaluations in a run directory. Raises `DataError` where there are none, or they tell no such score."""
        lines = read_log(run, "episodes")
        if not lines:
            raise DataError(f"{run} holds no evaluation episodes (episodes.jsonl); give the run an environment")
        if any(line[score] is None for line in lines):
            raise DataError(f"{run}: the environment tells no {score}")
        steps = sorted({line["step"] for line in lines})
        seeds = sorted({line["training_seed"] for line in lines})
        grouped: dict[tuple[int, int], list[float]] = {}
        for line in lines:
            grouped.setdefault((line["step"], line["training_seed"]), []).append(float(line[score]))
        count = {step: {len(grouped.get((step, seed), ())) for seed in seeds} for step in steps}
        if len(steps) > 1 and count[steps[-1]] != count[steps[0]]:
            # A run that goes on may be writing its last evaluation just now.
            steps.pop()
        for step in steps:
            if count[step] != count[steps[0]] or len(count[step]) > 1:
                raise DataError(
                    f"{Path(run) / 'episodes.jsonl'}: the evaluation at step {step} is not whole: expected as many "
                    "episodes of every training seed and at every step"
                )
        scores = [[grouped[step, seed] for seed in seeds] for step in steps]
        return cls(lines[0]["phase"], np.array(steps), np.array(scores))

    @classmethod
    def after_one_another(cls, curves: Sequence[Curve]) -> Curve:
        """Phases of the same seeds, one after the other: steps count on."""
        offsets = np.cumsum([0, *(curve.steps[-1] for curve in curves[:-1])])
        return cls(
            curves[-1].phase,
            np.concatenate([curve.steps + offset for curve, offset in zip(curves, offsets, strict=True)]),
            np.concatenate([curve.scores for curve in curves]),
        )

    @classmethod
    def side_by_side(cls, curves: Sequence[Curve]) -> Curve:
        """The same phase of other seeds. Steps that not all of them have reached are left out.

        Raises `DataError` where they were evaluated at other steps or over other numbers of episodes.
        """
        first, reached = curves[0], min(len(curve.steps) for curve in curves)
        for curve in curves:
            if (curve.steps[:reached] != first.steps[:reached]).any() or curve.scores.shape[2] != first.scores.shape[2]:
                raise DataError("runs of one method were evaluated at other steps or over other numbers of episodes")
        scores = np.concatenate([curve.scores[:reached] for curve in curves], 1)
        return cls(first.phase, first.steps[:reached], scores)

    def intervals(self) -> np.ndarray:
        """(T, 3) mean and 95% bootstrap interval over seeds and episodes, at each step."""
        return np.array([interval(scores, sample_members=True) for scores in self.scores])


@dataclasses.dataclass(frozen=True)
class Trace:
    """A training metric of one phase: steps (T,) and values (T, seeds), NaN where a seed has none at a step."""

    steps: np.ndarray
    values: np.ndarray

    @classmethod
    def read(cls, run: str | Path, name: str) -> Trace:
        """The metric `name` in a run directory (nowhere: empty)."""
        lines = [line for line in read_log(run, "metrics") if name in line]
        steps = sorted({line["step"] for line in lines})
        seeds = sorted({line["seed"] for line in lines})
        found = {(line["step"], line["seed"]): line[name] for line in lines}
        values = [[found.get((step, seed), np.nan) for seed in seeds] for step in steps]
        return cls(np.array(steps, int), np.array(values, float).reshape(len(steps), len(seeds)))

    @classmethod
    def after_one_another(cls, traces: Sequence[Trace]) -> Trace:
        """Phases of the same seeds, one after the other: steps count on. Phases that lack the metric have no part."""
        traces = [trace for trace in traces if len(trace.steps)] or list(traces[:1])
        offsets = np.cumsum([0, *(trace.steps[-1] for trace in traces[:-1])])
        steps = [trace.steps + offset for trace, offset in zip(traces, offsets, strict=True)]
        return cls(np.concatenate(steps), np.concatenate([trace.values for trace in traces]))

    @classmethod
    def side_by_side(cls, traces: Sequence[Trace]) -> Trace:
        """The same phase of other seeds."""
        steps = np.unique(np.concatenate([trace.steps for trace in traces]))
        values = np.full((len(steps), sum(trace.values.shape[1] for trace in traces)), np.nan)
        column = 0
        for trace in traces:
            rows, seeds = np.searchsorted(steps, trace.steps), trace.values.shape[1]
            values[rows, column : column + seeds] = trace.values
            column += seeds
        return cls(steps, values)


def worst_early(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Each seed's worst evaluation in the first tenth of finetuning: step (seeds,), and scores (seeds, episodes).

    Of several noisy evaluations the worst lies a little below the start also where nothing fell.
    """
    early = np.flatnonzero(curve.steps <= curve.steps[-1] / 10.0)
    if len(early) < 2:
        # Without an evaluation inside the first tenth the first one after the switch has to do.
        early = np.arange(min(2, len(curve.steps)))
    worst = early[curve.scores[early].mean(2).argmin(0)]
    return curve.steps[worst], curve.scores[worst, np.arange(curve.scores.shape[1])]


@dataclasses.dataclass(frozen=True)
class Finetuning:
    """One method's numbers; each is (mean, low, high) over seeds, 95% bootstrap over seeds and episodes.

    before: at the switch. dip: the worst evaluation in the first tenth of finetuning, in each seed. after: at the end.
    regret: 1 minus the mean score along finetuning (success only), the paper's cumulative regret.
    """

    before: tuple[float, float, float]
    dip: tuple[float, float, float]
    after: tuple[float, float, float]
    regret: tuple[float, float, float] | None

    @classmethod
    def of(cls, curve: Curve, score: Score) -> Finetuning:
        _, dip = worst_early(curve)
        regret = None
        if score == "success":
            along = 1.0 - np.trapezoid(curve.scores, curve.steps, axis=0) / np.ptp(curve.steps)
            regret = interval(along, sample_members=True)
        return cls(
            interval(curve.scores[0], sample_members=True),
            interval(dip, sample_members=True),
            interval(curve.scores[-1], sample_members=True),
            regret,
        )

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

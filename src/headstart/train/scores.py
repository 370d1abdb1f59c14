"""Scores across the switch from pretraining to finetuning, computed from per-episode records."""

from __future__ import annotations

import dataclasses
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
        return cls(
            lines[0]["phase"], np.array(steps), np.array([[grouped[step, seed] for seed in seeds] for step in steps])
        )

    def intervals(self) -> np.ndarray:
        """(T, 3) mean and 95% bootstrap interval over seeds and episodes, at each step."""
        return np.array([interval(scores, sample_members=True) for scores in self.scores])


@dataclasses.dataclass(frozen=True)
class Trace:
    """A training metric of one phase: steps (T,) and values (T, seeds)."""

    steps: np.ndarray
    values: np.ndarray

    @classmethod
    def read(cls, run: str | Path, name: str) -> Trace:
        """The metric `name` in a run directory, where all seeds have it at the same steps (nowhere: empty)."""
        lines = [line for line in read_log(run, "metrics") if name in line]
        steps = sorted({line["step"] for line in lines})
        seeds = sorted({line["seed"] for line in lines})
        found = {(line["step"], line["seed"]): line[name] for line in lines}
        return cls(np.array(steps), np.array([[found[step, seed] for seed in seeds] for step in steps]))


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
        early = curve.steps <= curve.steps[-1] / 10.0
        if early.sum() < 2:
            # Without an evaluation inside the first tenth the first one after the switch has to do.
            early[1] = True
        worst = curve.scores[early].mean(2).argmin(0)
        dip = np.stack([curve.scores[early][step, seed] for seed, step in enumerate(worst)])
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

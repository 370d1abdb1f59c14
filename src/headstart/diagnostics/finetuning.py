"""Finetuning: whether the score fell after the switch, how long it took to come back, and what that points to."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np

from headstart import plotting
from headstart.artifact import Artifact
from headstart.diagnostics.findings import Finding, Table, Unsupported
from headstart.diagnostics.subject import Subject
from headstart.errors import DataError
from headstart.train.run import read_log
from headstart.train.scores import Curve, Score, Trace

NAME, TITLE = "finetuning", "Finetuning"
WINDOW = 3
"""Successive evaluations that are averaged before the worst is looked for: one alone is mostly luck."""
DIP = 0.1
"""Fall below the start that is flagged, in units of the range of scores (1 for success)."""
CONFIDENCE = 0.95
RISE = 0.25
"""Rise of Q-hat over finetuning that speaks for underestimation, in units of the returns' spread."""
JUMP = 2.0
"""Factor of the Bellman error across the switch that speaks for shift."""
FADED = 0.1
"""Share of its first gradient norm that the critic's falls to, which speaks for lost plasticity."""


def finetuning(subject: Subject) -> Finding:
    """The dip of a finetuning run, from its own files, and the evidence for each of three causes.

    Underestimation: values too low at the switch, which online experience must first lift (Nakamoto et al. 2023).
    Shift: online experience is unlike the data, and the critic errs on it. Plasticity: errors stay, and gradients fade
    (Lyle et al. 2023). That several may hold, or none, is part of the finding.
    """
    run = _require_finetuning(subject.run)
    course = Course.read(run)
    q = Trace.read(run, "q_policy")
    evidence, earlier = _evidence(subject, run, course, q)
    dip, margin = course.dip, course.margin
    found = margin > 0.0 and dip > DIP * course.range
    before, after, back = course.before.mean(), course.after.mean(), np.isfinite(course.recovery)
    numbers = {
        "score before": before,
        "worst smoothed score": course.worst.mean(),
        "dip": dip,
        "dip, lower bound": margin,
        "steps to the worst": course.worst_at.mean(),
        "steps to recover": course.recovery[back].mean() if back.any() else np.nan,
        "seeds that recovered": back.sum(),
        "score after": after,
        "regret": course.regret.mean(),
        **evidence.numbers(),
    }
    verdict = (
        f"The {course.score} is {before:.3g} at the switch, {before - dip:.3g} at the worst over {course.window} "
        f"evaluations, and {after:.3g} at the end. "
    )
    if found:
        verdict += (
            f"That is a dip of {dip:.3g}, {margin:.3g} at least by the noise of evaluations. {evidence.sentence()}"
        )
    else:
        verdict += "That is no dip beyond what the noise of evaluations would show." if dip > 0.0 else "Nothing fell."
    columns = ("seed", "before", "worst", "at step", "dip", "steps to recover", "after", "regret")
    rows = zip(
        map(str, course.seeds), course.before, course.worst, course.worst_at, course.before - course.worst,
        course.recovery, course.after, course.regret, strict=True,
    )  # fmt: skip
    figure = _figure(course, q, earlier)
    return Finding(NAME, TITLE, verdict, bool(found), numbers, Table(columns, tuple(rows)), {NAME: figure})


def _require_finetuning(run: Path | None) -> Path:
    if run is None:
        raise Unsupported("no run is given, and only its files tell how finetuning went")
    if _config(run, "phase") == "offline":
        raise Unsupported("the run is pretraining; give the run that goes on from it")
    return run


def _config(run: Path, key: str) -> Any:
    path = run / "config.json"
    try:
        return json.loads(path.read_text())[key]
    except (ValueError, KeyError) as error:
        raise DataError(f"{path} is no run's, or damaged ({type(error).__name__}: {error})") from error


# -- the course of scores -------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, eq=False)
class Course:
    """Scores of a finetuning run; (seeds,) each.

    before, after: at its first and last evaluation. worst: the lowest mean of `window` successive evaluations after the
    first; worst_at: its middle step. recovery: steps from the switch until a window after the worst is no lower than
    `before`, 0 where there was no fall, infinite where it never came back. regret: the mean shortfall from 1 (success),
    or from the best evaluation of any seed. dip: the mean fall over seeds, at the window that is worst for all of them.
    margin: its lower confidence bound with the number of windows counted (Bonferroni), since the worst of many noisy
    scores lies below the start also where nothing fell. range: of scores. steps: (T,), means: (T, seeds).
    """

    score: Score
    seeds: list[int]
    steps: np.ndarray
    means: np.ndarray
    window: int
    before: np.ndarray
    worst: np.ndarray
    worst_at: np.ndarray
    recovery: np.ndarray
    after: np.ndarray
    regret: np.ndarray
    dip: float
    margin: float
    range: float

    @classmethod
    def read(cls, run: Path) -> Course:
        """Raises `Unsupported` where there are too few evaluations."""
        try:
            score, curve = "success", Curve.read(run, "success")
        except DataError:
            try:
                score, curve = "return", Curve.read(run, "return")
            except DataError as error:
                raise Unsupported(str(error)) from error
        if len(curve.steps) < 3:
            raise Unsupported(f"{run} was evaluated {len(curve.steps)} times, which is too few to see a dip")
        seeds = sorted({line["training_seed"] for line in read_log(run, "episodes")})
        return cls.of(curve, score, seeds)

    @classmethod
    def of(cls, curve: Curve, score: Score, seeds: list[int]) -> Course:
        window = min(WINDOW, len(curve.steps) - 1)
        means = curve.scores.mean(2)
        # (windows, seeds); the evaluation at the switch is no part of any.
        smooth = np.lib.stride_tricks.sliding_window_view(means[1:], window, axis=0).mean(-1)
        middles = curve.steps[1:][window // 2 :][: len(smooth)]
        before, lowest = means[0], smooth.argmin(0)
        each = np.arange(means.shape[1])
        recovery = np.zeros(len(each))
        for seed in each[smooth.min(0) < before]:
            back = np.flatnonzero(smooth[lowest[seed] :, seed] >= before[seed])
            recovery[seed] = middles[lowest[seed] + back[0]] if len(back) else np.inf
        top = 1.0 if score == "success" else means.max()
        shortfall = np.trapezoid(top - means, curve.steps, axis=0) / np.ptp(curve.steps)
        together = int(smooth.mean(1).argmin())
        dip, error = _difference(curve.scores[:1], curve.scores[1:][together : together + window])
        quantile = statistics.NormalDist().inv_cdf(1.0 - (1.0 - CONFIDENCE) / len(smooth))
        span = 1.0 if score == "success" else float(np.ptp(means))
        return cls(
            score, seeds, curve.steps, means, window, before, smooth.min(0), middles[lowest], recovery, means[-1],
            shortfall, dip, dip - quantile * error, span,
        )  # fmt: skip


def _difference(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Difference of the means of scores (T, seeds, episodes), and its standard error over episodes."""
    variances = [part.var(axis=(0, 2), ddof=1).mean() / part.size for part in (first, second)]
    return float(first.mean() - second.mean()), float(np.sqrt(sum(variances)))


# -- what it points to ----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What speaks for each cause; NaN where the run does not tell.

    shortfall: Q-hat of the policy less the Monte-Carlo return, before finetuning. drift, rise: change of Q-hat at the
    policy's actions over the first tenth, and over all of finetuning. spread: of returns. jump: Bellman error just
    after the switch, relative to just before it (to the end of finetuning where the run that came before is not
    found). left: Bellman error at the end relative to just after the switch; gradient: the critic's gradient norm
    likewise. recovered: share of the seeds that came back.
    """

    shortfall: float
    drift: float
    rise: float
    spread: float
    jump: float
    left: float
    gradient: float
    recovered: float

    def numbers(self) -> dict[str, float]:
        return {
            "Q-hat less Monte-Carlo return, before": self.shortfall,
            "drift of Q-hat over the first tenth": self.drift,
            "rise of Q-hat": self.rise,
            "Bellman error across the switch, factor": self.jump,
            "Bellman error left, factor": self.left,
            "gradient norm left, factor": self.gradient,
        }

    def causes(self) -> dict[str, tuple[bool, str]]:
        """{cause: (whether the evidence speaks for it, the evidence)}."""
        low = "" if np.isnan(self.shortfall) else f", after lying {self.shortfall:+.3g} from the data's returns"
        stuck = self.recovered < 1.0 and (self.left >= 1.0 or self.gradient < FADED)
        kept = (
            "no gradient norms are logged" if np.isnan(self.gradient) else f"gradient norms are at {self.gradient:.0%}"
        )
        return {
            "underestimation": (
                self.rise > RISE * self.spread and not self.shortfall > 0.0,
                f"Q-hat rose by {self.rise:.3g}{low}, where returns spread over {self.spread:.3g}",
            ),
            "shift": (self.jump > JUMP, f"the Bellman error after the switch is {self.jump:.2g} times that before"),
            "plasticity": (
                stuck,
                f"{self.recovered:.0%} of the seeds recovered, the Bellman error is at {self.left:.0%} and {kept}",
            ),
        }

    def sentence(self) -> str:
        causes = self.causes()
        held = [f"{cause} ({why})" for cause, (holds, why) in causes.items() if holds]
        others = [f"{cause} ({why})" for cause, (holds, why) in causes.items() if not holds]
        points = " and ".join(held) if held else "none of the three causes"
        return f"The evidence points to {points}" + (f", not to {' or '.join(others)}." if others else ".")


def _evidence(subject: Subject, run: Path, course: Course, q: Trace) -> tuple[Evidence, Trace | None]:
    """The evidence, and Q-hat of the pretraining run where that is found."""
    nan = float("nan")
    source = _source(run)
    errors, norms = (Trace.read(run, name).values for name in ("td_loss", "gradient_norm_critic"))
    before_errors = np.empty((0, 0)) if source is None else Trace.read(source, "td_loss").values
    before = None if source is None else Trace.read(source, "q_policy")
    rise = drift = jump = left = gradient = shortfall = nan
    if len(q.steps) > 1:
        start = np.nanmean(q.values[0] if before is None or not len(before.steps) else before.values[-1])
        tenth = np.searchsorted(q.steps, q.steps[-1] / 10.0)
        drift, rise = (float(np.nanmean(q.values[at]) - start) for at in (max(tenth, 1), -1))
    if len(errors) > 1:
        reference = before_errors[-1] if len(before_errors) else errors[-1]
        jump, left = (
            float(np.nanmean(a) / np.nanmean(b)) for a, b in ((errors[0], reference), (errors[-1], errors[0]))
        )
    if len(norms) > 1:
        gradient = float(np.nanmean(norms[-1]) / np.nanmean(norms[0]))
    try:
        spread = subject.spread
        if source is not None:
            earlier = subject.beside(Artifact.load(source))
            shortfall = float((earlier.values - earlier.reference).mean())
    except Unsupported:
        spread = float(np.nanmax(q.values) - np.nanmin(q.values)) if len(q.steps) else nan
    recovered = float(np.isfinite(course.recovery).mean())
    return Evidence(shortfall, drift, rise, spread, jump, left, gradient, recovered), before


def _source(run: Path) -> Path | None:
    """The run beside this one whose artifact it goes on from, by its digest; None where there is none."""
    digest = _config(run, "source")
    for manifest in sorted(run.absolute().parent.glob("*/artifact/artifact.json")):
        # A neighbour that is damaged is not the one.
        with contextlib.suppress(ValueError):
            if digest is not None and json.loads(manifest.read_text())["digest"] == digest:
                return manifest.parent.parent
    return None


def _figure(course: Course, q: Trace, before: Trace | None) -> Any:
    parts = 2 if len(q.steps) else 1
    figure = plotting.blank(4.6 * parts, 3.4)
    axes = figure.subplots(1, parts, squeeze=False)[0]
    for i, seed in enumerate(course.seeds):
        colour = plotting.COLOURS[i % 7]
        axes[0].plot(course.steps, course.means[:, i], color=colour, alpha=0.6, linewidth=1.0, label=f"seed {seed}")
        axes[0].plot(course.worst_at[i], course.worst[i], "v", color=colour)
        if parts == 2:
            axes[1].plot(q.steps, q.values[:, i], color=colour, linewidth=1.2, label=f"seed {seed}")
            if before is not None and len(before.steps):
                axes[1].plot(0, before.values[-1, i], "o", color=colour)
    axes[0].plot(course.steps, course.means.mean(1), color=plotting.GREY, linewidth=1.8, label="mean")
    axes[0].axhline(course.before.mean(), color=plotting.GREY, linestyle="--", linewidth=1.0)
    axes[0].set_ylabel("success" if course.score == "success" else "return")
    axes[-1].set_ylabel("Q-hat at the policy's actions" if parts == 2 else axes[0].get_ylabel())
    for axis in axes:
        axis.set_xlabel("steps of finetuning")
        axis.legend(frameon=False, fontsize=8)
        plotting.quiet(axis)
    return figure

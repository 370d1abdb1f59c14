"""Rank artifacts on data, and say how sure the ranking is."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headstart import config
from headstart.artifact import Artifact
from headstart.data import sources
from headstart.data.dataset import Dataset
from headstart.diagnostics.subject import Subject
from headstart.errors import UsageError, unknown
from headstart.selection.criteria import CRITERIA, Contributions, contributions
from headstart.selection.evaluation import common_discount

CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One model of a ranking. low, high: 95% bootstrap interval of its score. first: how likely it is the best by this
    criterion."""

    name: str
    score: float
    low: float
    high: float
    first: float


@dataclasses.dataclass(frozen=True)
class Selection:
    """A ranking, the best first. sure: how likely the first is really better than the second by this criterion.

    source, episodes: the data. seen: whether a candidate learned from this very data.
    """

    criterion: str
    source: str
    episodes: int
    seen: bool
    candidates: tuple[Candidate, ...]
    sure: float

    @property
    def best(self) -> Candidate:
        return self.candidates[0]

    def describe(self) -> str:
        """A text table, what the criterion is, and what the probabilities do not cover."""
        width = max(len(candidate.name) for candidate in self.candidates)
        lines = [f"by {self.criterion}: {CRITERIA[self.criterion].about}", ""]
        for place, found in enumerate(self.candidates, 1):
            interval = f"{found.score:.4g} [{found.low:.4g}, {found.high:.4g}]"
            lines.append(f"{place:>3}  {found.name:<{width}}  {interval:<30}  first with probability {found.first:.0%}")
        lines += [
            "",
            f"The first scores above the second with probability {self.sure:.0%}: bootstrap over {self.episodes} "
            f"episodes of {self.source}.",
            "That is how sure the score is, not how far it can be trusted: a criterion errs in ways that other "
            "episodes do not show (docs/results/select.md).",
        ]
        if self.seen:
            lines.append("Candidates have learned from this data: held-out episodes would tell more.")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        return config.to_json(self)


def select(
    runs: Sequence[Artifact | str | Path],
    data: Dataset | str,
    *,
    by: str = "fqe",
    each_seed: bool = False,
    steps: int = 5_000,
    discount: float | None = None,
    states: int = 20_000,
    resamples: int = 2_000,
    seed: int = 0,
) -> Selection:
    """Rank artifacts by what data says of them, without an environment.

    runs: artifacts, their folders or those of their runs. data: a data set or a source, best of episodes that none of
    them learned from. by: a name in `CRITERIA`. each_seed: rank every training seed by itself, else the mean over an
    artifact's seeds. steps: gradient steps of fitted Q evaluation, for each seed. discount: of fitted Q evaluation; by
    default that of the artifacts. states: of the data, that other criteria look at, at most. resamples: of the
    bootstrap, which draws episodes (the same for all) and, where fitted Q evaluation has several critics, one of these.

    Raises `UsageError` for fewer than two candidates, an unknown criterion, what it needs and the data or an artifact
    lacks, observations or actions that differ, and own values in different units.

    >>> import headstart as hs
    >>> ranking = hs.select(["runs/a", "runs/b"], "minari:D4RL/door/human-v2")  # doctest: +SKIP
    >>> print(ranking.describe(), ranking.best.name)                            # doctest: +SKIP
    """
    if not runs:
        raise UsageError("give the runs or artifacts that are to be ranked")
    if by not in CRITERIA:
        raise unknown("criterion", by, CRITERIA)
    for name, value in {"steps": steps, "states": states, "resamples": resamples}.items():
        if value < 1:
            raise UsageError(f"{name} must be at least 1, found {value}")
    artifacts = [run if isinstance(run, Artifact) else Artifact.load(run) for run in runs]
    labels = _labels(runs, artifacts)
    for label, artifact in zip(labels, artifacts, strict=True):
        if artifact.spec.context is not None:
            raise UsageError(f"{label} acts on a goal, a skill or a task, and is told none here; leave it out")
    data = sources.load(data) if isinstance(data, str) else data
    if CRITERIA[by].own_units:
        _require_same_units(artifacts, labels, by)
    if by == "fqe":
        discount = common_discount(artifacts) if discount is None else discount
    subjects = [Subject(artifact, data, states=states, seed=seed) for artifact in artifacts]
    if sum(len(artifact.seeds) if each_seed else 1 for artifact in artifacts) < 2:
        raise UsageError(
            "a ranking needs at least two candidates; give more runs, or rank every seed by itself (each_seed)"
        )
    found: dict[str, Contributions] = {}
    for label, subject in zip(labels, subjects, strict=True):
        parts = contributions(by, subject, data, label, steps, discount)
        if each_seed and len(subject.artifact.seeds) > 1:
            for member, number in enumerate(subject.artifact.seeds):
                found[f"{label} seed {number}"] = parts.member(member)
        else:
            found[label] = parts
    seen = any(subject.seen for subject in subjects)
    return rank(found, by, data.provenance.source, seen, resamples, seed)


def rank(
    found: dict[str, Contributions],
    criterion: str,
    source: str = "memory",
    seen: bool = False,
    resamples: int = 2_000,
    seed: int = 0,
) -> Selection:
    """The ranking of candidates by what the same n episodes contribute to the score of each."""
    rng = np.random.default_rng(seed)
    episodes = next(iter(found.values())).counts.shape[-1]
    drawn = rng.multinomial(episodes, np.full(episodes, 1.0 / episodes), size=resamples).astype(float)
    points, resampled = [], []
    for part in found.values():
        points.append(part.scores(np.ones((1, episodes))).mean())
        scores = part.scores(drawn).mean(1)
        evaluator = rng.integers(scores.shape[1], size=resamples)
        resampled.append(scores[np.arange(resamples), evaluator])
    resampled = np.array(resampled)
    # Resamples that hold no success say nothing.
    resampled = resampled[:, np.isfinite(resampled).all(0)]
    tail = 100.0 * (1.0 - CONFIDENCE) / 2.0
    low, high = np.percentile(resampled, [tail, 100.0 - tail], axis=1)
    first = np.bincount(resampled.argmax(0), minlength=len(found)) / resampled.shape[1]
    order = np.argsort(-np.array(points), kind="stable")
    ahead = resampled[order[0]] - resampled[order[1]]
    names = list(found)
    candidates = tuple(
        Candidate(names[i], float(points[i]), float(low[i]), float(high[i]), float(first[i])) for i in order
    )
    # Ties are nobody's.
    sure = float((ahead > 0).mean() + 0.5 * (ahead == 0).mean())
    return Selection(criterion, source, episodes, seen, candidates, sure)


def _labels(runs: Sequence[Any], artifacts: Sequence[Artifact]) -> list[str]:
    """A name for each; raises `UsageError` where a folder is given twice."""
    labels = [
        f"{artifact.title} {i}" if isinstance(run, Artifact) else str(run)
        for i, (run, artifact) in enumerate(zip(runs, artifacts, strict=True))
    ]
    for label in labels:
        if labels.count(label) > 1:
            raise UsageError(f"{label} is given twice")
    return labels


def _require_same_units(artifacts: Sequence[Artifact], labels: Sequence[str], by: str) -> None:
    units = {
        label: (
            artifact.algorithm.view().discount,
            artifact.settings.get("reward_scale", 1.0),
            artifact.settings.get("reward_shift", 0.0),
        )
        for label, artifact in zip(labels, artifacts, strict=True)
        if artifact.algorithm.view().rewards
    }
    for label, unit in units.items():
        first, known = next(iter(units.items()))
        if unit != known:
            raise UsageError(
                f"{by} compares values in one unit: {first} has discount {known[0]:g} and rewards {known[1]:g} r "
                f"{known[2]:+g}, {label} has {unit[0]:g} and {unit[1]:g} r {unit[2]:+g}; use fqe"
            )

"""What studies of returns share: tasks, running in parts that fit in a few minutes, and scores from the runs' files.

A study is a set of methods on one task. Each has a folder with the runs `pretrain` and `finetune`; a run that was
stopped goes on where it was, bit for bit, so a long study is the same command given several times.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import threading
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import numpy as np

from headstart.data.dataset import Dataset
from headstart.errors import HeadstartError
from headstart.recipes import adroit_door, compare, maze, quickstart
from headstart.recipes.compare import Method
from headstart.report.statistics import Interval
from headstart.train.scores import Curve, worst_early

RESAMPLES = 2000


@dataclasses.dataclass(frozen=True)
class Task:
    """title: as readers know it. env: where finetuning and evaluations happen. sampled: whether policies are judged by
    sampled actions. prepare: folder -> data, made there if need be, and the recipe's Cal-QL."""

    title: str
    env: str
    sampled: bool
    eval_episodes: int
    prepare: Callable[[Path], tuple[Dataset, Method]]


def point_maze(tiny: bool = False) -> Task:
    """The quickstart's task and its settings of Cal-QL."""
    recipe = quickstart.Quickstart()
    if tiny:
        recipe = quickstart.Quickstart(episodes=10, offline_steps=20, online_steps=200)

    def prepare(folder: Path) -> tuple[Dataset, Method]:
        data = recipe.data(folder / "data")
        return data, recipe.method("calql", data)

    # By their likeliest actions all methods soon solve this maze: sampled ones tell them apart.
    return Task("point maze", f"{maze.NAME}?{quickstart.DECISIONS}", True, 2 if tiny else 20, prepare)


def adroit(demonstrations: str | None = None) -> Task:
    """The recipe adroit-door with --small; its clone and data are made in the folder, or copied there beforehand."""
    recipe = adroit_door.AdroitDoor(small=True, methods=("calql",))
    if demonstrations is not None:
        recipe = dataclasses.replace(recipe, demonstrations=demonstrations)

    def prepare(folder: Path) -> tuple[Dataset, Method]:
        clone = recipe._clone(folder / "bc", "tanh_gaussian", True, ())
        data = recipe._data(clone, folder / "data")
        (method,) = recipe._methods(folder, clone, data, True, ())
        return data, method

    return Task("adroit door, small", adroit_door.ENVIRONMENT, False, recipe.eval_episodes, prepare)


def run(
    task: Task,
    variants: Mapping[str, Callable[[Method], Method]],
    chosen: Collection[str],
    folder: Path,
    seeds: int,
    minutes: float,
) -> int:
    """Train the chosen variants of the task's method, each in its folder; what is complete is kept. After so many
    minutes (0: never) it stops and can go on later. The exit code: 0 when all is done, 143 when it stopped."""
    if minutes:
        alarm = threading.Timer(60.0 * minutes, os.kill, (os.getpid(), signal.SIGTERM))
        alarm.daemon = True
        alarm.start()
    data, method = task.prepare(folder)
    try:
        for name in chosen:
            print(f"{task.title}: {name}", file=sys.stderr, flush=True)
            compare.run(
                variants[name](method), data, task.env, folder / name, seeds=seeds, eval_episodes=task.eval_episodes,
                eval_sample=task.sampled, resume=True,
            )  # fmt: skip
    except HeadstartError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


@dataclasses.dataclass(frozen=True, eq=False)
class Scores:
    """Success of one method, one number a training seed, (seeds,) each.

    offline: when pretraining ends. dip: the worst evaluation in the first tenth of finetuning. along: the mean over
    finetuning, 1 - regret. final: the mean of the last three evaluations, since one alone is mostly luck.
    """

    offline: np.ndarray
    dip: np.ndarray
    along: np.ndarray
    final: np.ndarray

    @classmethod
    def of(cls, curve: Curve) -> Scores:
        """Of the evaluations of a finetuning run."""
        means = curve.scores.mean(2)
        along = np.trapezoid(means, curve.steps, axis=0) / np.ptp(curve.steps)
        return cls(means[0], worst_early(curve)[1].mean(1), along, means[1:][-3:].mean(0))


def curves(folder: Path, names: Collection[str]) -> dict[str, list[Curve]]:
    """Evaluations of pretraining and of finetuning of those methods in the folder that are complete."""
    done = [name for name in names if (folder / name / "finetune" / "artifact").exists()]
    return {name: [Curve.read(folder / name / run, "success") for run in ("pretrain", "finetune")] for name in done}


def difference(first: list[np.ndarray], second: list[np.ndarray], seed: int = 0) -> Interval:
    """Mean of the first scores less that of the second, and its 95% bootstrap interval; (seeds,) a task each, the seeds
    of every task and method drawn anew within it (stratified). Tasks count alike."""
    rng = np.random.default_rng(seed)

    def drawn(scores: np.ndarray) -> np.ndarray:
        return scores[rng.integers(len(scores), size=(RESAMPLES, len(scores)))].mean(1)

    resampled = np.mean([drawn(x) - drawn(y) for x, y in zip(first, second, strict=True)], 0)
    value = np.mean([x.mean() - y.mean() for x, y in zip(first, second, strict=True)])
    return (float(value), *map(float, np.quantile(resampled, (0.025, 0.975))))


def first_at(curve: Curve, level: float) -> np.ndarray:
    """(seeds,) the first evaluated step from which two successive evaluations have a mean of `level` or more; infinite
    where a seed never gets there. Two, since a single one may be luck."""
    means = curve.scores.mean(2)
    both = np.minimum(means[:-1], means[1:]) >= level
    return np.where(both.any(0), curve.steps[both.argmax(0)], np.inf)

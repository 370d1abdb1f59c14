"""Statistics over training seeds and tasks: Agarwal et al. (2021), "Deep RL at the Edge of the Statistical Precipice".

A method's scores are one array (seeds,) a task, one number a training seed. Intervals are 95% percentile bootstrap
intervals, stratified: the seeds of every task are drawn anew within that task. The paper's library, rliable, computes
the same; it comes as source only and brings arch, pandas, seaborn and statsmodels along, much for four formulas. The
tests hold these formulas against it where it is installed (extra `bench`), and against SciPy everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Interval = tuple[float, float, float]
"""(value, low, high)."""

RESAMPLES = 2000


def interquartile_mean(scores: np.ndarray) -> np.ndarray:
    """Mean over the last axis without its lowest and highest quarter; fewer than four scores: their mean."""
    ordered = np.sort(scores, -1)
    cut = ordered.shape[-1] // 4
    return ordered[..., cut : ordered.shape[-1] - cut].mean(-1)


def mean(scores: np.ndarray) -> np.ndarray:
    return np.mean(scores, -1)


def estimate(
    tasks: Sequence[np.ndarray], statistic: Callable[[np.ndarray], np.ndarray] = interquartile_mean, seed: int = 0
) -> Interval:
    """A statistic of all scores of all tasks together. statistic: (..., scores) -> (...)."""
    drawn = np.concatenate(_resampled(tasks, np.random.default_rng(seed)), -1)
    low, high = np.quantile(statistic(drawn), (0.025, 0.975))
    return float(statistic(np.concatenate(tasks))), float(low), float(high)


def performance_profile(tasks: Sequence[np.ndarray], levels: np.ndarray, seed: int = 0) -> np.ndarray:
    """(levels, 3): the share of scores above each level, and its interval."""
    drawn = np.concatenate(_resampled(tasks, np.random.default_rng(seed)), -1)
    # One level after the other: all at once would be resamples x scores x levels.
    bounds = [np.quantile((drawn > level).mean(-1), (0.025, 0.975)) for level in levels]
    share = (np.concatenate(tasks)[:, None] > levels).mean(0)
    return np.column_stack([share, np.array(bounds)])


def probability_of_improvement(first: Sequence[np.ndarray], second: Sequence[np.ndarray], seed: int = 0) -> Interval:
    """How likely a seed of the first method scores higher than one of the second on the same task, ties counting half;
    the mean over tasks.

    This is the Mann-Whitney U statistic over the product of the numbers of seeds (the paper's section 4.3).
    """
    rng = np.random.default_rng(seed)
    drawn = [_above(x, y) for x, y in zip(_resampled(first, rng), _resampled(second, rng), strict=True)]
    low, high = np.quantile(np.mean(drawn, 0), (0.025, 0.975))
    value = np.mean([_above(x, y) for x, y in zip(first, second, strict=True)])
    return float(value), float(low), float(high)


def _above(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(...): P(x > y) + P(x = y) / 2 over the last axes."""
    return (np.sign(x[..., :, None] - y[..., None, :]).mean((-2, -1)) + 1.0) / 2.0


def _resampled(tasks: Sequence[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """(RESAMPLES, seeds) for each task, drawn with replacement."""
    return [scores[rng.integers(len(scores), size=(RESAMPLES, len(scores)))] for scores in tasks]

"""The statistics of diagnostics, in NumPy: ranks, intervals, two-sample tests, distances."""

from __future__ import annotations

import dataclasses

import numpy as np

from headstart.train.evaluate import interval

FEATURES = 256
"""Random ReLU features of the classifier."""
PERMUTATIONS = 1000
RIDGE = 1e-3


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's rank correlation of (n,) numbers, ties at their mean rank; NaN where either is constant."""
    ranks = [_ranks(x), _ranks(y)]
    if any(np.ptp(rank) == 0 for rank in ranks):
        return float("nan")
    return float(np.corrcoef(ranks)[0, 1])


def _ranks(x: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2.0)[inverse]


def by_episode(differences: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """(mean, low, high) of differences (S, n) between states of episodes `groups` (n,): 95% bootstrap over episodes
    of the mean over members."""
    _, episode, counts = np.unique(groups, return_inverse=True, return_counts=True)
    means = np.bincount(episode, differences.mean(0)) / counts
    mean, low, high = interval(means)
    # The mean over states, with the interval of the mean over episodes around it.
    shift = float(differences.mean()) - mean
    return np.array([mean + shift, low + shift, high + shift])


def text(value: np.ndarray) -> str:
    """A mean and its interval: `-6.3 [-6.9, -5.8]`."""
    mean, low, high = value
    return f"{mean:.3g} [{low:.3g}, {high:.3g}]"


@dataclasses.dataclass(frozen=True)
class TwoSample:
    """Held-out accuracy of a classifier that tells two samples apart, the mean over both; 1/2 is chance.

    low, high: where 95% of the accuracies lie if the samples are of one distribution.
    """

    accuracy: float
    low: float
    high: float

    @property
    def differ(self) -> bool:
        return self.accuracy > self.high


def two_sample(
    first: np.ndarray, second: np.ndarray, first_groups: np.ndarray, second_groups: np.ndarray, seed: int = 0
) -> TwoSample:
    """Classifier two-sample test (Lopez-Paz and Oquab 2017) of (n, f) and (m, f) numbers.

    groups: (n,) and (m,) the episode of every row; rows of an episode resemble each other, so episodes are what is
    divided into training and test halves, and whose labels are permuted for the null interval. Groups that both samples
    share (the same states, other actions) are divided and permuted together. The classifier is ridge regression on
    random ReLU features, each sample with the same weight.
    """
    rng = np.random.default_rng(seed)
    pooled = np.concatenate([first, second])
    features = _random_features((pooled - pooled.mean(0)) / np.maximum(pooled.std(0), 1e-6), rng)
    label = np.repeat([-1.0, 1.0], [len(first), len(second)])
    paired = bool(np.intersect1d(first_groups, second_groups).size)
    groups = np.concatenate([first_groups, second_groups])
    trained = _half_of(groups, label, paired, rng)

    x, y = features[trained], label[trained]
    weights = np.where(y > 0, 1.0 / max((y > 0).sum(), 1), 1.0 / max((y < 0).sum(), 1))
    gram = x.T @ (weights[:, None] * x) + RIDGE * np.eye(x.shape[1])
    positive = features[~trained] @ np.linalg.solve(gram, x.T @ (weights * y)) > 0

    # Rows and positive answers of every test episode, of each sample: all that accuracies depend on.
    names, episode = np.unique(groups[~trained], return_inverse=True)
    sample = (label[~trained] > 0).astype(int)
    rows, positives = np.zeros((2, len(names))), np.zeros((2, len(names)))
    np.add.at(rows, (sample, episode), 1.0)
    np.add.at(positives, (sample, episode), positive)
    null = [_accuracy(*_permuted(rows, positives, paired, rng)) for _ in range(PERMUTATIONS)]
    low, high = np.quantile(null, [0.025, 0.975])
    return TwoSample(_accuracy(rows, positives), float(low), float(high))


def _accuracy(rows: np.ndarray, positives: np.ndarray) -> float:
    """rows, positives: (2, episodes) of each sample."""
    right = positives[1].sum() / max(rows[1].sum(), 1.0)
    wrong = positives[0].sum() / max(rows[0].sum(), 1.0)
    return float((right + 1.0 - wrong) / 2.0)


def _permuted(
    rows: np.ndarray, positives: np.ndarray, paired: bool, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The same with the samples' episodes exchanged at random."""
    if paired:
        swap = rng.random(rows.shape[1]) < 0.5
        return np.where(swap, rows[::-1], rows), np.where(swap, positives[::-1], positives)
    second = rng.permutation(rows[1] > 0)
    rows, positives = rows.sum(0), positives.sum(0)
    return np.stack([rows * ~second, rows * second]), np.stack([positives * ~second, positives * second])


def _half_of(groups: np.ndarray, label: np.ndarray, paired: bool, rng: np.random.Generator) -> np.ndarray:
    """(n,) whether a row's episode belongs to the training half; a half of each sample's episodes."""
    chosen = []
    for side in [groups] if paired else [groups[label < 0], groups[label > 0]]:
        names = rng.permutation(np.unique(side))
        chosen.append(names[: len(names) // 2])
    return np.isin(groups, np.concatenate(chosen))


def _random_features(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n, f) -> (n, 1 + f + FEATURES): a constant, the numbers, and rectified random projections of them."""
    directions = rng.normal(size=(x.shape[1], FEATURES)) / np.sqrt(x.shape[1])
    hidden = np.maximum(x @ directions + rng.normal(size=FEATURES), 0.0) / np.sqrt(FEATURES)
    return np.concatenate([np.ones((len(x), 1)), x / np.sqrt(x.shape[1]), hidden], axis=1)


def distances(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(n, m) root mean square differences of (n, f) and (m, f) numbers."""
    squares = np.square(points).sum(1)[:, None] + np.square(others).sum(1) - 2.0 * points @ others.T
    return np.sqrt(np.maximum(squares, 0.0) / points.shape[1])

"""What logits are worth on what was not learned from: errors, ranking, calibration. NumPy, float64.

Examples are told by two masses each, so that one set of formulas serves labels of both kinds and positives beside
unlabelled data. `any`: the mass of an example among all, which sums to 1. `positive`: its mass among successes, which
sums to the share of successes, the prior. A labelled example of n has any = 1 / n, and positive = 1 / n where it is a
success. Positives beside unlabelled data have only positive mass, prior / n; unlabelled ones only mass among all.
"""

from __future__ import annotations

import dataclasses

import numpy as np

BINS = 10
RESAMPLES = 1000


@dataclasses.dataclass(frozen=True, eq=False)
class Masses:
    """any, positive: (n,) as above. group: (n,) integers; examples of a group (an episode) resemble each other."""

    any: np.ndarray
    positive: np.ndarray
    group: np.ndarray

    @property
    def prior(self) -> float:
        return float(self.positive.sum())

    @property
    def labelled(self) -> bool:
        """Whether failures are told, and not only successes beside what is unlabelled."""
        return bool(((self.any > 0) & (self.positive > 0)).any())

    def of(self, keep: np.ndarray) -> Masses:
        """Some of the examples, with masses that sum to 1 and to the prior again."""
        any_, positive = self.any[keep], self.positive[keep]
        return Masses(any_ / any_.sum(), positive / positive.sum() * self.prior, self.group[keep])


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * logits))


def platt(logits: np.ndarray, masses: Masses, intercept: bool = True) -> tuple[float, float]:
    """(a, b) of sigmoid(a * logit + b) with the least logistic risk (Platt 1999); without an intercept b is 0, and
    1 / a is the temperature of Guo et al. (2017).

    risk(a, b) = sum any * softplus(z) - positive * z with z = a * logit + b, convex, and for positives beside
    unlabelled data an unbiased estimate of what labels would give (du Plessis et al. 2015). A normal prior about
    (1, 0), worth one example, keeps it bounded where few examples are told apart without error.
    """
    x = np.stack([logits, np.ones_like(logits)], axis=1)[:, : 2 if intercept else 1]
    start = np.array([1.0, 0.0])[: x.shape[1]]
    pull = 1.0 / len(logits)

    def risk(weights):
        z = x @ weights
        fit = masses.any @ np.logaddexp(0.0, z) - masses.positive @ z
        return fit + pull / 2.0 * np.square(weights - start).sum()

    weights = start
    for _ in range(100):
        p = sigmoid(x @ weights)
        gradient = x.T @ (masses.any * p - masses.positive) + pull * (weights - start)
        hessian = x.T @ ((masses.any * p * (1.0 - p))[:, None] * x) + pull * np.eye(x.shape[1])
        step = np.linalg.solve(hessian, gradient)
        # Newton's step, halved until it helps: far from the minimum the curvature vanishes.
        while risk(weights - step) > risk(weights) and np.abs(step).max() > 1e-12:
            step = step / 2.0
        weights = weights - step
        if np.abs(step).max() < 1e-10:
            break
    if weights[0] < 0.0:
        # Held-out successes have the lower logits: these say nothing, and are not turned round.
        return 0.0, float(np.log(masses.prior / (1.0 - masses.prior))) if intercept else 0.0
    return float(weights[0]), float(weights[1]) if intercept else 0.0


def calibration_error(logits: np.ndarray, masses: Masses) -> float:
    """Expected calibration error (Naeini et al. 2015): |share of successes - mean probability|, over bins of
    probability with the same number of examples, weighted by their mass."""
    probability = sigmoid(logits)
    known = masses.any > 0
    edges = np.unique(np.quantile(probability[known], np.arange(1, BINS) / BINS))
    bins = np.searchsorted(edges, probability, side="right")
    gap = np.bincount(bins, masses.any * probability - masses.positive, len(edges) + 1)
    return float(np.abs(gap).sum())


def error(logits: np.ndarray, masses: Masses, seed: int = 0) -> tuple[float, float, float]:
    """Share of wrong answers at probability 1/2, with its 95% bootstrap interval over groups; where all resamples
    agree, Wilson's for as many trials as there are groups."""
    names, group = np.unique(masses.group, return_inverse=True)
    answer = logits > 0
    # any * [answer] + positive * (1 - 2 [answer]) is the share of wrong answers.
    columns = (masses.any * answer, masses.positive * (1.0 - 2.0 * answer), masses.any, masses.positive)
    sums = np.stack([np.bincount(group, column, len(names)) for column in columns], axis=1)

    def share(sums):
        among_all, correction, whole, successes = np.moveaxis(sums, -1, 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            if masses.labelled:
                return (among_all + correction) / whole
            return np.clip(among_all / whole + masses.prior * correction / successes, 0.0, 1.0)

    drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)
    shares = share(drawn @ sums)
    low, high = np.quantile(shares[np.isfinite(shares)], [0.025, 0.975])
    found = float(share(sums.sum(0)))
    return found, *(wilson(found * len(names), len(names)) if low == high else (float(low), float(high)))


def ranking(logits: np.ndarray, masses: Masses) -> tuple[float, float]:
    """(AUC, what chance does not pass): how likely a success has a higher logit than a failure, ties counting half, and
    the 95% quantile of that where logits say nothing (normal limit of Mann and Whitney's U, groups counting once).

    Unlabelled examples hold successes too: AUC = (AUC against them - prior / 2) / (1 - prior).
    """
    good = masses.positive > 0
    others = masses.any > 0
    if masses.labelled:
        others &= ~good
    mine, theirs = logits[good], np.sort(logits[others])
    below = np.searchsorted(theirs, mine, side="left") + np.searchsorted(theirs, mine, side="right")
    auc = float(below.mean() / (2 * len(theirs)))
    m, n = len(np.unique(masses.group[good])), len(np.unique(masses.group[others]))
    margin = 1.645 * float(np.sqrt((m + n + 1) / (12.0 * m * n)))
    if not masses.labelled:
        auc, margin = (auc - masses.prior / 2.0) / (1.0 - masses.prior), margin / (1.0 - masses.prior)
    return auc, 0.5 + margin


def wilson(successes: float, count: int) -> tuple[float, float]:
    """95% interval of a share (Wilson 1927): sound for few trials, and where all of them agree."""
    z = 1.959964
    share, weight = successes / count, z * z / count
    centre = (share + weight / 2.0) / (1.0 + weight)
    half = z * np.sqrt(share * (1.0 - share) / count + weight / (4.0 * count)) / (1.0 + weight)
    return float(centre - half), float(centre + half)

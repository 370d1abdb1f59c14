"""What models may be ranked by without an environment; of every criterion more is better."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from headstart.data.dataset import Dataset
from headstart.diagnostics.findings import Unsupported
from headstart.diagnostics.subject import Subject
from headstart.errors import UsageError
from headstart.selection.evaluation import fitted_values


@dataclasses.dataclass(frozen=True)
class Contributions:
    """What n episodes contribute to a score, so that it can be computed again for other draws of episodes.

    The score of member s by evaluator e is the sum over terms k of totals[s, e, k] / counts[k], each summed over the
    drawn episodes. totals: (S, E, K, n). counts: (K, n). Evaluators are alike but for their seeds (E = 1: no chance is
    involved).
    """

    totals: np.ndarray
    counts: np.ndarray

    def scores(self, weights: np.ndarray) -> np.ndarray:
        """(B, S, E) for how often each episode is drawn (B, n); NaN where what counts is in no drawn episode."""
        totals = np.einsum("bn,sekn->bsek", weights, self.totals)
        with np.errstate(invalid="ignore", divide="ignore"):
            return (totals / (weights @ self.counts.T)[:, None, None, :]).sum(-1)

    def member(self, index: int) -> Contributions:
        return dataclasses.replace(self, totals=self.totals[index : index + 1])


@dataclasses.dataclass(frozen=True)
class Criterion:
    """compute: what the episodes of a subject contribute; takes also the data as it was given, and the gradient steps
    and discount of fitted Q evaluation. own_units: whether it reads the artifact's own Q, whose unit is that of its
    rewards and discount."""

    about: str
    compute: Callable[[Subject, Dataset, int, float], Contributions]
    own_units: bool = False


def _means(values: np.ndarray) -> Contributions:
    """The mean of (S, E, n) numbers, one an episode."""
    return Contributions(values[:, :, None], np.ones((1, values.shape[-1])))


def _fqe(subject: Subject, data: Dataset, steps: int, discount: float) -> Contributions:
    return _means(fitted_values(subject.artifact, data, steps=steps, discount=discount, seed=subject.seed))


def _value(subject: Subject, *_: Any) -> Contributions:
    starts = subject.everyone(subject.observed(subject.data, subject.data.starts))
    return _means(subject.policy_values(starts)[:, None])


def _td_error(subject: Subject, *_: Any) -> Contributions:
    data, rows = subject.data, subject.rows
    if data.rewards is None:
        raise Unsupported(f"{data.provenance.source} holds no rewards")
    taken = np.broadcast_to(subject.actions, (subject.artifact.members, *subject.actions.shape))
    following = subject.policy_values(subject.everyone(subject.observed(data, rows + 1)))
    target = data.rewards[rows] + subject.discount * ~data.terminations[rows] * following
    return _by_row(subject, -np.square(subject.q(subject.everyone(subject.observations), taken) - target))


def _soft_opc(subject: Subject, *_: Any) -> Contributions:
    solved = _solved(subject)
    taken = np.broadcast_to(subject.actions, (subject.artifact.members, *subject.actions.shape))
    everyone = _by_row(subject, subject.q(subject.everyone(subject.observations), taken))
    return Contributions(
        np.concatenate([everyone.totals * solved, -everyone.totals], axis=2),
        np.concatenate([everyone.counts * solved, everyone.counts]),
    )


def _solved(subject: Subject) -> np.ndarray:
    """(n,) whether each episode succeeded. Raises `Unsupported` where nobody says, or all are alike."""
    data = subject.data
    if data.successes is None:
        raise Unsupported(f"{data.provenance.source} does not say what counts as success")
    solved = np.logical_or.reduceat(data.successes & (np.arange(len(data)) != data.episode_end), data.starts)
    if solved.all() or not solved.any():
        raise Unsupported(
            f"{'every' if solved.all() else 'no'} episode of {data.provenance.source} succeeds; both kinds are needed"
        )
    return solved


def _behaviour(subject: Subject, *_: Any) -> Contributions:
    chosen, taken = subject.policy_actions, subject.actions
    if subject.discrete:
        return _by_row(subject, (chosen == taken).astype(float))
    return _by_row(subject, -np.square(chosen - taken).sum(-1))


def _by_row(subject: Subject, values: np.ndarray) -> Contributions:
    """The mean of (S, rows) numbers, one for every row that the subject looks at."""
    episode = np.searchsorted(subject.data.starts, subject.rows, side="right") - 1
    totals = np.zeros((len(values), 1, 1, subject.data.episodes))
    counts = np.zeros((1, subject.data.episodes))
    np.add.at(totals, (slice(None), 0, 0, episode), values)
    np.add.at(counts, (0, episode), 1.0)
    return Contributions(totals, counts)


CRITERIA: dict[str, Criterion] = {
    "fqe": Criterion("value of the policy at initial states by fitted Q evaluation, in the data's rewards", _fqe),
    "value": Criterion("the artifact's own Q of its policy at initial states", _value, own_units=True),
    "td_error": Criterion("less the squared Bellman error of its own Q, under its policy", _td_error, own_units=True),
    "soft_opc": Criterion(
        "its own Q at the data's actions: mean in successful episodes less mean in all (Irpan et al. 2019)",
        _soft_opc,
        own_units=True,
    ),
    "behaviour": Criterion("less the squared distance of the policy's actions from the data's", _behaviour),
}
"""Name -> criterion. td_error: Q(s, a) beside r + gamma * Q(s', pi(s')). behaviour, the baseline, likes
who imitates; of discrete actions it counts those that are equal."""


def contributions(name: str, subject: Subject, data: Dataset, label: str, steps: int, discount: float) -> Contributions:
    """Raises `UsageError` that names the artifact and what it, or the data, lacks."""
    try:
        return CRITERIA[name].compute(subject, data, steps, discount)
    except Unsupported as error:
        others = ", ".join(other for other in CRITERIA if other != name)
        raise UsageError(f"{name} cannot rank {label}: {error}; other criteria: {others}") from error

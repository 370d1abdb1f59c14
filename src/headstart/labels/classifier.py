"""Rewards by a classifier of success, from a few labelled states, with or without failures."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from headstart import config
from headstart.data import transform
from headstart.data.dataset import Dataset
from headstart.errors import UsageError
from headstart.labels import calibration
from headstart.labels.calibration import Masses
from headstart.labels.examples import Examples
from headstart.labels.labelled import Labelled, Measure, told
from headstart.labels.looks import Look, each, fit, members, outputs

UNLABELLED = 10_000
"""States of the data that stand for all of it where there are no failures."""


@dataclasses.dataclass(frozen=True)
class Classifier:
    """The probability that a state counts as success, by an ensemble that is fitted to a few labelled states.

    With failures by logistic regression; without, positives beside the data as unlabelled, by the non-negative risk of
    Kiryo et al. (2017, arXiv:1703.00593). Each member leaves a part of the episodes out, so that every example is
    judged by one that has not seen its episode: these answers are calibrated (Platt 1999) and tell the error. A step's
    reward looks at the state that it leads to.
    """

    reward: Literal["probability", "success"] = "probability"
    """probability: the calibrated one. success: `success_reward` where that is at least `threshold`, else
    `step_reward`."""
    threshold: float = 0.5
    """Probability from which a state counts as success."""
    step_reward: float = -1.0
    """Reward of other steps, with reward success."""
    success_reward: float = 0.0
    """Reward of a success, with reward success."""
    cut: bool = False
    """End episodes at their first success, as terminated."""
    prior: float | None = None
    """Share of the data's states that count as success. Needed without failures; with them, it takes the place of their
    share in the examples."""
    folds: int = 5
    """Members, each of which leaves out one part of so many (fewer where fewer episodes hold successes)."""
    calibration: Literal["platt", "temperature", "none"] = "platt"
    """platt: slope and intercept. temperature: slope alone. none."""
    array: str = ""
    """Name of the array of observations that is looked at, where they have names; none: all."""
    entries: tuple[int, ...] = ()
    """Entries of that array; none: all."""
    widths: tuple[int, ...] = (64, 64)
    """Hidden layers."""
    steps: int = 1000
    """Gradient steps."""
    batch_size: int = 64
    """Examples of each kind in a step."""
    learning_rate: float = 1e-3
    """Of AdamW."""
    weight_decay: float = 1e-2
    """Of AdamW."""
    seed: int = 0
    """Decides parts, networks and batches."""

    def __post_init__(self):
        config.settle(self)
        config.at_least(self, 0, "threshold", "prior", "learning_rate", "weight_decay", "seed")
        config.at_most(self, 1, "threshold", "prior")
        config.at_least(self, 1, "steps", "batch_size", "widths")
        config.at_least(self, 2, "folds")

    def label(self, data: Dataset, examples: Examples) -> Labelled:
        """Raises `UsageError` where there are too few examples, or a prior is needed."""
        look = Look(data, self.array, self.entries)
        features, masses = self._problem(data, examples, look)
        folds, count = self._parts(masses)
        ensemble = self._fitted(features, masses, folds, count, not examples.successes.all())
        logits = outputs(ensemble, len(features), lambda rows: features[rows])
        held_out = logits[folds, np.arange(len(features))]
        measures, warnings = self._judge(held_out, masses, folds, count)

        scale, shift = self._calibrate(held_out, masses)
        judged = outputs(ensemble, len(data), look.rows).mean(0)
        probability = calibration.sigmoid(scale * judged + shift).astype(np.float32)
        how = f"classifier of {examples.describe()}, prior {masses.prior:.3g}"
        return Labelled(self._rewarded(data, probability, told(how, measures)), measures, warnings)

    # -- examples ---------------------------------------------------------------------------------------------

    def _problem(self, data: Dataset, examples: Examples, look: Look) -> tuple[np.ndarray, Masses]:
        """Features (n, f) and masses of the examples; without failures, of unlabelled states after them."""
        good = examples.successes
        if not good.any():
            raise UsageError("the examples hold no success; at least two of different episodes are needed")
        if not good.all():
            share = float(good.mean()) if self.prior is None else self.prior
            weight = np.where(good, share / good.sum(), (1.0 - share) / (~good).sum())
            return look(examples.observations), Masses(weight, weight * good, examples.groups)
        if self.prior is None or not 0.0 < self.prior < 1.0:
            raise UsageError(
                "the examples hold successes alone: say what share of the data's states are (prior), between 0 and 1"
            )
        rng = np.random.default_rng(self.seed)
        rows = np.sort(rng.choice(len(data), min(UNLABELLED, len(data)), replace=False))
        kinds = len(good), len(rows)
        return np.concatenate([look(examples.observations), look.rows(rows)]), Masses(
            np.repeat([0.0, 1.0 / kinds[1]], kinds),
            np.repeat([self.prior / kinds[0], 0.0], kinds),
            np.concatenate([examples.groups, data.episode_start[rows]]),
        )

    def _parts(self, masses: Masses) -> tuple[np.ndarray, int]:
        """(the part (n,) of every example, number of parts): whole groups, those with successes dealt out evenly."""
        rng = np.random.default_rng(self.seed)
        names, group = np.unique(masses.group, return_inverse=True)
        good = np.bincount(group, masses.positive > 0, len(names)) > 0
        bad = np.bincount(group, masses.any > masses.positive, len(names)) > 0
        count = min(self.folds, int(good.sum()), int(bad.sum()))
        if count < 2:
            kind = "successes" if good.sum() < 2 else "failures"
            raise UsageError(
                f"the {kind} are all of one episode; give some of at least two, so that the error can be told on one "
                "that was not learned from"
            )
        part = np.empty(len(names), int)
        order = np.concatenate([rng.permutation(np.flatnonzero(good)), rng.permutation(np.flatnonzero(~good))])
        part[order] = np.arange(len(names)) % count
        return part[group], count

    # -- models -----------------------------------------------------------------------------------------------

    def _fitted(self, features: np.ndarray, masses: Masses, folds: np.ndarray, count: int, negatives: bool) -> Any:
        """An ensemble whose member k has not seen part k."""
        kept = [masses.of(folds != k) for k in range(count)]
        cumulated = {}
        for name in ("any", "positive"):
            full = np.zeros((count, len(features)))
            for k, part in enumerate(kept):
                full[k, folds != k] = getattr(part, name)
            cumulated[name] = np.cumsum(full / full.sum(1, keepdims=True), axis=1)
        init_key, fit_key = jax.random.split(jax.random.key(self.seed))
        prior, size = masses.prior, self.batch_size

        def loss(ensemble, data, key):
            uniform = jax.random.uniform(key, (2, count, size))

            def drawn(name, uniform):
                find = jax.vmap(lambda sums, u: jnp.searchsorted(sums, u, side="right"))
                rows = find(data[name], uniform)
                return each(ensemble, data["features"][jnp.minimum(rows, len(features) - 1)])

            among_all, positive = drawn("any", uniform[0]), drawn("positive", uniform[1])
            if negatives:
                return (jax.nn.softplus(among_all).mean(-1) - prior * positive.mean(-1)).sum()
            return non_negative_risk(positive, among_all, prior).sum()

        data = {"features": jnp.asarray(features)} | {k: jnp.asarray(v, jnp.float32) for k, v in cumulated.items()}
        return fit(
            members(features.shape[1], self.widths, count, init_key), loss, data, steps=self.steps,
            learning_rate=self.learning_rate, weight_decay=self.weight_decay, key=fit_key,
        )  # fmt: skip

    def _calibrate(self, logits: np.ndarray, masses: Masses) -> tuple[float, float]:
        if self.calibration == "none":
            return 1.0, 0.0
        return calibration.platt(logits, masses, intercept=self.calibration == "platt")

    # -- what they are worth ----------------------------------------------------------------------------------

    def _judge(
        self, logits: np.ndarray, masses: Masses, folds: np.ndarray, count: int
    ) -> tuple[tuple[Measure, ...], tuple[str, ...]]:
        """Of answers to examples that were not seen, each part calibrated by the others."""
        settled = np.empty_like(logits)
        for k in range(count):
            scale, shift = self._calibrate(logits[folds != k], masses.of(folds != k))
            settled[folds == k] = scale * logits[folds == k] + shift
        auc, limit = calibration.ranking(logits, masses)
        prior = masses.prior
        measures = (
            Measure("held-out error", *calibration.error(settled, masses, self.seed), chance=min(prior, 1.0 - prior)),
            Measure("calibration error", calibration.calibration_error(settled, masses)),
            Measure("ranking (AUC)", auc, chance=0.5, percent=False),
        )
        warnings = []
        if auc <= limit:
            shows = f"show nothing below {limit:.2f}" if limit < 1.0 else "are too few to show anything"
            warnings.append(
                f"the classifier is not better than chance on held-out examples (AUC {auc:.2f}; so many examples "
                f"{shows}): give more examples, or say what of an observation to look at (entries)"
            )
        return measures, tuple(warnings)

    # -- rewards ----------------------------------------------------------------------------------------------

    def _rewarded(self, data: Dataset, probability: np.ndarray, line: str) -> Dataset:
        """probability: (R,) of every row's state."""
        steps = data.transitions
        successes = np.zeros(len(data), bool)
        successes[steps] = probability[steps + 1] >= self.threshold
        rewards = np.zeros(len(data), np.float32)
        if self.reward == "probability":
            rewards[steps] = probability[steps + 1]
        else:
            rewards[steps] = np.where(successes[steps], self.success_reward, self.step_reward)
        found = data.replace(line, rewards=rewards, successes=successes)
        return transform.cut_at_success(found) if self.cut else found


def non_negative_risk(positive: Any, among_all: Any, prior: float) -> Any:
    """What to descend for the logistic risk of positives beside unlabelled data (Kiryo et al. 2017, algorithm 1 with
    beta 0 and gamma 1).

    positive: (..., n) logits of successes; among_all: (..., m) of unlabelled states. The part of the risk that failures
    have is an estimate, and cannot really be negative: where it is, the successes have been learned by heart, and the
    step undoes that instead.
    """
    known = prior * jax.nn.softplus(-positive).mean(-1)
    failures = jax.nn.softplus(among_all).mean(-1) - prior * jax.nn.softplus(positive).mean(-1)
    return jnp.where(failures >= 0.0, known + failures, -failures)

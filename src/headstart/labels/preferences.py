"""Rewards from preferences between segments of the data."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from headstart import config, losses
from headstart.data.dataset import Dataset
from headstart.data.files import existing, read_npz, require
from headstart.errors import DataError, UsageError
from headstart.labels.calibration import wilson
from headstart.labels.examples import read_json
from headstart.labels.labelled import Labelled, Measure, told
from headstart.labels.looks import Look, each, fit, members, outputs


@dataclasses.dataclass(frozen=True, eq=False)
class Comparisons:
    """n answers to "which of two segments of the data is better".

    first, second: (n, 3) integers, the episode, its first step and the number of steps; episodes and steps count from
    0. preferred: (n,) 0 the first, 1 the second, 0.5 neither. name: where they are from.

    Raises `DataError` for other shapes and answers.
    """

    first: np.ndarray
    second: np.ndarray
    preferred: np.ndarray
    name: str = "memory"

    def __post_init__(self):
        count = len(self.preferred)
        for side in ("first", "second"):
            found = np.asarray(getattr(self, side))
            if found.shape != (count, 3) or found.dtype.kind not in "iu":
                raise DataError(
                    f"{self.name}: {side} must be ({count}, 3) whole numbers (episode, start, length), found "
                    f"{found.dtype} of shape {found.shape}"
                )
        if not np.isin(self.preferred, (0.0, 0.5, 1.0)).all():
            raise DataError(f"{self.name}: preferred must be 0 (the first), 1 (the second) or 0.5 (neither)")

    def __len__(self) -> int:
        return len(self.preferred)

    @property
    def decided(self) -> np.ndarray:
        """(n,) whether one is better."""
        return self.preferred != 0.5

    def describe(self) -> str:
        """Short text: `200 preferences of file.json (sha256 1a2b3c4d5e6f)`."""
        total = hashlib.sha256(
            np.column_stack([self.first, self.second, 2 * self.preferred]).astype(np.int64).tobytes()
        )
        return f"{len(self)} preferences of {self.name} (sha256 {total.hexdigest()[:12]})"

    def require(self, data: Dataset) -> None:
        """Raise `DataError` where a segment is not in the data."""
        lengths = data.ends - data.starts
        for side in ("first", "second"):
            for index, (episode, start, length) in enumerate(getattr(self, side).tolist()):
                where = f"{self.name}: the {side} segment of preference {index}"
                if not 0 <= episode < data.episodes:
                    raise DataError(f"{where} is of episode {episode}; {data.provenance.source} has {data.episodes}")
                if start < 0 or length < 1 or start + length > lengths[episode]:
                    raise DataError(
                        f"{where} has {length} steps from {start}; episode {episode} has {lengths[episode]} in all"
                    )

    @classmethod
    def read(cls, file: str | Path) -> Comparisons:
        """Answers from a file.

        `.json`: [{"first": [episode, start, length], "second": [episode, start, length], "preferred": 0}, ...].
        `.npz`: the arrays `first`, `second` and `preferred`. Raises `DataError` where it is damaged.
        """
        path = existing(file, "preferences, .json or .npz")
        if path.suffix == ".npz":
            columns = read_npz(path)
            require(path, columns, "first", "second", "preferred")
            return cls(columns["first"], columns["second"], columns["preferred"].astype(float), str(path))
        content = read_json(path)
        try:
            first, second, preferred = ([item[key] for item in content] for key in ("first", "second", "preferred"))
            return cls(np.array(first), np.array(second), np.array(preferred, float), str(path))
        except (TypeError, KeyError, ValueError) as error:
            raise DataError(
                f'{path}: expected a list of {{"first": [episode, start, length], "second": [...], "preferred": 0}}'
            ) from error

    def write(self, file: str | Path) -> Path:
        """Write a new `.json` or `.npz` file that `read` reads. Raises `UsageError` where it exists."""
        path = Path(file)
        if path.exists():
            raise UsageError(f"{path} exists; choose another file")
        if path.suffix == ".npz":
            np.savez(path, first=self.first, second=self.second, preferred=self.preferred)
            return path
        items = [
            {"first": first, "second": second, "preferred": preferred}
            for first, second, preferred in zip(
                self.first.tolist(), self.second.tolist(), self.preferred.tolist(), strict=True
            )
        ]
        path.write_text(json.dumps(items, indent=1) + "\n")
        return path

    @classmethod
    def of_rewards(cls, data: Dataset, pairs: int, length: int, mistakes: float = 0.0, seed: int = 0) -> Comparisons:
        """What someone who sees the true rewards would answer: for tests, and studies of how many answers are needed.

        pairs: of random segments of `length` steps, the sums of whose rewards decide. mistakes: share of answers that
        are turned round. Raises `DataError` where the data holds no rewards or no episode is so long.
        """
        if data.rewards is None:
            raise DataError(f"{data.provenance.source} holds no rewards")
        places = data.ends - data.starts - length + 1
        long_enough = np.flatnonzero(places > 0)
        if not len(long_enough):
            raise DataError(f"{data.provenance.source}: no episode has {length} steps")
        rng = np.random.default_rng(seed)
        # Every segment is as likely as any other.
        room = places[long_enough]
        episode = rng.choice(long_enough, (2, pairs), p=room / room.sum())
        start = rng.integers(places[episode])
        sums = np.concatenate([[0.0], np.cumsum(data.rewards, dtype=np.float64)])
        rows = data.starts[episode] + start
        first, second = sums[rows + length] - sums[rows]
        preferred = np.where(first == second, 0.5, (second > first).astype(float))
        preferred = np.where(rng.random(pairs) < mistakes, 1.0 - preferred, preferred)
        segments = [np.column_stack([e, s, np.full(pairs, length)]) for e, s in zip(episode, start, strict=True)]
        return cls(
            *segments, preferred, f"true rewards of {data.provenance.source}, {mistakes:.0%} mistakes, seed {seed}"
        )


@dataclasses.dataclass(frozen=True)
class Preferences:
    """A reward model learned from preferences between segments (Christiano et al. 2017, arXiv:1706.03741).

    P(second preferred) = sigmoid(sum of its rewards - sum of the first's) (Bradley and Terry 1952). Each member of the
    ensemble leaves out a part of the answers, which tell how often it is right. Rewards are the mean of the members,
    each with mean 0 and standard deviation 1 over the data: preferences do not tell more than that.
    """

    actions: bool = True
    """Rewards look at the action, where the data holds any, besides the state that it leads to."""
    mistakes: float = 0.1
    """Share of answers that are taken to be given at random, whatever the segments (published: 0.1)."""
    folds: int = 5
    """Members, each of which leaves out one part of so many."""
    array: str = ""
    """Name of the array of observations that is looked at, where they have names; none: all."""
    entries: tuple[int, ...] = ()
    """Entries of that array; none: all."""
    widths: tuple[int, ...] = (64, 64)
    """Hidden layers."""
    steps: int = 1000
    """Gradient steps."""
    batch_size: int = 32
    """Pairs of segments in a step."""
    learning_rate: float = 1e-3
    """Of AdamW."""
    weight_decay: float = 1e-2
    """Of AdamW."""
    seed: int = 0
    """Decides parts, networks and batches."""

    def __post_init__(self):
        config.settle(self)
        config.at_least(self, 0, "mistakes", "learning_rate", "weight_decay", "seed")
        config.at_most(self, 0.99, "mistakes")
        config.at_least(self, 1, "steps", "batch_size", "widths")
        config.at_least(self, 2, "folds")

    def label(self, data: Dataset, preferences: Comparisons) -> Labelled:
        """Raises `UsageError` for fewer than two decided answers, `DataError` for segments that are not in the data."""
        preferences.require(data)
        if preferences.decided.sum() < 2:
            raise UsageError(f"{preferences.name}: at least two answers must prefer one of the segments")
        look = Look(data, self.array, self.entries)
        actions = self.actions and data.actions is not None

        def features(rows):
            seen = look.rows(rows + 1)
            return np.concatenate([seen, look.actions(rows)], axis=1) if actions else seen

        rows, valid = self._segments(data, preferences)
        folds, count = self._parts(preferences)
        ensemble = self._fitted(features, rows, valid, preferences.preferred, folds, count)
        measure, warnings = self._judge(ensemble, features, rows, valid, preferences, folds)

        steps = data.transitions
        judged = outputs(ensemble, len(steps), lambda at: features(steps[at]))
        judged = (judged - judged.mean(1, keepdims=True)) / np.maximum(judged.std(1, keepdims=True), 1e-6)
        rewards = np.zeros(len(data), np.float32)
        rewards[steps] = judged.mean(0)
        how = f"preferences: {preferences.describe()}"
        return Labelled(data.replace(told(how, (measure,)), rewards=rewards, successes=None), (measure,), warnings)

    def _segments(self, data: Dataset, preferences: Comparisons) -> tuple[np.ndarray, np.ndarray]:
        """Rows (n, 2, L) of the steps of both segments, and which of them are (the others lie beyond a shorter one)."""
        segments = np.stack([preferences.first, preferences.second], axis=1)
        starts = data.starts[segments[..., 0]] + segments[..., 1]
        offsets = np.arange(segments[..., 2].max())
        valid = offsets < segments[..., 2:]
        return starts[..., None] + np.where(valid, offsets, 0), valid

    def _parts(self, preferences: Comparisons) -> tuple[np.ndarray, int]:
        """(the part (n,) of every answer, number of parts); the same question asked again is in the same part."""
        sides = np.stack([preferences.first, preferences.second], axis=1)
        # Which of the two came first does not matter.
        turned = [sorted(map(tuple, pair)) for pair in sides.tolist()]
        _, question = np.unique(np.array(turned).reshape(len(sides), -1), axis=0, return_inverse=True)
        count = min(self.folds, int(question.max()) + 1)
        if count < 2:
            raise UsageError(f"{preferences.name}: all answers are to one question; at least two are needed")
        part = np.random.default_rng(self.seed).permutation(int(question.max()) + 1) % count
        return part[question.ravel()], count

    def _fitted(
        self, features: Any, rows: np.ndarray, valid: np.ndarray, preferred: np.ndarray, folds: np.ndarray, count: int
    ) -> Any:
        """An ensemble whose member k has not seen part k."""
        seen = features(rows.ravel()).reshape(*rows.shape, -1)
        others = [np.flatnonzero(folds != k) for k in range(count)]
        init_key, fit_key = jax.random.split(jax.random.key(self.seed))
        size, mistakes = self.batch_size, self.mistakes

        def loss(ensemble, data, key):
            counts = data["counts"][:, None]
            # The last place too where a draw is rounded up to it.
            places = jnp.minimum((jax.random.uniform(key, (count, size)) * counts).astype(jnp.int32), counts - 1)
            drawn = jnp.take_along_axis(data["others"], places, axis=1)
            rewards = each(ensemble, data["seen"][drawn]) * data["valid"][drawn]
            sums = rewards.sum(-1)
            return losses.preferences.bradley_terry(
                sums[..., 0], sums[..., 1], data["preferred"][drawn], mistakes
            ).mean(-1).sum()  # fmt: skip

        padded = np.stack([np.resize(of, max(map(len, others))) for of in others])
        data = {
            "seen": jnp.asarray(seen), "valid": jnp.asarray(valid, jnp.float32),
            "preferred": jnp.asarray(preferred, jnp.float32), "others": jnp.asarray(padded),
            "counts": jnp.asarray([len(of) for of in others]),
        }  # fmt: skip
        return fit(
            members(seen.shape[-1], self.widths, count, init_key), loss, data, steps=self.steps,
            learning_rate=self.learning_rate, weight_decay=self.weight_decay, key=fit_key,
        )  # fmt: skip

    def _judge(
        self, ensemble: Any, features: Any, rows: np.ndarray, valid: np.ndarray, preferences: Comparisons,
        folds: np.ndarray,
    ) -> tuple[Measure, tuple[str, ...]]:  # fmt: skip
        """How often members are right about decided answers that they have not seen."""
        flat = rows.ravel()
        judged = outputs(ensemble, len(flat), lambda at: features(flat[at])).reshape(-1, *rows.shape)
        sums = (judged * valid).sum(-1)[folds, np.arange(len(folds))]
        right = ((sums[:, 1] > sums[:, 0]) == (preferences.preferred == 1.0))[preferences.decided]
        low, high = wilson(int(right.sum()), len(right))
        warnings = ()
        if low <= 0.5:
            warnings = (
                f"the reward model is not better than chance on held-out preferences ({right.mean():.0%} of "
                f"{len(right)} right, 95% interval from {low:.0%}): give more, or longer segments",
            )
        return Measure("held-out accuracy", float(right.mean()), low, high, chance=0.5), warnings

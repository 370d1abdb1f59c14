"""Rewards by how near a goal is, as a learned value tells."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np

from headstart import config
from headstart.artifact import Artifact
from headstart.data import transform
from headstart.data.columns import map_arrays
from headstart.data.dataset import Dataset
from headstart.data.files import existing, read_npz, require
from headstart.diagnostics.statistics import rank_correlation
from headstart.errors import UsageError
from headstart.labels.labelled import Labelled, Measure, told
from headstart.labels.looks import BLOCK
from headstart.train import acting

PAIRS = 2000
"""Pairs of states of one episode, on which the value is compared with the steps between them."""


@dataclasses.dataclass(frozen=True)
class Distance:
    """The goal-conditioned value V(s, g) of a model that learned without rewards, as reward of being in s.

    The value is the mean over the model's training seeds, in its algorithm's unit: mostly minus the discounted steps to
    the goal. A step's reward looks at the state that it leads to.
    """

    reward: Literal["value", "difference", "shaped", "within"] = "value"
    """value: V(s', g). difference: gamma V(s', g) - V(s, g), a potential (Ng et al. 1999), which by itself leaves every
    policy as good as it was but says at once what helps. shaped: the data's own reward and that difference, where the
    value of a state that ended its episode is 0: the same task, with its rewards nearer. within: -1 until
    V(s', g) >= -`within`, 0 there, where the episode ends as terminated."""
    within: float = 1.0
    """What counts as arrived: about so many steps where V is minus the discounted steps."""
    discount: float | None = None
    """gamma of the difference; none: the model's own."""
    seed: int = 0
    """Decides which pairs of states the value is compared on."""

    def __post_init__(self):
        config.settle(self)
        config.at_least(self, 0, "discount", "within", "seed")
        config.at_most(self, 1, "discount")

    def label(self, data: Dataset, artifact: Artifact, goal: Any) -> Labelled:
        """artifact: a model with values of goals. goal: an observation as the environment gives it.

        Raises `UsageError` where the model has no such values, or sees other observations.
        """
        # The value alone is asked: models without actions serve data with them.
        artifact.spec.require(dataclasses.replace(data.spec, action=None), "the artifact", data.provenance.source)
        goal = acting.with_axes(artifact.spec, goal, ())
        rows = np.arange(len(data))
        values = _values(artifact, data, rows, map_arrays(lambda part: part[None], goal), np.zeros_like(rows))
        measures, warnings = self._judge(artifact, data)
        how = f"distance {self.reward}, of {artifact.title} {artifact.digest[:12]} towards {_text(goal)}"
        steps = data.transitions
        near = np.zeros(len(data), bool)
        near[steps] = values[steps + 1] >= -self.within
        if self.reward == "within":
            if not near.any():
                best = -float(values[steps + 1].max())
                raise UsageError(
                    f"no state is within {self.within:g} of the goal; the nearest is at {best:.3g} (within)"
                )
            found = data.replace(told(f"{how}, within {self.within:g}", measures), successes=near)
            return Labelled(transform.sparse_success(found), measures, warnings)
        rewards = np.zeros(len(data), np.float32)
        rewards[steps] = values[steps + 1]
        discount = artifact.algorithm.view().discount if self.discount is None else self.discount
        if self.reward == "difference":
            rewards[steps] = discount * values[steps + 1] - values[steps]
        if self.reward == "shaped":
            if data.rewards is None:
                raise UsageError(f"{data.provenance.source} holds no rewards to be shaped; use difference (reward)")
            goes_on = discount * ~data.terminations[steps]
            rewards[steps] = data.rewards[steps] + goes_on * values[steps + 1] - values[steps]
        return Labelled(data.replace(told(how, measures), rewards=rewards, successes=None), measures, warnings)

    def _judge(self, artifact: Artifact, data: Dataset) -> tuple[tuple[Measure, ...], tuple[str, ...]]:
        """Whether states that lie further apart in episodes have lower values, by rank correlation."""
        rng = np.random.default_rng(self.seed)
        rows = rng.choice(data.transitions, min(PAIRS, data.steps), replace=False)
        later = rows + 1 + rng.integers(data.episode_end[rows] - rows)
        goals = map_arrays(lambda column: np.asarray(column[later]), data.observations)
        values = _values(artifact, data, rows, goals, np.arange(len(rows)))
        correlation = rank_correlation(-values, (later - rows).astype(float))
        # Two standard errors of no correlation at all, every episode counting once.
        limit = min(0.5, 2.0 / np.sqrt(len(np.unique(data.episode_start[rows]))))
        seen = artifact.data if isinstance(artifact.data, list) else [artifact.data]
        known = data.digest in [part.get("sha256") for part in seen]
        name = f"rank correlation of -V with steps, {'data that it learned from' if known else 'new data'}"
        warnings = []
        if not correlation > limit:
            warnings.append(
                f"the value does not tell near from far in this data (rank correlation with steps {correlation:.2f}); "
                "train it longer, or on data like this"
            )
        return (Measure(name, correlation, chance=0.0, percent=False),), tuple(warnings)


def read_goal(text: str, data: Dataset) -> Any:
    """A goal from the command line: JSON such as `[1.0, 2.0]` (an object of lists where observations have names), or a
    `.npz` file with `observation` (or `observation/NAME`).

    Raises `UsageError` or `DataError` for what is neither.
    """
    if text.endswith(".npz"):
        path = existing(text, "a goal, .npz with `observation`")
        columns = read_npz(Path(path))
        keys = {name: f"observation/{name}" if name else "observation" for name, _ in data.spec.observation}
        require(path, columns, *keys.values())
        goal = {name: columns[key] for name, key in keys.items()}
        return goal.get("", goal)
    try:
        content = json.loads(text)
        return map_arrays(lambda part: np.asarray(part, np.float32), content)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{text!r} is neither a .npz file nor an observation such as '[1.0, 2.0]' (goal)") from error


def _values(artifact: Artifact, data: Dataset, rows: np.ndarray, goals: Any, which: np.ndarray) -> np.ndarray:
    """(n,) V(s, g) at rows, mean over members. goals: (m, *shape); which: (n,) the goal of each row."""
    found = []
    for start in range(0, len(rows), BLOCK):
        # The last block is filled up, so that one compiled program serves all.
        part = np.resize(np.arange(start, min(start + BLOCK, len(rows))), min(BLOCK, len(rows)))
        looks = map_arrays(lambda column, part=part: np.asarray(column[rows[part]]), data.observations)
        wanted = map_arrays(lambda goal, part=part: goal[which[part]], goals)
        found.append(artifact.goal_values(looks, wanted).mean(0))
    return np.concatenate(found)[: len(rows)]


def _text(goal: Any) -> str:
    parts = goal if isinstance(goal, dict) else {"": goal}
    shown = (f"{f'{name} ' if name else ''}{np.array2string(np.ravel(part), precision=3, threshold=8, edgeitems=3)}"
             for name, part in parts.items())  # fmt: skip
    return ", ".join(" ".join(part.split()) for part in shown)

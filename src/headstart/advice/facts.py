"""What the rules look at: a few plain facts about data and task."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from headstart.data.columns import map_arrays, named_arrays
from headstart.data.dataset import Dataset
from headstart.data.inspect import Inspection, inspect
from headstart.diagnostics.statistics import distances
from headstart.envs import factory

FEW_EPISODES = 50
"""Up to so many episodes are a handful of demonstrations."""

SPARSE = 3
"""Up to so many different rewards are sparse."""

LOOKED_AT = 1000
"""States whose neighbours are looked for."""

NEAR = 5
"""Steps of ordinary movement within which a state of another episode is a neighbour."""


@dataclasses.dataclass(frozen=True)
class Facts:
    """env: where to go on and evaluate, or None. rewards: constant where they do not tell one behaviour from another.
    success: share of episodes with a success, None where nobody says. goals: whether the environment sets any. moving:
    whether these differ between episodes, which observations do not show.
    tasks: how many the data names. broken: columns with NaN or infinity. fits: whether the data takes less than half of
    the memory that is free. crossing: share of states near one of another episode, None where that cannot be told.
    """

    source: str
    env: str | None
    episodes: int
    steps: int
    length: float
    actions: Literal["none", "continuous", "discrete"]
    rewards: Literal["none", "constant", "sparse", "dense"]
    success: float | None
    best_gain: float
    goals: bool
    moving: bool
    tasks: int
    pixels: bool
    broken: tuple[str, ...]
    fits: bool
    beyond_one: int
    crossing: float | None

    @property
    def learnable(self) -> bool:
        """Whether the rewards tell what is better, by what is observed."""
        return self.rewards in ("sparse", "dense") and not self.moving

    @property
    def solved(self) -> bool:
        """Whether nearly every episode succeeds."""
        return self.success is not None and self.success >= 0.9

    @property
    def few(self) -> bool:
        return self.episodes <= FEW_EPISODES

    @classmethod
    def of(cls, data: Dataset, env: str | None = None) -> Facts:
        """Raises as `factory.make` for the environment."""
        found = inspect(data)
        goals = () if env is None else factory.goals(env, seeds=range(3))
        return cls(
            source=data.provenance.source,
            env=env,
            episodes=data.episodes,
            steps=data.steps,
            length=found.lengths.median,
            actions=_actions(data),
            rewards=_rewards(data),
            success=_success(data, found),
            best_gain=_best_gain(found),
            goals=bool(goals),
            moving=any(not np.array_equal(goal, goals[0]) for goal in goals),
            tasks=0 if data.task_table is None else len(data.task_table.names),
            pixels=any(part.dtype == "uint8" and len(part.shape) >= 2 for _, part in data.spec.observation),
            broken=tuple(column.name for column in found.columns if column.nonfinite_rows),
            fits=data.nbytes < 0.5 * _free(),
            beyond_one=found.actions_beyond_one or 0,
            crossing=_crossing(data),
        )

    def describe(self) -> tuple[str, ...]:
        """A line for each thing that was seen."""
        rewards = {"none": "no rewards", "constant": "the same reward everywhere"}.get(
            self.rewards, f"{self.rewards} rewards"
        )
        lines = [
            f"{self.episodes:,} episodes, {self.steps:,} steps, half of the episodes longer than {self.length:,.0f}",
            f"{'no' if self.actions == 'none' else self.actions} actions, {rewards}"
            + ("" if self.success is None else f", {self.success:.0%} of the episodes succeed"),
        ]
        if self.crossing is not None:
            lines.append(f"{self.crossing:.0%} of the states lie near one of another episode")
        lines += [f"{self.tasks} tasks"] * (self.tasks > 1) + ["images"] * self.pixels
        lines += [f"the environment sets {'another goal in every episode' if self.moving else 'goals'}"] * self.goals
        return tuple(lines)


def _actions(data: Dataset) -> str:
    if data.actions is None:
        return "none"
    return "discrete" if data.spec.action.discrete else "continuous"


def _rewards(data: Dataset) -> str:
    if data.rewards is None:
        return "none"
    rewards = np.asarray(data.rewards[data.transitions])
    kinds = len(np.unique(rewards[np.isfinite(rewards)]))
    return "constant" if kinds <= 1 else "sparse" if kinds <= SPARSE else "dense"


def _success(data: Dataset, found: Inspection) -> float | None:
    """What the data says; else, of sparse rewards, the share of episodes that got the highest."""
    if found.success_rate is not None or _rewards(data) != "sparse":
        return found.success_rate
    top = np.zeros(len(data), bool)
    steps = data.transitions
    top[steps] = data.rewards[steps] == data.rewards[steps].max()
    return float(np.logical_or.reduceat(top, data.starts).mean())


def _best_gain(found: Inspection) -> float:
    """How much better the best quarter of the episodes is than the median, as a share of the range of returns."""
    returns = found.returns
    if returns is None or returns.maximum <= returns.minimum:
        return 0.0
    return (returns.q75 - returns.median) / (returns.maximum - returns.minimum)


def _crossing(data: Dataset) -> float | None:
    """Share of states with a neighbour in another episode: where ways cross, parts of them can be joined."""
    if data.episodes < 2:
        return None
    rng = np.random.default_rng(0)
    rows = rng.choice(data.transitions, min(LOOKED_AT, data.steps), replace=False)

    def flat(rows):
        looks = map_arrays(lambda column: np.asarray(column[rows], np.float64), data.observations)
        return np.concatenate([part.reshape(len(rows), -1) for _, part in named_arrays(looks)], axis=1)

    here, ahead = flat(rows), flat(np.minimum(rows + NEAR, data.episode_end[rows]))
    if not (np.isfinite(here).all() and np.isfinite(ahead).all()):
        return None
    moved = np.median(np.sqrt(np.square(ahead - here).mean(1)))
    episode = data.episode_start[rows]
    apart = np.where(episode[:, None] == episode, np.inf, distances(here, here))
    return float((apart.min(1) <= moved).mean())


def _free() -> int:
    import psutil

    return psutil.virtual_memory().available

"""Evaluation by episodes, and what can be said of a mean of few of them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from headstart.data.columns import map_arrays
from headstart.envs.lanes import Actor, Lanes, play
from headstart.envs.open_loop import OpenLoop
from headstart.envs.references import reference
from headstart.envs.skills import Held, LowLevel
from headstart.envs.video import Take
from headstart.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Episode:
    """One evaluation episode.

    seed: the environment's. return_: undiscounted sum of rewards. length: decisions. success: whether any step solved
    the task, None where the environment does not say. task: its number, None where the environment has no choice.
    """

    seed: int
    return_: float
    length: int
    success: bool | None
    task: int | None = None

    def to_json(self) -> dict[str, Any]:
        line = {"seed": self.seed, "return": self.return_, "length": self.length, "success": self.success}
        return line if self.task is None else line | {"task": self.task}

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> Episode:
        """The inverse; `line` may hold more."""
        return cls(line["seed"], line["return"], line["length"], line["success"], line.get("task"))


def evaluate(
    act: Callable[..., np.ndarray],
    env: str | Lanes,
    *,
    episodes: int,
    seed: int,
    members: int = 1,
    lanes: int = 10,
    goals: bool = False,
    low: LowLevel | None = None,
    tape: dict[tuple[int, int], np.ndarray] | None = None,
) -> list[list[Episode]]:
    """Episodes of every one of `members` policies that act side by side: [member][episode], in order of seeds.

    act: as of `side_by_side`. Rows of lanes that have no more to do hold old observations, and their actions are
    ignored. goals: act takes the goals that the environments have set as well, like the observations. low: what carries
    act's decisions out where these are skills.
    Episode i of every member starts from the environment's seed `seed + i`, so members (and anything else evaluated
    with the same seed) are compared on the same start states.
    tape: is filled with every episode's actions, (member, seed) -> (T, *shape).
    env: a name for `factory.make`, closed afterwards; or open `Lanes`, a multiple of `members` of them, which stay
    open: opening is slow for some environments.

    Raises `UsageError` for unknown environments and those without goals where these are asked for, `TrainingError` for
    actions that are not finite.
    """
    for name, count in {"episodes": episodes, "members": members}.items():
        if count < 1:
            raise UsageError(f"an evaluation needs at least one {name[:-1]}, found {count} ({name})")
    if isinstance(env, str):
        with Lanes(env, members * max(1, min(lanes, episodes))) as opened:
            return evaluate(act, opened, episodes=episodes, seed=seed, members=members, goals=goals, low=low, tape=tape)
    if len(env) % members:
        raise UsageError(f"{env.name}: {len(env)} lanes cannot be shared evenly by {members} members")
    width = len(env) // members
    queues = [iter(range(seed, seed + episodes)) for _ in range(members)]
    results: list[list[Episode]] = [[] for _ in range(members)]
    for played in play(env, side_by_side(act, members, goals, low), queues, record=tape is not None):
        member = played.lane // width
        if tape is not None:
            tape[member, played.seed] = played.record["actions"]
        total, length = float(sum(played.rewards)), len(played.rewards)
        results[member].append(Episode(played.seed, total, length, played.success, played.task))
    return [sorted(result, key=lambda episode: episode.seed) for result in results]


def side_by_side(
    act: Callable[..., np.ndarray], members: int, goals: bool = False, low: LowLevel | None = None
) -> Actor:
    """An actor for lanes that `members` policies share evenly, neighbouring lanes for each.

    act: observations with leading axes (members, lanes of each) -> environment actions with the same leading axes, or
    chunks of h actions (members, lanes of each, h, *shape), which are executed before it is asked again.
    goals: it takes the goals of the episodes as well. low: then it gives skills (members, lanes of each, k).
    """

    def actor(lanes: Lanes) -> np.ndarray:
        width = len(lanes) // members

        def grouped(observations: Any) -> Any:
            return map_arrays(lambda part: part.reshape(members, width, *part.shape[1:]), observations)

        sights = (lanes.observations, lanes.goals) if goals else (lanes.observations,)
        actions = np.asarray(act(*map(grouped, sights)))
        expected = (members, width, *(lanes.action_space.shape if low is None else (low.size,)))
        if expected not in (actions.shape, actions.shape[:2] + actions.shape[3:]):
            raise UsageError(f"{lanes.name}: the policy's actions have shape {actions.shape}, expected {expected}")
        return actions.reshape(members * width, *actions.shape[2:])

    return OpenLoop(actor) if low is None else Held(actor, low)


def interval(
    values: Any, confidence: float = 0.95, seed: int = 0, sample_members: bool = False, resamples: int = 2000
) -> tuple[float, float, float]:
    """Mean of the values and its percentile bootstrap interval: (mean, low, high).

    values: (episodes,), or (members, episodes): then episodes are drawn within each member (stratified), which says
    how well the score of *these* members is known. With `sample_members` members are drawn first, which says what
    other training seeds would give; three members say little about it.
    A bootstrap cannot see beyond the data: of values that are all equal the interval is empty.
    """
    values = np.atleast_2d(np.asarray(values, float))
    if values.ndim != 2 or values.size == 0:
        raise UsageError(f"an interval needs values of shape (episodes,) or (members, episodes), found {values.shape}")
    members, episodes = values.shape
    rng = np.random.default_rng(seed)
    drawn = rng.integers(members, size=(resamples, members)) if sample_members else np.arange(members)[None]
    columns = rng.integers(episodes, size=(resamples, members, episodes))
    means = values[drawn[:, :, None], columns].mean((1, 2))
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return float(values.mean()), float(low), float(high)


def bounds(low: float, high: float, form: str) -> str:
    """An interval as text: `[43, 71]`; `[all alike]` where resampling finds no spread, which says nothing of how far
    the value would be off in other episodes."""
    return "[all alike]" if low == high else f"[{low:{form}}, {high:{form}}]"


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Episodes of every training seed, and their means with 95% bootstrap intervals (mean, low, high).

    returns: undiscounted. success: share of episodes that solved the task, None where the environment never says.
    """

    env: str
    seeds: tuple[int, ...]
    episodes: list[list[Episode]]

    @property
    def returns(self) -> tuple[float, float, float]:
        return interval([[episode.return_ for episode in member] for member in self.episodes])

    @property
    def success(self) -> tuple[float, float, float] | None:
        solved = [[episode.success for episode in member] for member in self.episodes]
        if any(value is None for member in solved for value in member):
            return None
        return interval(np.asarray(solved, float))

    def across_seeds(self, score: Literal["success", "return"]) -> tuple[float, float, float]:
        """The same mean with an interval in which training seeds are drawn too: of the method, not of these models.

        Raises `UsageError` where the environment never says what success is.
        """
        if score == "success" and self.success is None:
            raise UsageError(f"{self.env} does not say whether an episode solved the task (`success` in its info)")
        name = "success" if score == "success" else "return_"
        values = [[float(getattr(episode, name)) for episode in member] for member in self.episodes]
        return interval(values, sample_members=True)

    @property
    def tasks(self) -> dict[int, float]:
        """Share of successes in the episodes of each task, over all training seeds; {} where there is no choice."""
        solved: dict[int, list[bool]] = {}
        for episode in itertools.chain(*self.episodes):
            if episode.task is not None and episode.success is not None:
                solved.setdefault(episode.task, []).append(episode.success)
        return {task: float(np.mean(solved[task])) for task in sorted(solved)}

    @property
    def normalized(self) -> tuple[float, float, float] | None:
        """D4RL's normalised score: 0 for a random policy's return, 100 for an expert's; None without references."""
        pair = reference(self.env)
        if pair is None:
            return None
        mean, low, high = (100.0 * (value - pair[0]) / (pair[1] - pair[0]) for value in self.returns)
        return mean, low, high

    @property
    def extremes(self) -> dict[str, tuple[int, Episode]]:
        """The best, the median and the worst episode with the index of its training seed, by success, then by return.
        Fewer where there are fewer than three episodes."""
        ranked = [(index, episode) for index, member in enumerate(self.episodes) for episode in member]
        ranked.sort(key=lambda pair: (bool(pair[1].success), pair[1].return_), reverse=True)
        places = {len(ranked) // 2: "median", len(ranked) - 1: "worst", 0: "best"}
        return {name: ranked[place] for place, name in sorted(places.items())}

    def to_json(self) -> dict[str, Any]:
        return {
            "env": self.env,
            "seeds": list(self.seeds),
            "returns": list(self.returns),
            "normalized": None if self.normalized is None else list(self.normalized),
            "success": None if self.success is None else list(self.success),
            "episodes": [[episode.to_json() for episode in member] for member in self.episodes],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Evaluation:
        episodes = [[Episode.from_json(episode) for episode in member] for member in data["episodes"]]
        return cls(data["env"], tuple(data["seeds"]), episodes)

    def member(self, index: int) -> Evaluation:
        """The episodes of one training seed."""
        return Evaluation(self.env, self.seeds[index : index + 1], self.episodes[index : index + 1])

    def describe(self) -> str:
        """Short text: `return -63.2 [-70.1, -55.0], success 57% [43, 71] (50 episodes x 3 seeds)`."""
        mean, low, high = self.returns
        text = f"return {mean:.4g} {bounds(low, high, '.4g')}"
        if self.success is not None:
            mean, low, high = (100.0 * value for value in self.success)
            text += f", success {mean:.0f}% {bounds(low, high, '.0f')}"
        if self.normalized is not None:
            mean, low, high = self.normalized
            text += f", normalised {mean:.1f} {bounds(low, high, '.1f')}"
        if len(self.tasks) > 1:
            text += f", by task {' '.join(f'{100.0 * share:.0f}%' for share in self.tasks.values())}"
        return f"{text} ({len(self.episodes[0])} episodes x {len(self.seeds)} seed{'s' * (len(self.seeds) > 1)})"


def takes(evaluation: Evaluation, tape: Mapping[tuple[int, int], np.ndarray]) -> list[Take]:
    """The best, the median and the worst episode. tape: (index of the training seed, seed) -> actions."""
    takes = []
    for name, (index, episode) in evaluation.extremes.items():
        who = f" of training seed {evaluation.seeds[index]}" if len(evaluation.seeds) > 1 else ""
        solved = "" if episode.success is None else ", solved" if episode.success else ", not solved"
        caption = f"{name}: seed {episode.seed}{who}, return {episode.return_:.4g}{solved}"
        takes.append(Take(episode.seed, tape[index, episode.seed], episode.return_, caption))
    return takes

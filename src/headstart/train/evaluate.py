"""Evaluation by episodes, and what can be said of a mean of few of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from headstart.envs.lanes import Lanes, play
from headstart.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Episode:
    """One evaluation episode.

    seed: the environment's. return_: undiscounted sum of rewards. length: decisions. success: whether any step solved
    the task, None where the environment does not say.
    """

    seed: int
    return_: float
    length: int
    success: bool | None

    def to_json(self) -> dict[str, Any]:
        return {"seed": self.seed, "return": self.return_, "length": self.length, "success": self.success}


def evaluate(
    act: Callable[[Any], np.ndarray],
    env: str | Lanes,
    *,
    episodes: int,
    seed: int,
    members: int = 1,
    lanes: int = 10,
) -> list[list[Episode]]:
    """Episodes of every one of `members` policies that act side by side: [member][episode], in order of seeds.

    act: observations with leading axes (members, lanes) -> environment actions with the same leading axes. Rows of
    lanes that have no more to do hold old observations, and their actions are ignored.
    Episode i of every member starts from the environment's seed `seed + i`, so members (and anything else evaluated
    with the same seed) are compared on the same start states.
    env: a name for `factory.make`, closed afterwards; or open `Lanes`, a multiple of `members` of them, which stay
    open: opening is slow for some environments.

    Raises `UsageError` for unknown environments, `TrainingError` for actions that are not finite.
    """
    if episodes < 1 or members < 1:
        raise UsageError(f"evaluation needs at least one episode and member, found {episodes} and {members}")
    if isinstance(env, str):
        with Lanes(env, members * max(1, min(lanes, episodes))) as opened:
            return evaluate(act, opened, episodes=episodes, seed=seed, members=members)
    if len(env) % members:
        raise UsageError(f"{env.name}: {len(env)} lanes cannot be shared evenly by {members} members")
    width = len(env) // members

    def actor(opened: Lanes) -> np.ndarray:
        observations = opened.observations
        if isinstance(observations, dict):
            observations = {name: part.reshape(members, width, *part.shape[1:]) for name, part in observations.items()}
        else:
            observations = observations.reshape(members, width, *observations.shape[1:])
        actions = np.asarray(act(observations))
        if actions.shape != (members, width, *opened.action_space.shape):
            raise UsageError(
                f"{opened.name}: the policy's actions have shape {actions.shape}, "
                f"expected {(members, width, *opened.action_space.shape)}"
            )
        return actions.reshape(members * width, *actions.shape[2:])

    queues = [iter(range(seed, seed + episodes)) for _ in range(members)]
    results: list[list[Episode]] = [[] for _ in range(members)]
    for played in play(env, actor, queues):
        episode = Episode(played.seed, float(sum(played.rewards)), len(played.rewards), played.success)
        results[played.lane // width].append(episode)
    return [sorted(result, key=lambda episode: episode.seed) for result in results]


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

"""Lanes: copies of an environment side by side, each playing episodes of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from headstart.envs import factory
from headstart.errors import TrainingError, UsageError

Actor = Callable[["Lanes"], np.ndarray]
"""Lanes -> raw environment actions (count, *shape); the rows of lanes that do not run are ignored."""


class Lanes:
    """`count` copies of an environment. A lane runs from its reset to the end of its episode; while it does not, it
    is not stepped and shows its last observation (zeros before the first).

    running: (count,) bool. elapsed: (count,) decisions taken in the episode. seeds: (count,) seed of the episode.
    infos:   the last info of every lane. tasks: the number of the episode's task, None where there is no choice.
    cut:     (count,) bool, whether a time limit came in the middle of the last decision (`skills.SkillLanes` alone).

    Use as a context manager, or call `close`. Raises as `factory.make`.
    """

    def __init__(self, env: str, count: int):
        if count < 1:
            raise UsageError(f"{env}: expected at least one environment, found {count}")
        self.name = env
        self.envs = []
        try:
            for _ in range(count):
                self.envs.append(factory.make(env))
        except BaseException:
            self.close()
            raise
        self.running = np.zeros(count, bool)
        self.elapsed = np.zeros(count, int)
        self.seeds = np.zeros(count, int)
        self.infos: list[dict[str, Any]] = [{} for _ in range(count)]
        self.tasks: list[int | None] = [None] * count
        self.cut = np.zeros(count, bool)
        self.action_space = self.envs[0].action_space
        self._observations = [_zeros(self.envs[0].observation_space)] * count
        self._goals = list(self._observations)

    def __len__(self) -> int:
        return len(self.envs)

    def __enter__(self) -> Lanes:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        for env in self.envs:
            env.close()

    @property
    def observations(self) -> Any:
        """(count, *shape), or a dict of such arrays; a copy."""
        return _stacked(self._observations)

    @property
    def goals(self) -> Any:
        """The goals that the environments set for the present episodes, like `observations`; a copy.

        Raises `UsageError` where they set none.
        """
        for lane in range(len(self)):
            self.goal(lane)
        return _stacked(self._goals)

    def observation(self, lane: int) -> Any:
        """The present observation of one lane; never written to again."""
        return self._observations[lane]

    def goal(self, lane: int) -> Any:
        """The goal of one lane's episode, like an observation. Raises `UsageError` where the environment sets none."""
        if self._goals[lane] is None:
            raise UsageError(f"{self.name} sets no goal for its episodes (no 'goal' in the info of its reset)")
        return self._goals[lane]

    def reset(self, lane: int, seed: int) -> None:
        """Start an episode that `seed` decides."""
        self._observations[lane], info = self.envs[lane].reset(seed=int(seed))
        self.infos[lane], self._goals[lane], self.tasks[lane] = info, info.get("goal"), info.get("task")
        self.running[lane], self.elapsed[lane], self.seeds[lane] = True, 0, seed

    def step(self, actions: np.ndarray) -> list[tuple[int, float, bool, bool | None]]:
        """Step the running lanes; (lane, reward, terminated, success) of each. Ended lanes run no more.

        Raises `TrainingError` for actions that are NaN or infinite.
        """
        return [(int(lane), *self.step_lane(lane, actions[lane])) for lane in np.flatnonzero(self.running)]

    def step_lane(self, lane: int, action: np.ndarray) -> tuple[float, bool, bool | None]:
        """Step one running lane; (reward, terminated, success). Raises as `step`."""
        from headstart.envs.wrappers import success_in

        if not np.isfinite(action).all():
            raise TrainingError(
                f"{self.name}: the policy's action is not finite in step {self.elapsed[lane]} "
                f"of the episode with seed {self.seeds[lane]}"
            )
        observation, reward, terminated, truncated, info = self.envs[lane].step(action)
        self._observations[lane], self.infos[lane] = observation, info
        self.elapsed[lane] += 1
        self.running[lane] = not (terminated or truncated)
        return float(reward), bool(terminated), success_in(info)


@dataclasses.dataclass
class Played:
    """A finished episode of T steps.

    success: whether any of its steps solved the task; None where the environment never says.
    task:    its number, None where the environment has no choice of them.
    record:  the episode for `Dataset.from_episodes`, None unless asked for.
    """

    lane: int
    seed: int
    rewards: list[float]
    success: bool | None
    task: int | None
    record: dict[str, Any] | None


def play(lanes: Lanes, act: Actor, queues: Sequence[Iterator[int]], record: bool = False) -> Iterator[Played]:
    """Play episodes until the queues are empty; each is yielded when it ends.

    queues: iterators of episode seeds, one per group of `count / len(queues)` neighbouring lanes. A lane whose episode
    ended takes the next seed of its group. Which lane gets which episode depends on episode lengths only, and an
    episode depends on its seed only (given an actor that treats its rows alike).
    """
    group = len(lanes) // len(queues)
    open_episodes: dict[int, _Recorder] = {}

    def start(lane: int) -> None:
        seed = next(queues[lane // group], None)
        if seed is not None:
            lanes.reset(lane, seed)
            open_episodes[lane] = _Recorder(lanes.observation(lane) if record else None)

    for lane in range(group * len(queues)):
        start(lane)
    while open_episodes:
        actions = np.asarray(act(lanes))
        for lane, reward, terminated, success in lanes.step(actions):
            episode = open_episodes[lane]
            episode.add(actions[lane], lanes.observation(lane), reward, success)
            if not lanes.running[lane]:
                yield episode.finish(lane, lanes, terminated)
                del open_episodes[lane]
                start(lane)


class _Recorder:
    """What has happened in an episode that is being played."""

    def __init__(self, observation: Any | None):
        self.keep = observation is not None
        self.observations, self.actions, self.rewards, self.successes = [observation], [], [], []

    def add(self, action: Any, observation: Any, reward: float, success: bool | None) -> None:
        self.rewards.append(reward)
        self.successes.append(success)
        if self.keep:
            self.actions.append(np.array(action))
            self.observations.append(observation)

    def finish(self, lane: int, lanes: Lanes, terminated: bool) -> Played:
        said = [success for success in self.successes if success is not None]
        record = None
        if self.keep:
            record = {
                "observations": _stacked(self.observations),
                "actions": np.stack(self.actions),
                "rewards": np.asarray(self.rewards, np.float32),
                "terminated": terminated,
            }
            if said:
                record["successes"] = np.array([bool(success) for success in self.successes])
        seed, task = int(lanes.seeds[lane]), lanes.tasks[lane]
        return Played(lane, seed, self.rewards, any(said) if said else None, task, record)


def _stacked(observations: list[Any]) -> Any:
    """Observations one after the other: (n, *shape), or a dict of such arrays."""
    first = observations[0]
    if isinstance(first, dict):
        return {name: np.array([observation[name] for observation in observations]) for name in first}
    return np.array(observations)


def _zeros(space: Any) -> Any:
    if hasattr(space, "spaces"):
        return {name: _zeros(part) for name, part in space.spaces.items()}
    return np.zeros(space.shape, space.dtype)

"""Wrappers of single environments; `factory.make` puts them on."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from headstart.algorithm import ACHIEVED, DESIRED
from headstart.data.columns import SUCCESS_KEYS
from headstart.envs.seeding import global_random
from headstart.errors import UsageError


def success_in(info: dict[str, Any]) -> bool | None:
    """Whether a step's info says that the task is solved; None where it says nothing."""
    for key in SUCCESS_KEYS:
        if key in info:
            return bool(np.all(info[key]))
    return None


class Images(gymnasium.Wrapper):
    """An environment that shows images of so many pixels, and says so: OGBench's always announce 64."""

    def __init__(self, env: gymnasium.Env, pixels: int):
        super().__init__(env)
        self.observation_space = spaces.Box(0, 255, (pixels, pixels, 3), np.uint8)


class OwnRandomness(gymnasium.Wrapper):
    """A seed decides everything: the environment gets a stream of its own in place of NumPy's global generator."""

    def __init__(self, env: gymnasium.Env):
        super().__init__(env)
        self._bits = np.random.MT19937()
        base = self.unwrapped
        if isinstance(getattr(type(base), "action_space", None), property):
            # A new space at every look draws from the system's entropy: no seed would reach it.
            kind = type(base)
            base.__class__ = type(kind.__name__, (kind,), {"action_space": base.action_space})

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        if seed is not None:
            self._bits = np.random.MT19937(seed)
            # Some environments settle by random actions before an episode.
            self.unwrapped.action_space.seed(seed)
        with global_random(self._bits):
            return self.env.reset(seed=seed, options=options)

    def step(self, action):
        with global_random(self._bits):
            return self.env.step(action)


class Tasks(gymnasium.Wrapper):
    """One task of an environment that has several, as OGBench's with their goals: always the same, or the seed of an
    episode chooses, so that seeds that follow each other take the tasks in turn. Others stay as they are.

    info of reset: `task`, its number from 1 on. Raises `UsageError` for a task that is not there.
    """

    def __init__(self, env: gymnasium.Env, task: int | None = None):
        super().__init__(env)
        base = self.unwrapped
        # OGBench's environments for a single task, and those that collect data, take no choice.
        fixed = getattr(base, "_reward_task_id", None) is not None or getattr(base, "_mode", "task") != "task"
        self._count = 0 if fixed else getattr(base, "num_tasks", 0)
        self._task = task
        if task is not None and not self._count:
            raise UsageError("there is no choice of tasks here; leave task out")
        if task is not None and not (type(task) is int and 1 <= task <= self._count):
            raise UsageError(f"task must be a whole number from 1 to {self._count}, found {task!r}")

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        options = options or {}
        task = options.get("task_id", self._task)
        if task is None and seed is not None and self._count:
            task = 1 + seed % self._count
        if task is None:
            return self.env.reset(seed=seed, options=options)
        observation, info = self.env.reset(seed=seed, options=options | {"task_id": task})
        return observation, info | {"task": task}


class PlainObservations(gymnasium.ObservationWrapper):
    """Observations as networks take them: float32 (bytes stay bytes), discrete ones as one-hot vectors; so are goals.

    Serves Box, Discrete and Dict of these; other spaces stay as they are.
    """

    def __init__(self, env: gymnasium.Env):
        super().__init__(env)
        self._space = env.observation_space
        self.observation_space = _plain_space(self._space)

    def observation(self, observation):
        return _plain(self._space, observation)

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        observation, info = super().reset(seed=seed, options=options)
        if "goal" in info:
            info = info | {"goal": _plain(self._space, info["goal"])}
        return observation, info


def _plain_space(space: spaces.Space) -> spaces.Space:
    if isinstance(space, spaces.Dict):
        return spaces.Dict({name: _plain_space(part) for name, part in space.spaces.items()})
    if isinstance(space, spaces.Discrete):
        return spaces.Box(0.0, 1.0, (int(space.n),), np.float32)
    if isinstance(space, spaces.Box) and space.dtype not in (np.uint8, np.float32):
        with np.errstate(over="ignore"):
            return spaces.Box(space.low.astype(np.float32), space.high.astype(np.float32), space.shape, np.float32)
    return space


def _plain(space: spaces.Space, value: Any) -> Any:
    if isinstance(space, spaces.Dict):
        return {name: _plain(part, value[name]) for name, part in space.spaces.items()}
    if isinstance(space, spaces.Discrete):
        one_hot = np.zeros(int(space.n), np.float32)
        one_hot[int(value) - int(space.start)] = 1.0
        return one_hot
    # A copy in any case: some environments write the next observation into the same array.
    return np.array(value, np.uint8 if space.dtype == np.uint8 else np.float32)


class DesiredGoals(gymnasium.Wrapper):
    """Where to go is taken out of observations and handed out when an episode begins, as `goal` in the info of reset:
    an observation that has achieved it.

    Serves the arrays `achieved_goal` and `desired_goal` of Gymnasium-Robotics; raises `UsageError` where these are not.
    """

    def __init__(self, env: gymnasium.Env):
        super().__init__(env)
        parts = getattr(env.observation_space, "spaces", {})
        if not {ACHIEVED, DESIRED} <= parts.keys():
            raise UsageError(f"goal=1 is for observations with {ACHIEVED} and {DESIRED}; leave it out")
        self.observation_space = spaces.Dict({name: part for name, part in parts.items() if name != DESIRED})

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        observation, info = self.env.reset(seed=seed, options=options)
        goal = {**observation, ACHIEVED: observation[DESIRED]}
        return self._seen(observation), info | {"goal": self._seen(goal)}

    def step(self, action):
        observation, *outcome = self.env.step(action)
        return self._seen(observation), *outcome

    def _seen(self, observation: dict[str, Any]) -> dict[str, Any]:
        return {name: part for name, part in observation.items() if name != DESIRED}


class ActionRepeat(gymnasium.Wrapper):
    """One decision is the same action `times` times; stops early where the episode ends.

    reward: the sum. info: the last step's, with `success` where any of the steps said so.
    until_success: stop at the first success as well.
    """

    def __init__(self, env: gymnasium.Env, times: int, until_success: bool = False):
        super().__init__(env)
        self._times = times
        self._until_success = until_success

    def step(self, action):
        total, success = 0.0, None
        for _ in range(self._times):
            observation, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            now = success_in(info)
            success = now if success is None else success or bool(now)
            if terminated or truncated or (self._until_success and now):
                break
        if success is not None:
            info = {**info, SUCCESS_KEYS[0]: success}
        return observation, total, terminated, truncated, info


class SuccessReward(gymnasium.Wrapper):
    """Reward -1 for every decision until the task is solved; 0 and termination at the one that solves it.

    Raises `UsageError` at the first step where the environment's info says nothing of success.
    """

    def step(self, action):
        observation, _, terminated, truncated, info = self.env.step(action)
        success = success_in(info)
        if success is None:
            raise UsageError(
                f"sparse=1 needs an environment whose step info holds one of {', '.join(SUCCESS_KEYS)}; "
                f"that of {self.env} holds {', '.join(info) or 'nothing'}"
            )
        return observation, 0.0 if success else -1.0, bool(terminated) or success, truncated, info

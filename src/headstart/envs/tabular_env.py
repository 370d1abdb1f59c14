"""A tabular problem as a Gymnasium environment (apart from `tabular`, which must not need Gymnasium)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import gymnasium
import numpy as np
from gymnasium import spaces

from headstart.errors import UsageError

if TYPE_CHECKING:
    from headstart.envs.tabular import TabularMDP


class TabularEnv(gymnasium.Env):
    """Steps through `mdp`; `state` is the index of the present state.

    info: `success`, whether a terminal state was entered (absent where the problem has none).
    """

    def __init__(self, mdp: TabularMDP, continuous: bool = False):
        self.mdp = mdp
        self.state = 0
        self._continuous = continuous
        self.observation_space = spaces.Box(0.0, 1.0, (mdp.states,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32) if continuous else spaces.Discrete(mdp.actions)

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        super().reset(seed=seed)
        self.state = int(self.np_random.choice(self.mdp.states, p=self.mdp.start))
        return self.mdp.one_hot(self.state), {}

    def step(self, action):
        action = int(self.mdp.bin(action) if self._continuous else action)
        reward = float(self.mdp.reward[self.state, action])
        self.state = int(self.np_random.choice(self.mdp.states, p=self.mdp.transition[self.state, action]))
        terminated = bool(self.mdp.terminal[self.state])
        info = {"success": terminated} if self.mdp.terminal.any() else {}
        return self.mdp.one_hot(self.state), reward, terminated, False, info


class TabularGoalEnv(TabularEnv):
    """Steps through `mdp`, whose rewards and terminal states do not count, until a goal is entered.

    There is a task for every state in which no episode starts, as OGBench's environments have theirs: reset takes
    `options={"task_id": i}` (from 1 on; otherwise one is drawn) and gives `goal`, an observation, in its info. Reward 1
    and termination at the goal, 0 before it. info: `success`.
    """

    def __init__(self, mdp: TabularMDP, continuous: bool = False):
        super().__init__(mdp.endless, continuous)
        self._goals = np.flatnonzero(mdp.start == 0.0)
        self.num_tasks = len(self._goals)

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        observation, _ = super().reset(seed=seed)
        task = (options or {}).get("task_id") or int(self.np_random.integers(self.num_tasks)) + 1
        self.goal = int(self._goals[task - 1])
        return observation, {"goal": self.mdp.one_hot(self.goal)}

    def step(self, action):
        observation, *_ = super().step(action)
        reached = self.state == self.goal
        return observation, float(reached), reached, False, {"success": reached}


class DrawnState(gymnasium.ObservationWrapper):
    """The states as images (n, n, 3): cells in rows, as many as the square of cells is wide; the state's is lit.

    Goals are images too. Raises `UsageError` for fewer pixels than a side has cells.
    """

    def __init__(self, env: gymnasium.Env, pixels: int):
        super().__init__(env)
        states = env.observation_space.shape[0]
        side = math.isqrt(states - 1) + 1
        if pixels < side:
            raise UsageError(f"{states} states need at least {side} pixels each way, found {pixels}")
        # Which cell a pixel is of.
        at = np.arange(pixels) * side // pixels
        self._cells = at[:, None] * side + at
        self.observation_space = spaces.Box(0, 255, (pixels, pixels, 3), np.uint8)

    def observation(self, observation):
        image = np.where(self._cells == observation.argmax(), 255, 32)
        return np.repeat(image[..., None], 3, axis=-1).astype(np.uint8)

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        observation, info = super().reset(seed=seed, options=options)
        return observation, info | {"goal": self.observation(info["goal"])} if "goal" in info else info

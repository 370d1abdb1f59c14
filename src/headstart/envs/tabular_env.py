"""A tabular problem as a Gymnasium environment (apart from `tabular`, which must not need Gymnasium)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gymnasium
import numpy as np
from gymnasium import spaces

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

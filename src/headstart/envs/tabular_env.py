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

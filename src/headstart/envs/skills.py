"""Skills as actions: environments whose decisions a low level carries out, each for some steps, seeing every state."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np

from headstart.envs.lanes import Lanes


class LowLevel(Protocol):
    """What carries skills out.

    steps: of the environment that a skill lasts. size: numbers of a skill, each in [-1, 1].
    """

    steps: int
    size: int

    def act(self, observations: Any, skills: Any) -> np.ndarray:
        """Raw actions (n, *shape) for raw observations (n, *shape) and the skills (n, size) in force."""


class SkillLanes(Lanes):
    """Lanes whose actions are skills: a step of theirs is a decision, carried out for `low.steps` steps, or up to the
    episode's end.

    The reward of a decision is the sum of its rewards, discounted within it by the root of `discount`, which is per
    decision: returns are then those of the environment's steps. success: whether any of the steps solved the task.
    elapsed counts steps of the environment. A time limit may come in the middle of a decision: `cut` says so, since
    what such a decision is worth does not show.
    """

    def __init__(self, env: str, count: int, low: LowLevel, discount: float):
        from gymnasium.spaces import Box

        super().__init__(env, count)
        self.action_space = Box(-1.0, 1.0, (low.size,), np.float32)
        self._low, self._factor = low, discount ** (1.0 / low.steps)

    def step(self, actions: np.ndarray) -> list[tuple[int, float, bool, bool | None]]:
        return self._carry_out(np.flatnonzero(self.running), actions)

    def step_lane(self, lane: int, action: np.ndarray) -> tuple[float, bool, bool | None]:
        # All rows, as in `step`: a product of one row rounds otherwise.
        ((_, *outcome),) = self._carry_out([lane], np.broadcast_to(action, (len(self), *np.shape(action))))
        return tuple(outcome)

    def _carry_out(self, chosen: Iterable[int], skills: np.ndarray) -> list[tuple[int, float, bool, bool | None]]:
        outcomes = {int(lane): (0.0, False, None) for lane in chosen}
        for i in range(self._low.steps):
            under_way = [lane for lane in outcomes if self.running[lane]]
            if not under_way:
                break
            actions = self._low.act(self.observations, skills)
            for lane in under_way:
                total, _, success = outcomes[lane]
                reward, terminated, now = super().step_lane(lane, actions[lane])
                success = now if success is None else success or bool(now)
                outcomes[lane] = total + self._factor**i * reward, terminated, success
                self.cut[lane] = not (self.running[lane] or terminated) and i + 1 < self._low.steps
        return [(lane, *outcome) for lane, outcome in outcomes.items()]


class Held:
    """An actor for plain lanes that decides on a skill when an episode begins and then every `low.steps` steps, and has
    it carried out in between.

    decide: lanes (and whatever else the call was given) -> skills (count, size); what it gives for lanes in the middle
    of a skill is ignored.
    """

    def __init__(self, decide: Callable[..., Any], low: LowLevel):
        self._decide, self._low = decide, low
        self._skills: np.ndarray | None = None

    def __call__(self, lanes: Lanes, *more: Any) -> np.ndarray:
        begins = lanes.elapsed % self._low.steps == 0
        if begins[lanes.running].any():
            decided = np.asarray(self._decide(lanes, *more))
            self._skills = decided if self._skills is None else np.where(begins[:, None], decided, self._skills)
        return self._low.act(lanes.observations, self._skills)

"""One minibatch: what every loss and algorithm sees of the data."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
    """B rows of experience; absent fields are None. Every leaf has the leading axis B.

    observation:      (B, *shape), or a dict of such arrays; normalised.
    action:           (B, d) in [-1, 1], or (B,) int32 for discrete actions. Chunks of h actions: (B, h, d), taken at
                      `observation` and at the steps after it; what stands beyond the episode's end never was.
    valid:            (B, h) bool, which actions of a chunk lie inside the episode.
    chunk_observation: like observation, (B, h, *shape): what is seen at each action of a chunk.
    reward:           (B,) n-step sum of discounted, transformed rewards.
    discount:         (B,) gamma**n * (1 - terminated): the factor of the value at `next_observation`. Losses never
                      see `done`, so a time limit cannot be mistaken for an end.
    next_observation: like observation, n steps on (fewer where the episode ends earlier).
    next_action:      like action, taken at `next_observation`; the episode's last action where it ended there.
    mc_return:        (B,) discounted return-to-go; a valid lower bound where the episode was cut off.
    context:          (B, c) goal, skill or task; where the actor has goals of its own, that of the values. With goals
                      drawn in hindsight `reward` is -1 until the goal and 0 at it, and `discount` is 0 at the goal and
                      at the step into it.
    actor_context:    (B, c) the goal on which the actor learns.
    intention:        (B, c) the goal under which steps are judged as good or not, with `intention_reward` and
                      `intention_discount` (B,), which are as `reward` and `discount` of a goal.
    shared:           (B,) bool, the row was recorded for another task and relabelled for its own.
    low_goal:         like observation, a fixed number of steps on (fewer where the episode ends earlier).
    high_target:      like observation: `low_goal`, or the actor's goal where that comes earlier in the episode.
    """

    observation: Any
    action: Any = None
    reward: Any = None
    discount: Any = None
    next_observation: Any = None
    next_action: Any = None
    mc_return: Any = None
    context: Any = None
    actor_context: Any = None
    low_goal: Any = None
    high_target: Any = None
    shared: Any = None
    valid: Any = None
    chunk_observation: Any = None
    intention: Any = None
    intention_reward: Any = None
    intention_discount: Any = None

    @property
    def size(self) -> int:
        """B."""
        return jax.tree.leaves(self.observation)[0].shape[0]

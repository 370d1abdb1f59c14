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
    action:           (B, d) in [-1, 1], or (B,) int32 for discrete actions.
    reward:           (B,) n-step sum of discounted, transformed rewards.
    discount:         (B,) gamma**n * (1 - terminated): the factor of the value at `next_observation`. Losses never
                      see `done`, so a time limit cannot be mistaken for an end.
    next_observation: like observation, n steps on (fewer where the episode ends earlier).
    next_action:      like action, taken at `next_observation`; the episode's last action where it ended there.
    mc_return:        (B,) discounted return-to-go; a valid lower bound where the episode was cut off.
    context:          (B, c) goal, skill or task.
    """

    observation: Any
    action: Any = None
    reward: Any = None
    discount: Any = None
    next_observation: Any = None
    next_action: Any = None
    mc_return: Any = None
    context: Any = None

    @property
    def size(self) -> int:
        """B."""
        return jax.tree.leaves(self.observation)[0].shape[0]

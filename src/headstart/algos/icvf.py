"""Intention-conditioned value functions."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

from headstart import config
from headstart.algorithm import GoalPart, Goals, View
from headstart.algos.goals import advantage_regression, sizes, sound_goals, step_advantage
from headstart.algos.shared import advance, fresh_state, step_all
from headstart.lazy import jax, nets, optim


@dataclasses.dataclass(frozen=True)
class ICVF:
    """Intention-conditioned value functions (Ghosh et al. 2023): a representation from observations alone.

    V(s, s+, z) = phi(s)^T T(z) psi(s+) is minus the time to the outcome s+ of one who intends to reach z. A step counts
    as chosen for z where it brings z nearer, so neither actions nor rewards are needed. There is no policy: phi, the
    hidden layers and the value V(s, g, g) serve other algorithms (docs/algorithms/passive.md).
    """

    expectile: float = 0.9
    """Weight of the steps that bring the intention nearer; the others have one minus that."""
    critic_widths: tuple[int, ...] = (256, 256)
    """Hidden layers of phi, psi and T; the last of them is the size of phi."""
    activation: Literal["gelu", "relu"] = "gelu"
    """Of the hidden layers (published: gelu). relu lets IQL, SAC and others start from them."""
    layer_norm: bool = False
    """LayerNorm after each activation."""
    critic_lr: float = 3e-4
    """Adam learning rate."""
    tau: float = 5e-3
    """Share of the online value that moves into the target each update."""
    discount: float = 0.99
    """gamma per step: beyond 1 / (1 - gamma) steps all is equally far."""
    batch_size: int = 256
    """Rows of a batch."""
    value_goals: tuple[float, float, float] = (0.2, 0.5, 0.3)
    """Shares of outcomes, and of intentions, that are the row's own observation, a later one of its episode, any of the
    data."""
    value_geometric: bool = False
    """Later ones Geometric(1 - discount) steps ahead, else uniformly up to the episode's end (published)."""
    same_goal: float = 0.5
    """Share of the rows whose outcome is their intention."""
    goal_array: str = ""
    """Name of the array of observations that outcomes and intentions are, where they have names."""
    goal_entries: tuple[int, ...] = ()
    """Entries of that array; none: all."""

    representation: ClassVar[str] = "value"

    def __post_init__(self):
        sound_goals(self)
        config.at_least(self, 0, "same_goal")
        config.at_most(self, 1, "same_goal")

    def view(self):
        goals = Goals(*self.value_goals, self.value_geometric)
        return View(
            batch_size=self.batch_size, discount=self.discount, actions=False, rewards=False, goals=goals,
            intentions=goals, same_goal=self.same_goal, goal=GoalPart(self.goal_array, self.goal_entries),
        )  # fmt: skip

    def init(self, key, spec):
        state_size, goal_size = sizes("icvf", spec)
        options = nets.OGBENCH | {"activation": self.activation, "layer_norm": self.layer_norm}

        def member(key):
            return nets.MultilinearValue(state_size, goal_size, self.critic_widths, key, **options)

        return fresh_state({"value": nets.Ensemble.of(member, 2, key)}, self._optimizers(), targets=("value",))

    def update(self, state, batch, key):
        flatten = nets.flatten
        here, there = flatten(batch.observation), flatten(batch.next_observation)
        outcome, intention = flatten(batch.context), flatten(batch.intention)
        target = state.targets["value"]
        advantage = step_advantage(
            lambda s, z: target(s, z, z), here, there, intention, batch.intention_reward, batch.intention_discount
        )
        backup = target(there, outcome, intention)

        def value_loss(value):
            return advantage_regression(value(here, outcome, intention), backup, batch, advantage, self.expectile)

        grads, metrics = jax.grad(value_loss, has_aux=True)(state.nets["value"])
        metrics |= {"advantage": advantage.mean(), "chosen": (advantage >= 0.0).mean()}
        return advance(state, *step_all(self._optimizers(), {"value": grads}, state), self.tau), metrics

    def goal_value(self, state, observation, goal):
        goal = nets.flatten(goal)
        return state.nets["value"](nets.flatten(observation), goal, goal).mean(0)

    def features(self, state, observation):
        first = jax.tree.map(lambda leaf: leaf[0], state.nets["value"].members)
        return first.phi(nets.flatten(observation))

    def _optimizers(self):
        return {"value": optim.adam(self.critic_lr)}

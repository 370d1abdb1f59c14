"""Hierarchical implicit Q-learning."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from headstart.algorithm import GoalPart
from headstart.algos.goals import (
    ensemble_value,
    goal_view,
    progress,
    sizes,
    sound_goals,
    value_loss,
    views_of,
    weighted_cloning,
)
from headstart.algos.shared import advance, fresh_state, step_all
from headstart.algos.skills import first
from headstart.lazy import jax, jnp, nets, optim


@dataclasses.dataclass(frozen=True)
class HIQL:
    """Hierarchical implicit Q-learning (Park et al. 2023): GCIVL's value, and two policies that both read it.

    The high level names the representation of a state `subgoal_steps` ahead on the way to the goal, the low level acts
    towards it. Far from the goal the value's slope drowns in its noise; two levels look at it at two scales. Defaults
    are OGBench's. Sampled actions add noise at the low level only.
    """

    expectile: float = 0.7
    """Expectile of the value's regression."""
    high_alpha: float = 3.0
    """Inverse temperature of the high level's weights."""
    low_alpha: float = 3.0
    """Inverse temperature of the low level's weights."""
    subgoal_steps: int = 25
    """Steps to a subgoal (humanoid mazes: 100, manipulation: 10)."""
    representation_size: int = 10
    """Dimensions of phi([s; g]), through which the value looks at a goal and in which subgoals are named."""
    actor_widths: tuple[int, ...] = (512, 512, 512)
    """Hidden layers of both levels."""
    critic_widths: tuple[int, ...] = (512, 512, 512)
    """Hidden layers of the two values and of the representation."""
    activation: Literal["gelu", "relu"] = "gelu"
    """Of the hidden layers of values and representation. relu, without LayerNorm, lets IQL, SAC and others start from
    them."""
    layer_norm: bool = True
    """LayerNorm in values and representation."""
    exploration_noise: float = 0.2
    """Standard deviation of the noise on sampled actions."""
    actor_lr: float = 3e-4
    """Adam learning rate of both levels."""
    critic_lr: float = 3e-4
    """Adam learning rate of the values and their representation."""
    tau: float = 5e-3
    """Share of the online values that moves into the targets each update."""
    discount: float = 0.99
    """gamma per step (giant mazes: 0.995)."""
    batch_size: int = 1024
    """Rows of a batch."""
    value_goals: tuple[float, float, float] = (0.2, 0.5, 0.3)
    """Shares of the value's goals that are the row's own observation, a later one of its episode, any of the data."""
    value_geometric: bool = True
    """Later ones Geometric(1 - discount) steps ahead, else uniformly up to the episode's end."""
    actor_goals: tuple[float, float, float] = (0.0, 1.0, 0.0)
    """The same shares of the high level's goals (stitching: 0.5 of any)."""
    actor_geometric: bool = False
    """The same law for the high level's goals."""
    commanded: float = 0.5
    """Online: share of the rows that learn on the goal that the environment had set, the others in hindsight."""
    goal_array: str = ""
    """Name of the array of observations that a goal is, where they have names."""
    goal_entries: tuple[int, ...] = ()
    """Entries of that array; none: all."""
    action_free: bool = False
    """Value and high level alone are learned, from observations alone: there is no policy before a low level joins."""

    def __post_init__(self):
        sound_goals(self)

    def view(self):
        part = GoalPart(self.goal_array, self.goal_entries)
        return goal_view(self, goal=part, subgoal_steps=self.subgoal_steps)

    def init(self, key, spec):
        state_size, goal_size = sizes("hiql", spec, actions=not self.action_free)
        low_key, high_key, value_key = jax.random.split(key, 3)
        subgoal = dataclasses.replace(spec.context, shape=(self.representation_size,))
        noise = self.exploration_noise
        components = {
            "high_actor": nets.goal_actor(state_size + goal_size, subgoal, self.actor_widths, noise, high_key),
            "value": nets.GoalValue(
                state_size, goal_size, self.critic_widths, value_key, self.representation_size, self.layer_norm,
                self.activation,
            ),
        }  # fmt: skip
        if not self.action_free:
            inputs = state_size + subgoal.size
            components["actor"] = nets.goal_actor(inputs, spec.action, self.actor_widths, noise, low_key)
        return fresh_state(components, self._optimizers(), targets=("value",))

    def update(self, state, batch, key):
        here, there, goal, far_goal = views_of(batch)
        value, part = state.nets["value"], self.view().goal
        low_goal, target = (nets.flatten(part.of(looks)) for looks in (batch.low_goal, batch.high_target))
        high_advantage = progress(value, here, nets.flatten(batch.high_target), far_goal)
        low_advantage = progress(value, here, there, low_goal)
        # Only the value's loss shapes the representation.
        named = value.represent(here, target)
        seen = value.represent(here, low_goal)

        of_value = (state.targets["value"], here, there, goal, batch, self.expectile)
        value_grads, metrics = jax.grad(value_loss, has_aux=True)(value, *of_value)
        grads = {"value": value_grads}
        levels = {
            "high_actor": (jnp.concatenate([here, far_goal], axis=-1), named, high_advantage, self.high_alpha),
        }
        if not self.action_free:
            features = jnp.concatenate([here, seen], axis=-1)
            levels["actor"] = (features, batch.action, low_advantage, self.low_alpha)
        for name, of_level in levels.items():
            grads[name], found = jax.grad(weighted_cloning, has_aux=True)(state.nets[name], *of_level)
            metrics |= {f"{name.removesuffix('actor')}{metric}": number for metric, number in found.items()}
        return advance(state, *step_all(self._optimizers(), grads, state), self.tau), metrics

    def policy(self, state):
        return nets.HierarchicalPolicy(state.nets["high_actor"], state.nets["actor"])

    def low_level(self, state):
        return nets.SkillPolicy(state.nets["actor"], length=math.sqrt(self.representation_size))

    def skill_of(self, state, along, action, reached):
        subgoal = nets.flatten(self.view().goal.of(reached))
        return nets.to_unit(state.nets["value"].represent(nets.flatten(first(along)), subgoal))

    def goal_value(self, state, observation, goal):
        return ensemble_value(state, observation, goal)

    def _optimizers(self):
        levels = ("high_actor",) if self.action_free else ("actor", "high_actor")
        return {name: optim.adam(self.actor_lr) for name in levels} | {"value": optim.adam(self.critic_lr)}

"""Goal-conditioned implicit V-learning."""

from __future__ import annotations

import dataclasses
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
from headstart.lazy import jax, jnp, nets, optim


@dataclasses.dataclass(frozen=True)
class GCIVL:
    """Goal-conditioned implicit V-learning (Park et al. 2025, OGBench): a value without actions, and a policy by AWR.

    V(s, g) regresses by expectile to r + gamma V(s', g); the policy imitates actions weighted by how much V rises.
    Optimistic where luck moves the state: V(s') of a lucky step counts as if it could be chosen.
    """

    expectile: float = 0.9
    """Expectile of the value's regression."""
    alpha: float = 10.0
    """Inverse temperature of the policy's weights."""
    actor_widths: tuple[int, ...] = (512, 512, 512)
    """Hidden layers of the actor."""
    critic_widths: tuple[int, ...] = (512, 512, 512)
    """Hidden layers of the two values."""
    activation: Literal["gelu", "relu"] = "gelu"
    """Of the values' hidden layers. relu, without LayerNorm, lets IQL, SAC and others start from them."""
    layer_norm: bool = True
    """LayerNorm in the values."""
    exploration_noise: float = 0.2
    """Standard deviation of the noise on sampled actions."""
    actor_lr: float = 3e-4
    """Adam learning rate of the actor."""
    critic_lr: float = 3e-4
    """Adam learning rate of the values."""
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
    """The same shares of the actor's goals."""
    actor_geometric: bool = False
    """The same law for the actor's goals."""
    commanded: float = 0.5
    """Online: share of the rows that learn on the goal that the environment had set, the others in hindsight."""
    goal_array: str = ""
    """Name of the array of observations that a goal is, where they have names."""
    goal_entries: tuple[int, ...] = ()
    """Entries of that array; none: all."""
    action_free: bool = False
    """The value alone is learned, from observations alone: there is no policy."""

    def __post_init__(self):
        sound_goals(self)

    def view(self):
        return goal_view(self, goal=GoalPart(self.goal_array, self.goal_entries))

    def init(self, key, spec):
        state_size, goal_size = sizes("gcivl", spec, actions=not self.action_free)
        actor_key, value_key = jax.random.split(key)
        components = {
            "value": nets.GoalValue(
                state_size, goal_size, self.critic_widths, value_key, layer_norm=self.layer_norm,
                activation=self.activation,
            )
        }  # fmt: skip
        if not self.action_free:
            inputs = state_size + goal_size
            components["actor"] = nets.goal_actor(
                inputs, spec.action, self.actor_widths, self.exploration_noise, actor_key
            )
        return fresh_state(components, self._optimizers(), targets=("value",))

    def update(self, state, batch, key):
        here, there, goal, actor_goal = views_of(batch)
        value = state.nets["value"]
        of_value = (state.targets["value"], here, there, goal, batch, self.expectile)
        value_grads, metrics = jax.grad(value_loss, has_aux=True)(value, *of_value)
        grads = {"value": value_grads}
        if not self.action_free:
            features = jnp.concatenate([here, actor_goal], axis=-1)
            advantage = progress(value, here, there, actor_goal)
            grads["actor"], actor_metrics = jax.grad(weighted_cloning, has_aux=True)(
                state.nets["actor"], features, batch.action, advantage, self.alpha
            )
            metrics |= actor_metrics
        return advance(state, *step_all(self._optimizers(), grads, state), self.tau), metrics

    def policy(self, state):
        return nets.Policy(state.nets["actor"])

    def goal_value(self, state, observation, goal):
        return ensemble_value(state, observation, goal)

    def _optimizers(self):
        actor = {} if self.action_free else {"actor": optim.adam(self.actor_lr)}
        return actor | {"value": optim.adam(self.critic_lr)}

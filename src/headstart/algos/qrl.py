"""Quasimetric reinforcement learning."""

from __future__ import annotations

import dataclasses
from typing import Literal

from headstart import config
from headstart.algos.goals import climb_and_clone, goal_view, sizes, sound_goals, views_of
from headstart.algos.require import continuous_actions
from headstart.algos.shared import advance, fresh_state, step_all
from headstart.algos.skills import seen_part
from headstart.errors import UsageError
from headstart.lazy import jax, jnp, losses, nets, optim


@dataclasses.dataclass(frozen=True)
class QRL:
    """Quasimetric reinforcement learning (Wang et al. 2023): the largest distance by which no step is longer than one.

    maximise E d(s, g) subject to E (d(s, s') - 1)_+^2 <= epsilon, by a Lagrange multiplier. Optimal goal-reaching
    costs are quasimetrics, and the triangle inequality of d carries what steps cost to far pairs without backups; it
    stitches, but takes chance for choice. A model of the representation's next value lets the actor lower the distance.
    Defaults are OGBench's. Goals are whole observations, since d compares both.
    """

    alpha: float = 0.003
    """Weight of the likelihood of the data's actions against the normalised distance in the actor's loss."""
    epsilon: float = 0.05
    """Bound of the mean squared excess of single steps."""
    quasimetric: Literal["iqe", "mrn"] = "iqe"
    """iqe: interval quasimetric embeddings (Wang and Isola 2022). mrn: metric residual networks (Liu et al. 2023)."""
    latent_size: int = 512
    """Dimensions of the representation."""
    component_size: int = 8
    """Dimensions of each of IQE's components."""
    actor_widths: tuple[int, ...] = (512, 512, 512)
    """Hidden layers of the actor."""
    critic_widths: tuple[int, ...] = (512, 512, 512)
    """Hidden layers of representation and dynamics."""
    layer_norm: bool = True
    """LayerNorm in representation and dynamics."""
    exploration_noise: float = 0.2
    """Standard deviation of the noise on sampled actions."""
    actor_lr: float = 3e-4
    """Adam learning rate of the actor."""
    critic_lr: float = 3e-4
    """Adam learning rate of distance, dynamics and multiplier."""
    discount: float = 0.99
    """gamma per step, of geometric goals only: distances are not discounted."""
    batch_size: int = 1024
    """Rows of a batch."""
    value_goals: tuple[float, float, float] = (0.0, 0.0, 1.0)
    """Shares of the goals that are spread: the row's own observation, a later one of its episode, any of the data."""
    value_geometric: bool = True
    """Later ones Geometric(1 - discount) steps ahead, else uniformly up to the episode's end."""
    actor_goals: tuple[float, float, float] = (0.0, 1.0, 0.0)
    """The same shares of the actor's goals."""
    actor_geometric: bool = False
    """The same law for the actor's goals."""
    commanded: float = 0.5
    """Online: share of the rows that learn on the goal that the environment had set, the others in hindsight."""
    goal_array: str = ""
    """Name of the array of observations between which distances are, where they have names."""
    goal_entries: tuple[int, ...] = ()
    """Entries of that array; none: all."""

    def __post_init__(self):
        sound_goals(self)
        config.at_least(self, 0, "epsilon")
        if self.latent_size % (self.component_size if self.quasimetric == "iqe" else 2):
            divisor = f"component_size {self.component_size}" if self.quasimetric == "iqe" else "2 (mrn)"
            raise UsageError(f"QRL.latent_size: expected a multiple of {divisor}, found {self.latent_size}")

    def view(self):
        return goal_view(self, goal=seen_part(self))

    def init(self, key, spec):
        continuous_actions("qrl", spec)
        state_size, goal_size = sizes("qrl", spec)
        actor_key, value_key, dynamics_key = jax.random.split(key, 3)
        options = nets.OGBENCH | {"layer_norm": self.layer_norm}
        components = {
            "actor": nets.goal_actor(
                state_size + goal_size, spec.action, self.actor_widths, self.exploration_noise, actor_key
            ),
            "value": nets.Quasimetric(
                goal_size, self.critic_widths, self.latent_size, self.component_size, self.quasimetric, value_key,
                self.layer_norm,
            ),
            "dynamics": nets.MLP(
                self.latent_size + spec.action.size, self.critic_widths, self.latent_size, dynamics_key, **options
            ),
            # log multiplier
            "multiplier": nets.Scalar(0.0),
        }  # fmt: skip
        return fresh_state(components, self._optimizers(), targets=())

    def update(self, state, batch, key):
        features, _, goal, actor_goal = views_of(batch)
        here, there = self._seen(batch.observation), self._seen(batch.next_observation)

        def after(dynamics, latent, action):
            return latent + dynamics(jnp.concatenate([latent, action], axis=-1))

        def distance_loss(parts):
            value, multiplier = parts["value"], jnp.exp(parts["multiplier"]())
            phi, phi_next, phi_goal = value.phi(here), value.phi(there), value.phi(goal)
            far = value.between(phi, phi_goal)
            excess = losses.goals.beyond_cost(value.between(phi, phi_next)).mean()
            spread = losses.goals.spread(far).mean()
            hold = jax.lax.stop_gradient
            constraint = hold(multiplier) * excess + multiplier * (self.epsilon - hold(excess))
            predicted = after(parts["dynamics"], phi, batch.action)
            drift = (value.between(phi_next, predicted) + value.between(predicted, phi_next)).mean() / 2.0
            loss = spread + constraint + drift
            return loss, {
                "critic_loss": loss, "distance": far.mean(), "excess": excess, "multiplier": multiplier,
                "dynamics_loss": drift,
            }  # fmt: skip

        def q_of(action):
            value = state.nets["value"]
            return -value.between(after(state.nets["dynamics"], value.phi(here), action), value.phi(actor_goal))

        parts = {name: state.nets[name] for name in ("value", "dynamics", "multiplier")}
        grads, metrics = jax.grad(distance_loss, has_aux=True)(parts)
        grads["actor"], actor_metrics = jax.grad(climb_and_clone, has_aux=True)(
            state.nets["actor"], jnp.concatenate([features, actor_goal], axis=-1), batch.action, q_of, self.alpha
        )
        return advance(state, *step_all(self._optimizers(), grads, state), tau=0.0), metrics | actor_metrics

    def policy(self, state):
        return nets.Policy(state.nets["actor"])

    def goal_value(self, state, observation, goal):
        # Minus the steps, not discounted.
        return -state.nets["value"](self._seen(observation), nets.flatten(goal))

    def _seen(self, observation):
        return nets.flatten(seen_part(self).of(observation))

    def _optimizers(self):
        slow = {name: optim.adam(self.critic_lr) for name in ("value", "dynamics", "multiplier")}
        return slow | {"actor": optim.adam(self.actor_lr)}

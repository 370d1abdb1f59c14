"""Implicit Q-learning."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from headstart.algorithm import View
from headstart.algos.require import continuous_actions, sound_fields
from headstart.algos.shared import advance, bellman_error, fresh_state, step_all
from headstart.algos.sharing import choose, choosing, sound_sharing
from headstart.errors import UsageError
from headstart.lazy import jax, losses, nets, optim


@dataclasses.dataclass(frozen=True)
class IQL:
    """Implicit Q-learning (Kostrikov et al. 2021): expectile value, advantage-weighted policy.

    Defaults are those of its locomotion settings; antmaze: expectile 0.9, inverse_temperature 10; adroit, kitchen:
    0.7, 0.5 and dropout 0.1. As in its code the value steps first, then actor and critic see the new value.
    """

    expectile: float = 0.7
    """Expectile of Q over the data's actions that V regresses to."""
    inverse_temperature: float = 3.0
    """Weight of the advantage in the exponent of the policy's regression."""
    advantage_limit: float = 100.0
    """Largest exponentiated advantage."""
    policy_kind: Literal["gaussian", "tanh_gaussian"] = "gaussian"
    """gaussian: tanh mean, one standard deviation for all states (published). tanh_gaussian: SAC's actor."""
    actor_widths: tuple[int, ...] = (256, 256)
    """Hidden layers of the actor."""
    critic_widths: tuple[int, ...] = (256, 256)
    """Hidden layers of critics and value."""
    critics: int = 2
    """Size of the critic ensemble; the value regresses to the minimum over the target critics."""
    critic_layer_norm: bool = False
    """LayerNorm in critics and value."""
    critic_bias: float = 0.0
    """Initial output of critics and value, in units of return."""
    dropout: float = 0.0
    """Dropout rate in the actor (adroit, kitchen: 0.1)."""
    actor_lr: float = 3e-4
    """Adam learning rate of the actor."""
    actor_decay_steps: int = 0
    """Cosine decay of the actor's learning rate over so many updates (published: the offline steps); 0: none."""
    critic_lr: float = 3e-4
    """Adam learning rate of critics and value."""
    tau: float = 5e-3
    """Share of the online critics that moves into the targets each update."""
    discount: float = 0.99
    """gamma per step."""
    n_step: int = 1
    """Steps summed in the reward before bootstrapping."""
    batch_size: int = 256
    """Rows of a batch."""
    tasks: bool = False
    """Act on tasks: the vector of each row's task joins the observation."""
    shared_rows: Literal["all", "quantile", "weighted"] = "all"
    """Rows that a task takes of those relabelled for it (CDS, Yu et al. 2021). quantile: where Q is at least a quantile
    of its own data's; weighted: softly, by how much."""
    share_quantile: float = 0.9
    """That quantile."""

    def __post_init__(self):
        sound_fields(self)
        sound_sharing(self)
        if self.dropout and self.policy_kind != "gaussian":
            raise UsageError(f"dropout acts in the gaussian policy only, not in {self.policy_kind}; set it to 0")

    def view(self) -> View:
        view = View(batch_size=self.batch_size, discount=self.discount, n_step=self.n_step, tasks=self.tasks)
        return choosing(self, view)

    def init(self, key, spec):
        continuous_actions("iql", spec)
        actor_key, critic_key, value_key = jax.random.split(key, 3)
        # Its code draws output layers with the gain of hidden ones.
        gain = {"output_gain": math.sqrt(2.0)}
        options = gain | {"output_bias": self.critic_bias, "layer_norm": self.critic_layer_norm}
        if self.policy_kind == "gaussian":
            trunk = nets.MLP(
                spec.input_size, self.actor_widths, spec.action.size, actor_key, dropout=self.dropout, **gain
            )
            actor = nets.GaussianActor(trunk, spec.action.size)
        else:
            actor = nets.tanh_gaussian_actor(spec, self.actor_widths, actor_key)
        components = {
            "actor": actor,
            "critic": nets.critic_ensemble(spec, self.critic_widths, self.critics, critic_key, **options),
            "value": nets.Value(nets.MLP(spec.input_size, self.critic_widths, 1, value_key, **options)),
        }
        return fresh_state(components, self._optimizers(), targets=("critic",))

    def update(self, state, batch, key):
        batch, chosen = choose(self, state, batch, key)
        features = nets.flatten(batch.observation, batch.context)
        next_features = nets.flatten(batch.next_observation, batch.context)
        target_q = state.targets["critic"](features, batch.action).min(0)

        def value_loss(value):
            v = value(features)
            loss = losses.value.expectile(target_q - v, self.expectile).mean()
            return loss, {"value_loss": loss, "value": v.mean()}

        value_grads, value_metrics = jax.grad(value_loss, has_aux=True)(state.nets["value"])
        value_nets, value_opt_state = step_all(self._optimizers(), {"value": value_grads}, state)
        value = value_nets["value"]
        advantage = target_q - value(features)

        def actor_loss(actor):
            options = {"key": key} if self.policy_kind == "gaussian" else {}
            log_prob = actor.log_prob(features, batch.action, **options)
            loss = losses.policy.advantage_weighted(
                log_prob, advantage, self.inverse_temperature, self.advantage_limit
            ).mean()
            return loss, {"actor_loss": loss, "advantage": advantage.mean()}

        td_target = losses.value.bootstrap(batch.reward, batch.discount, value(next_features))

        def critic_loss(critic):
            q = critic(features, batch.action)
            loss = bellman_error(q, td_target)
            return loss, {"td_loss": loss, "q_data": q.mean()}

        actor_grads, actor_metrics = jax.grad(actor_loss, has_aux=True)(state.nets["actor"])
        critic_grads, critic_metrics = jax.grad(critic_loss, has_aux=True)(state.nets["critic"])
        new_nets, new_opt_state = step_all(self._optimizers(), {"actor": actor_grads, "critic": critic_grads}, state)
        state = advance(state, value_nets | new_nets, value_opt_state | new_opt_state, self.tau)
        return state, value_metrics | actor_metrics | critic_metrics | chosen

    def policy(self, state):
        return nets.Policy(state.nets["actor"])

    def _optimizers(self):
        return {
            "actor": optim.adam(self.actor_lr, self.actor_decay_steps),
            "critic": optim.adam(self.critic_lr),
            "value": optim.adam(self.critic_lr),
        }

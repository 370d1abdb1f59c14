"""TD3+BC and ReBRAC: a deterministic actor held near the data."""

from __future__ import annotations

import dataclasses
from typing import Literal

from headstart import config
from headstart.algorithm import View
from headstart.algos.require import continuous_actions, sound_fields
from headstart.algos.shared import advance, bellman_error, fresh_state, step_all
from headstart.lazy import jax, jnp, losses, nets, optim


@dataclasses.dataclass(frozen=True)
class TD3BC:
    """TD3+BC (Fujimoto and Gu 2021); `ReBRAC()` is its later form (Tarasov et al. 2023).

    The actor minimises behaviour_weight * |pi(s) - a|**2 - q_weight * Q(s, pi(s)) / mean |Q|; the critics' target is
    r + gamma * (min Q(s', a') - critic_behaviour_weight * |a' - a'_data|**2) with smoothed target actions a'.
    """

    q_weight: float = 2.5
    """Weight of the normalised Q in the actor's loss (TD3+BC: alpha = 2.5; ReBRAC: 1)."""
    behaviour_weight: float = 1.0
    """Weight of the distance to the data's action in the actor's loss."""
    critic_behaviour_weight: float = 0.0
    """Weight of the distance of the next action to the data's in the critic's target (ReBRAC)."""
    distance: Literal["mean", "sum"] = "mean"
    """Squared distance of actions over their dimensions (TD3+BC: mean; ReBRAC: sum)."""
    actor_widths: tuple[int, ...] = (256, 256)
    """Hidden layers of the actor (ReBRAC: three)."""
    critic_widths: tuple[int, ...] = (256, 256)
    """Hidden layers of each critic (ReBRAC: three)."""
    critics: int = 2
    """Size of the critic ensemble; targets take the minimum."""
    actor_value: Literal["first", "min"] = "first"
    """What the actor maximises over the critics (TD3+BC: the first; ReBRAC: min)."""
    critic_layer_norm: bool = False
    """LayerNorm in the critics (ReBRAC: on)."""
    critic_norm_last: bool = False
    """That LayerNorm after the activation, not before it (ReBRAC: on)."""
    critic_bias: float = 0.0
    """Initial output of the critics, in units of return."""
    initialiser: Literal["torch", "edac"] = "torch"
    """Initialiser of all layers (ReBRAC: edac, hidden biases of 0.1 and near-zero outputs)."""
    actor_lr: float = 3e-4
    """Adam learning rate of the actor."""
    critic_lr: float = 3e-4
    """Adam learning rate of the critics."""
    actor_every: int = 2
    """Critic updates for one update of the actor and its target."""
    target_noise: float = 0.2
    """Standard deviation of the noise on target actions."""
    target_noise_limit: float = 0.5
    """Largest noise on target actions."""
    exploration_noise: float = 0.1
    """Standard deviation of the noise on sampled actions."""
    tau: float = 5e-3
    """Share of the online nets that moves into the targets each update."""
    discount: float = 0.99
    """gamma per step."""
    n_step: int = 1
    """Steps summed in the reward before bootstrapping."""
    batch_size: int = 256
    """Rows of a batch (ReBRAC: 1024 in locomotion)."""
    tasks: bool = False
    """Act on tasks: the vector of each row's task joins the observation."""

    def __post_init__(self):
        sound_fields(self)

    def view(self) -> View:
        return View(
            batch_size=self.batch_size, discount=self.discount, n_step=self.n_step,
            next_action=self.critic_behaviour_weight > 0.0, tasks=self.tasks,
        )  # fmt: skip

    def init(self, key, spec):
        continuous_actions("td3bc", spec)
        actor_key, critic_key = jax.random.split(key)
        small = self.initialiser == "edac"
        trunk = nets.MLP(
            spec.input_size, self.actor_widths, spec.action.size, actor_key,
            init=self.initialiser, output_gain=1e-3 if small else 1.0,
        )  # fmt: skip
        components = {
            "actor": nets.DeterministicActor(trunk, self.exploration_noise),
            "critic": nets.critic_ensemble(
                spec, self.critic_widths, self.critics, critic_key,
                init=self.initialiser, output_gain=3e-3 if small else 1.0, output_bias=self.critic_bias,
                layer_norm=self.critic_layer_norm, norm_last=self.critic_norm_last,
            ),
        }  # fmt: skip
        return fresh_state(components, self._optimizers(), targets=("actor", "critic"))

    def update(self, state, batch, key):
        features = nets.flatten(batch.observation, batch.context)
        next_features = nets.flatten(batch.next_observation, batch.context)

        noise = self.target_noise * jax.random.normal(key, batch.action.shape)
        noise = jnp.clip(noise, -self.target_noise_limit, self.target_noise_limit)
        next_action = jnp.clip(state.targets["actor"].mode(next_features) + noise, -1.0, 1.0)
        next_q = state.targets["critic"](next_features, next_action).min(0)
        if self.critic_behaviour_weight:
            next_q = next_q - self.critic_behaviour_weight * self._distance(next_action, batch.next_action)
        td_target = losses.value.bootstrap(batch.reward, batch.discount, next_q)

        def critic_loss(critic):
            q = critic(features, batch.action)
            loss = bellman_error(q, td_target)
            return loss, {"td_loss": loss, "q_data": q.mean()}

        critic_grads, metrics = jax.grad(critic_loss, has_aux=True)(state.nets["critic"])
        critic_nets, critic_opt_state = step_all(self._optimizers(), {"critic": critic_grads}, state)
        critic = critic_nets["critic"]

        def actor_loss(actor):
            action = actor.mode(features)
            q = critic(features, action)
            q = q.min(0) if self.actor_value == "min" else q[0]
            distance = self._distance(action, batch.action)
            loss = (self.behaviour_weight * distance - self.q_weight * losses.policy.normalised(q)).mean()
            return loss, {"actor_loss": loss, "q_policy": q.mean(), "behaviour_distance": distance.mean()}

        actor_grads, actor_metrics = jax.grad(actor_loss, has_aux=True)(state.nets["actor"])
        actor_nets, actor_opt_state = step_all(self._optimizers(), {"actor": actor_grads}, state)
        moved = advance(state, actor_nets | critic_nets, actor_opt_state | critic_opt_state, self.tau)
        # Between its updates the actor, its optimiser and its target stand still; the critic's target stands too
        # (TD3, algorithm 1: all targets move with the actor).
        waiting = dataclasses.replace(
            state, nets=state.nets | critic_nets, opt_state=state.opt_state | critic_opt_state, step=state.step + 1
        )
        due = moved.step % self.actor_every == 0
        return jax.tree.map(lambda a, b: jnp.where(due, a, b), moved, waiting), metrics | actor_metrics

    def policy(self, state):
        return nets.Policy(state.nets["actor"])

    def _distance(self, action, data_action):
        distance = losses.policy.behaviour_distance(action, data_action)
        return distance / action.shape[-1] if self.distance == "mean" else distance

    def _optimizers(self):
        return {"actor": optim.adam(self.actor_lr), "critic": optim.adam(self.critic_lr)}


def ReBRAC(**changes) -> TD3BC:
    """ReBRAC (Tarasov et al. 2023): distances in actor and critic, LayerNorm in the critics, three hidden layers,
    initial values as in its code.

    Published weights are tuned a task: 0.001 to 0.1 for each (adroit: actor 0.1, critic 0 to 0.5).
    """
    settings = {
        "q_weight": 1.0, "behaviour_weight": 0.1, "critic_behaviour_weight": 0.01, "distance": "sum",
        "actor_widths": (256, 256, 256), "critic_widths": (256, 256, 256), "critic_layer_norm": True,
        "critic_norm_last": True, "initialiser": "edac", "actor_value": "min", "actor_lr": 1e-3, "critic_lr": 1e-3,
    }  # fmt: skip
    return config.replace(TD3BC(**settings), **changes)

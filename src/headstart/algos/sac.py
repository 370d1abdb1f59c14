"""Soft actor-critic, and with its settings RLPD and WSRL's online phase."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

from headstart import config
from headstart.algorithm import View
from headstart.algos import soft
from headstart.algos.require import continuous_actions, sound_fields
from headstart.algos.shared import advance, bellman_error, step_all
from headstart.lazy import jax, jnp, losses, nets


@dataclasses.dataclass(frozen=True)
class SAC:
    """Soft actor-critic (Haarnoja et al. 2018b) with a critic ensemble (Chen et al. 2021, REDQ).

    RLPD (Ball et al. 2023) is `RLPD()` with half of every batch from the offline data; the online phase of
    WSRL (Zhou et al. 2024) is this with 10 critics and LayerNorm, continued from Cal-QL, without offline data.
    """

    needs_interaction: ClassVar[bool] = True
    """From data alone it learns values of actions that nobody tried, and nothing corrects them."""

    actor_widths: tuple[int, ...] = (256, 256)
    """Hidden layers of the actor."""
    critic_widths: tuple[int, ...] = (256, 256)
    """Hidden layers of each critic."""
    critics: int = 2
    """Size of the critic ensemble (RLPD, WSRL: 10)."""
    target_subset: int = 2
    """The target takes the minimum over this many randomly drawn target critics."""
    actor_value: Literal["min", "mean"] = "min"
    """What the actor maximises over the critics (SAC: min; RLPD: mean)."""
    actor_layer_norm: bool = False
    """LayerNorm in the actor (WSRL: on)."""
    critic_layer_norm: bool = False
    """LayerNorm in the critics (RLPD, WSRL: on)."""
    critic_bias: float = 0.0
    """Initial output of the critics, in units of return."""
    actor_lr: float = 3e-4
    """Adam learning rate of the actor."""
    critic_lr: float = 3e-4
    """Adam learning rate of the critics."""
    temperature_lr: float = 3e-4
    """Adam learning rate of the temperature; 0: it stays at its initial value."""
    initial_temperature: float = 1.0
    """Weight of the entropy at the start."""
    target_entropy_scale: float = 1.0
    """Target entropy is -scale * action dimensions (SAC: 1; RLPD: 0.5)."""
    backup_entropy: bool = True
    """Entropy term in the critic's target (RLPD on sparse tasks: off)."""
    actor_every: int = 1
    """Critic updates for one update of actor and temperature (RLPD, WSRL: the updates a step)."""
    tau: float = 5e-3
    """Share of the online critics that moves into the targets each update."""
    discount: float = 0.99
    """gamma per step."""
    n_step: int = 1
    """Steps summed in the reward before bootstrapping."""
    batch_size: int = 256
    """Rows of a batch."""
    initialiser: Literal["orthogonal", "glorot_uniform", "torch"] = "orthogonal"
    """Initialiser of all layers."""
    tasks: bool = False
    """Act on tasks: the vector of each row's task joins the observation."""

    def __post_init__(self):
        sound_fields(self)

    def view(self) -> View:
        return View(batch_size=self.batch_size, discount=self.discount, n_step=self.n_step, tasks=self.tasks)

    def init(self, key, spec):
        continuous_actions("sac", spec)
        return soft.init(self, key, spec)

    def update(self, state, batch, key):
        actor_key, next_key, subset_key = jax.random.split(key, 3)
        features = nets.flatten(batch.observation, batch.context)
        next_features = nets.flatten(batch.next_observation, batch.context)

        next_action, next_log_prob = state.nets["actor"].sample_with_log_prob(next_features, next_key)
        target = state.targets["critic"]
        if self.target_subset < self.critics:
            target = target.subset(jax.random.choice(subset_key, self.critics, (self.target_subset,), replace=False))
        next_q = target(next_features, next_action).min(0)
        if self.backup_entropy:
            next_q = next_q - jnp.exp(state.nets["temperature"]()) * next_log_prob
        td_target = losses.value.bootstrap(batch.reward, batch.discount, next_q)

        def critic_loss(critic):
            q = critic(features, batch.action)
            loss = bellman_error(q, td_target)
            return loss, {"td_loss": loss, "q_data": q.mean()}

        critic_grads, metrics = jax.grad(critic_loss, has_aux=True)(state.nets["critic"])
        new_nets, new_opt_state = step_all(soft.optimizers(self), {"critic": critic_grads}, state)

        def actor_step(old):
            return soft.actor_step(self, old, features, actor_key)

        if self.actor_every == 1:
            actor_nets, actor_opt_state, actor_metrics = actor_step(state)
        else:
            due = (state.step + 1) % self.actor_every == 0
            actor_nets, actor_opt_state, actor_metrics = jax.lax.cond(due, actor_step, _skip_like(actor_step), state)
            # The skipped steps report zeros: the sum over a group is that of its one actor update.
            actor_metrics = {name: value * self.actor_every for name, value in actor_metrics.items()}
        state = advance(state, new_nets | actor_nets, new_opt_state | actor_opt_state, self.tau)
        return state, metrics | actor_metrics

    def policy(self, state):
        return nets.Policy(state.nets["actor"])


def RLPD(**changes) -> SAC:
    """SAC as RLPD sets it (Ball et al. 2023): 10 critics with LayerNorm, a random pair in the target, the mean for the
    actor, 20 updates a step of which one moves the actor. Use it with half of every batch from offline data."""
    settings = {
        "critics": 10, "target_subset": 2, "actor_value": "mean", "critic_layer_norm": True,
        "target_entropy_scale": 0.5, "backup_entropy": False, "actor_every": 20, "initialiser": "glorot_uniform",
    }  # fmt: skip
    return config.replace(SAC(**settings), **changes)


def _skip_like(actor_step):
    """A function that returns what `actor_step` returns, with nothing learned and metrics of zero."""

    def skip(old):
        new_nets, new_opt_state, metrics = jax.eval_shape(actor_step, old)
        return (
            {name: old.nets[name] for name in new_nets},
            {name: old.opt_state[name] for name in new_opt_state},
            {name: jnp.zeros(value.shape, value.dtype) for name, value in metrics.items()},
        )

    return skip

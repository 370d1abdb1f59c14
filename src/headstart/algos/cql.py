"""CQL(R), the conservative Q-learning family, and Cal-QL."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from headstart import config
from headstart.algorithm import View
from headstart.algos import soft
from headstart.algos.require import continuous_actions, sound_fields
from headstart.algos.shared import advance, bellman_error, step_all
from headstart.algos.sharing import choose, choosing, sound_sharing
from headstart.errors import UsageError
from headstart.lazy import jax, jnp, losses, nets, optim


@dataclasses.dataclass(frozen=True)
class CQL:
    """Conservative Q-learning CQL(R) (Kumar et al. 2020); `calibrated` makes it Cal-QL (Nakamoto et al. 2023).

    The critic's loss is its squared Bellman error plus
    weight * (max over mu of E_mu[Q] + R(mu), less Q at the data's actions). Defaults are those of Cal-QL's code.
    """

    regulariser: Literal["entropy", "kl", "chi_square"] = "entropy"
    """R. entropy: CQL(H), a logsumexp over actions. kl: -KL(mu, prior), CQL(rho). chi_square: -chi2(mu, prior) / 2."""
    prior: Literal["uniform", "policy"] = "uniform"
    """The prior of kl and chi_square: uniform, or the policy of the previous update."""
    weight: float = 5.0
    """Weight of the conservative term (antmaze, kitchen: 5; adroit: 1)."""
    lagrange: bool = False
    """Learn a multiplier of the weight that holds the gap at `target_gap`."""
    target_gap: float = 0.8
    """Gap at which the multiplier rests, in units of Q."""
    multiplier_lr: float = 3e-4
    """Adam learning rate of the multiplier."""
    actions: int = 10
    """Sampled actions of each kind a state: uniform, policy at s, policy at s'; and in the backup."""
    importance_weights: bool = True
    """Entropy: subtract the log density of the proposals. Without, the data's action joins the set."""
    gradient_samples: int = 0
    """Actions of each state whose gradient each critic takes, drawn by their weight in the conservative term's: an
    unbiased estimate at a fraction of the cost (not in the papers). 0: all of them, the exact gradient."""
    max_target_backup: bool = True
    """Back up the largest of `actions` policy actions at s', each the minimum over the target critics."""
    calibrated: bool = False
    """Cal-QL: never push Q at policy actions below the Monte-Carlo return."""
    actor_widths: tuple[int, ...] = (256, 256)
    """Hidden layers of the actor."""
    critic_widths: tuple[int, ...] = (256, 256)
    """Hidden layers of each critic."""
    critics: int = 2
    """Size of the critic ensemble (WSRL: 10)."""
    actor_value: Literal["min", "mean"] = "min"
    """What the actor maximises over the critics."""
    actor_layer_norm: bool = False
    """LayerNorm in the actor (WSRL: on)."""
    critic_layer_norm: bool = False
    """LayerNorm in the critics (WSRL: on)."""
    critic_bias: float = 0.0
    """Initial output of the critics, in units of return; near the data's mean return it saves the critic's fall."""
    actor_lr: float = 1e-4
    """Adam learning rate of the actor."""
    critic_lr: float = 3e-4
    """Adam learning rate of the critics."""
    temperature_lr: float = 1e-4
    """Adam learning rate of the temperature; 0: it stays at its initial value."""
    initial_temperature: float = 1.0
    """Weight of the entropy at the start."""
    target_entropy_scale: float = 1.0
    """Target entropy is -scale * action dimensions."""
    backup_entropy: bool = False
    """Entropy term in the critic's target (not with the max-target backup)."""
    bc_steps: int = 0
    """For so many first updates the likelihood of the data's actions stands in the actor's loss for Q, as in CQL's own
    code."""
    bc_weight: float = 0.0
    """Weight of that likelihood in the actor's loss afterwards (not in the papers: it holds a good initial policy)."""
    reference_steps: int = 0
    """For so many first updates the critic regresses to the Monte-Carlo return instead of its own backup (not in the
    papers: it saves the critic's slow fall to the data's values)."""
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
    shared_rows: Literal["all", "quantile", "weighted"] = "all"
    """Rows that a task takes of those relabelled for it (CDS, Yu et al. 2021). quantile: where Q is at least a quantile
    of its own data's; weighted: softly, by how much."""
    share_quantile: float = 0.9
    """That quantile."""

    def __post_init__(self):
        sound_fields(self)
        sound_sharing(self)
        if self.calibrated and self.regulariser != "entropy" and self.prior == "uniform":
            raise UsageError(
                f"calibration bounds Q at policy actions, and {self.regulariser} with a uniform prior has none; "
                "set prior to 'policy' or regulariser to 'entropy'"
            )
        if self.backup_entropy and self.max_target_backup:
            raise UsageError("backup_entropy is not defined for the max-target backup; switch one of them off")

    def view(self) -> View:
        view = View(
            batch_size=self.batch_size,
            discount=self.discount,
            n_step=self.n_step,
            tasks=self.tasks,
            mc_return=self.calibrated or self.reference_steps > 0,
        )
        return choosing(self, view)

    def init(self, key, spec):
        continuous_actions("calql" if self.calibrated else "cql", spec)
        fresh = soft.init(self, key, spec)
        if not self.lagrange:
            return fresh
        # log multiplier, as Cal-QL's code starts it.
        multiplier = nets.Scalar(1.0)
        return dataclasses.replace(
            fresh,
            nets=fresh.nets | {"multiplier": multiplier},
            opt_state=fresh.opt_state | {"multiplier": optim.adam(self.multiplier_lr).init(multiplier)},
        )

    def update(self, state, batch, key):
        batch, chosen = choose(self, state, batch, key)
        actor_key, target_key, penalty_key, gradient_key = jax.random.split(key, 4)
        features = nets.flatten(batch.observation, batch.context)
        next_features = nets.flatten(batch.next_observation, batch.context)
        # The policy looks at every state once; all samples below share its two parameter arrays.
        here, there = _halves(state.nets["actor"].parameters(jnp.concatenate([features, next_features])))

        td_target = losses.value.bootstrap(
            batch.reward, batch.discount, self._next_value(state, next_features, there, target_key)
        )
        if self.reference_steps:
            td_target = jnp.where(state.step < self.reference_steps, batch.mc_return, td_target)
        actions, log_density, own = self._penalty_actions(here, there, penalty_key)
        multiplier = self._multiplier(state)

        def critic_loss(critic, features, data_action, td_target, actions, log_density, mc_return, uniform):
            # One pass: the data's action and the sampled ones side by side, (B, 1 + N, d).
            stacked = jnp.concatenate([data_action[:, None], actions], axis=1)
            if self.gradient_samples:
                q = optim.values_with_sampled_gradient(self.gradient_samples, critic, features, stacked, uniform)
            else:
                # Uniform actions soon have values so low that they have no part in it.
                q = optim.values_with_skipped_gradient(actions.shape[1] - own, critic, features, stacked)
            q_data, q_sampled = q[..., 0], q[..., 1:]
            metrics = {"q_data": q_data.mean()}
            if self.calibrated:
                q_bounded = losses.conservative.calibrated(q_sampled[..., :own], mc_return)
                metrics["bound_rate"] = (q_bounded > q_sampled[..., :own]).mean()
                q_sampled = jnp.concatenate([q_bounded, q_sampled[..., own:]], axis=-1)
            gap = self._inner_maximum(q_sampled, q_data, log_density) - q_data
            td_loss = bellman_error(q_data, td_target)
            penalty = multiplier * self.weight * (gap - (self.target_gap if self.lagrange else 0.0))
            metrics |= {"td_loss": td_loss, "conservative_gap": gap.mean()}
            return td_loss + penalty.mean(1).sum(), metrics

        mc_return = batch.mc_return if self.calibrated else jnp.zeros_like(batch.reward)
        uniform = jax.random.uniform(gradient_key, batch.reward.shape)
        evaluations = 1 + actions.shape[1]
        # Where few of them have a gradient, the activations of the others are soon forgotten.
        kept = evaluations // 4 if self.gradient_samples else evaluations
        critic_grads_of = optim.value_and_grad_in_chunks(critic_loss, features.shape[0], kept)
        (critic_loss_value, metrics), critic_grads = critic_grads_of(
            state.nets["critic"], features, batch.action, td_target, actions, log_density, mc_return, uniform
        )

        imitation = None
        if self.bc_steps or self.bc_weight:
            first = state.step < self.bc_steps
            imitation = (batch.action, jnp.where(first, 0.0, 1.0), jnp.where(first, 1.0, self.bc_weight))
        new_nets, new_opt_state, actor_metrics = soft.actor_step(self, state, features, actor_key, imitation)
        grads = {"critic": critic_grads}
        if self.lagrange:
            grads["multiplier"] = jax.grad(self._multiplier_loss)(state.nets["multiplier"], metrics["conservative_gap"])
            metrics["multiplier"] = multiplier
        optimizers = soft.optimizers(self) | {"multiplier": optim.adam(self.multiplier_lr)}
        critic_nets, critic_opt_state = step_all(optimizers, grads, state)
        state = advance(state, new_nets | critic_nets, new_opt_state | critic_opt_state, self.tau)
        return state, {"critic_loss": critic_loss_value} | metrics | actor_metrics | chosen

    def policy(self, state):
        return nets.Policy(state.nets["actor"])

    def _next_value(self, state, next_features, there, key):
        """(B,) value of s' under the target critics."""
        count = self.actions if self.max_target_backup else 1
        mean, log_std = (part[:, None] for part in there)
        action, log_prob = nets.tanh_normal_sample(mean, log_std, key, (mean.shape[0], count))
        critic = state.targets["critic"]
        value = optim.in_chunks(lambda features, action: critic(features[:, None], action).min(0), *action.shape[:2])
        q = value(next_features, action)
        if self.backup_entropy:
            q = q - jnp.exp(state.nets["temperature"]()) * log_prob
        return q.max(-1)

    def _penalty_actions(self, here, there, key):
        """Actions (B, N, d), their log densities (B, N), and how many of the first are the policy's own."""
        rows, dimensions = here[0].shape
        shape = (rows, self.actions)
        uniform_key, here_key, there_key = jax.random.split(key, 3)
        uniform = jax.random.uniform(uniform_key, (*shape, dimensions), minval=-1.0, maxval=1.0)
        uniform_density = jnp.full(shape, dimensions * math.log(0.5))

        def from_policy(parameters, key):
            mean, log_std = (jax.lax.stop_gradient(part)[:, None] for part in parameters)
            return nets.tanh_normal_sample(mean, log_std, key, shape)

        if self.regulariser != "entropy":
            if self.prior == "uniform":
                return uniform, uniform_density, 0
            return *from_policy(here, here_key), self.actions
        drawn = [from_policy(here, here_key), from_policy(there, there_key), (uniform, uniform_density)]
        actions, densities = (jnp.concatenate(parts, axis=1) for parts in zip(*drawn, strict=True))
        return actions, densities, 2 * self.actions

    def _inner_maximum(self, q_sampled, q_data, log_density):
        """max over mu of E_mu[Q] + R(mu): (E, B)."""
        if self.regulariser == "kl":
            return losses.conservative.kl(q_sampled)
        if self.regulariser == "chi_square":
            return losses.conservative.chi_square(q_sampled)
        if self.importance_weights:
            return losses.conservative.entropy(q_sampled, log_density)
        return losses.conservative.entropy(jnp.concatenate([q_sampled, q_data[..., None]], axis=-1))

    def _multiplier(self, state):
        if not self.lagrange:
            return 1.0
        return jax.lax.stop_gradient(jnp.clip(jnp.exp(state.nets["multiplier"]()), 0.0, 1e6))

    def _multiplier_loss(self, scalar, gap):
        """Raises the multiplier while the mean gap is above its target."""
        return -jnp.clip(jnp.exp(scalar()), 0.0, 1e6) * self.weight * (gap - self.target_gap)


def CalQL(**changes) -> CQL:
    """Calibrated Q-learning (Nakamoto et al. 2023): CQL with `calibrated` on."""
    return config.replace(CQL(calibrated=True), **changes)


def _halves(parameters):
    """Split arrays of 2 B rows into two tuples of arrays of B rows."""
    split = [jnp.split(part, 2) for part in parameters]
    return tuple(first for first, _ in split), tuple(second for _, second in split)

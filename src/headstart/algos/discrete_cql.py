"""CQL(R) for discrete actions: double Q-learning with an exact conservative term."""

from __future__ import annotations

import dataclasses
from typing import Literal

from headstart.algorithm import View
from headstart.algos.require import discrete_actions, sound_fields
from headstart.algos.shared import advance, bellman_error, fresh_state, step_all
from headstart.lazy import jax, jnp, losses, nets, optim


@dataclasses.dataclass(frozen=True)
class DiscreteCQL:
    """CQL(R) over a finite action set (Kumar et al. 2020, section 6 and appendix F): the maximum over mu is exact.

    The policy is greedy; when sampled it is epsilon-greedy. `calibrated` bounds every Q in the conservative term by
    the Monte-Carlo return (Cal-QL), since with a greedy policy any action may be the policy's.
    """

    regulariser: Literal["entropy", "kl", "chi_square"] = "entropy"
    """R: entropy is CQL(H); kl and chi_square are relative to the uniform distribution."""
    weight: float = 1.0
    """Weight of the conservative term."""
    calibrated: bool = False
    """Never push Q below the Monte-Carlo return."""
    critic_widths: tuple[int, ...] = (256, 256)
    """Hidden layers of each critic."""
    critics: int = 1
    """Size of the critic ensemble; targets take the minimum."""
    critic_layer_norm: bool = False
    """LayerNorm in the critics."""
    critic_bias: float = 0.0
    """Initial output of the critics, in units of return."""
    critic_lr: float = 3e-4
    """Adam learning rate."""
    tau: float = 5e-3
    """Share of the online critics that moves into the targets each update."""
    epsilon: float = 0.05
    """Probability of a random action when the policy is sampled."""
    discount: float = 0.99
    """gamma per step."""
    n_step: int = 1
    """Steps summed in the reward before bootstrapping."""
    batch_size: int = 256
    """Rows of a batch."""
    tasks: bool = False
    """Act on tasks: the vector of each row's task joins the observation."""

    def __post_init__(self):
        sound_fields(self)

    def view(self) -> View:
        return View(
            batch_size=self.batch_size,
            discount=self.discount,
            n_step=self.n_step,
            mc_return=self.calibrated,
            tasks=self.tasks,
        )

    def init(self, key, spec):
        discrete_actions("discrete_cql", spec)

        def make(inputs, key):
            return nets.DiscreteCritic(
                nets.MLP(
                    inputs, self.critic_widths, spec.action.categories, key,
                    output_gain=0.01, output_bias=self.critic_bias, layer_norm=self.critic_layer_norm,
                )
            )  # fmt: skip

        critic = nets.Ensemble.seeing(make, spec.input_size, self.critics, key)
        return fresh_state({"critic": critic}, {"critic": optim.adam(self.critic_lr)}, targets=("critic",))

    def update(self, state, batch, key):
        features = nets.flatten(batch.observation, batch.context)
        next_features = nets.flatten(batch.next_observation, batch.context)
        action = batch.action.astype(jnp.int32)[:, None]

        # Double Q-learning: the online critics choose, the target critics value.
        choice = state.nets["critic"](next_features).min(0).argmax(-1)[:, None]
        next_q = jnp.take_along_axis(state.targets["critic"](next_features).min(0), choice, -1)[:, 0]
        td_target = losses.value.bootstrap(batch.reward, batch.discount, next_q)

        def critic_loss(critic):
            q = critic(features)
            q_data = jnp.take_along_axis(q, jnp.broadcast_to(action, (*q.shape[:2], 1)), -1)[..., 0]
            metrics = {"q_data": q_data.mean(), "q_policy": q.max(-1).mean()}
            if self.calibrated:
                bounded = losses.conservative.calibrated(q, batch.mc_return)
                metrics["bound_rate"] = (bounded > q).mean()
                q = bounded
            gap = getattr(losses.conservative, self.regulariser)(q) - q_data
            td_loss = bellman_error(q_data, td_target)
            loss = td_loss + self.weight * gap.mean(1).sum()
            return loss, metrics | {"critic_loss": loss, "td_loss": td_loss, "conservative_gap": gap.mean()}

        grads, metrics = jax.grad(critic_loss, has_aux=True)(state.nets["critic"])
        critic, opt_state = step_all({"critic": optim.adam(self.critic_lr)}, {"critic": grads}, state)
        return advance(state, critic, opt_state, self.tau), metrics

    def policy(self, state):
        return nets.Policy(nets.GreedyActor(state.nets["critic"], self.epsilon))

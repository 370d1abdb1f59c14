"""Fitted Q evaluation: what a fixed policy is worth, from data alone."""

from __future__ import annotations

import dataclasses
from typing import NoReturn

from headstart.algorithm import View
from headstart.algos.require import known_actions, sound_fields
from headstart.algos.shared import advance, fresh_state, step_all
from headstart.errors import UsageError
from headstart.lazy import jax, jnp, losses, nets, optim


@dataclasses.dataclass(frozen=True)
class FQE:
    """Fitted Q evaluation (Le et al. 2019), with slowly moving targets and an ensemble (Paine et al. 2020).

    The policy is part of the data: `next_action` of the batches is what it does at `next_observation`
    (`Table.next_actions`). Each critic regresses to r + gamma * Q_target(s', a') by its own target, so that their
    spread shows how little the data says. With the data's own actions this evaluates whoever collected it. Actions are
    continuous or discrete. It has no policy: it is for `headstart.selection`, not a name for `pretrain`.
    """

    critic_widths: tuple[int, ...] = (256, 256)
    """Hidden layers of each critic."""
    critics: int = 2
    """Size of the ensemble."""
    critic_layer_norm: bool = True
    """LayerNorm in the critics."""
    critic_bias: float = 0.0
    """Initial output of the critics, in units of return."""
    critic_lr: float = 1e-3
    """Adam learning rate."""
    lowest: float | None = None
    """Least return that rewards allow, below which no target goes; None: no bound."""
    highest: float | None = None
    """The same above."""
    tau: float = 1e-2
    """Share of the critics that moves into the targets each update."""
    discount: float = 0.99
    """gamma per step."""
    batch_size: int = 256
    """Rows of a batch."""

    def __post_init__(self):
        sound_fields(self)

    def view(self) -> View:
        return View(batch_size=self.batch_size, discount=self.discount, next_action=True)

    def init(self, key, spec):
        known_actions("fqe", spec)
        options = {"output_gain": 0.01, "output_bias": self.critic_bias, "layer_norm": self.critic_layer_norm}

        def discrete(key):
            trunk = nets.MLP(spec.input_size, self.critic_widths, spec.action.categories, key, **options)
            return nets.DiscreteCritic(trunk)

        if spec.action.discrete:
            critic = nets.Ensemble.of(discrete, self.critics, key)
        else:
            critic = nets.critic_ensemble(spec, self.critic_widths, self.critics, key, **options)
        return fresh_state({"critic": critic}, {"critic": optim.adam(self.critic_lr)}, targets=("critic",))

    def update(self, state, batch, key):
        features = nets.flatten(batch.observation, batch.context)
        next_features = nets.flatten(batch.next_observation, batch.context)
        next_q = action_values(state.targets["critic"], next_features, batch.next_action)
        reward, discount = (jnp.broadcast_to(part, next_q.shape) for part in (batch.reward, batch.discount))
        td_target = losses.value.bootstrap(reward, discount, next_q)
        if self.lowest is not None or self.highest is not None:
            td_target = jnp.clip(td_target, self.lowest, self.highest)

        def critic_loss(critic):
            q = action_values(critic, features, batch.action)
            loss = losses.value.squared(q, td_target).mean(1).sum()
            return loss, {"td_loss": loss, "q_data": q.mean(), "q_policy": next_q.mean()}

        grads, metrics = jax.grad(critic_loss, has_aux=True)(state.nets["critic"])
        critic, opt_state = step_all({"critic": optim.adam(self.critic_lr)}, {"critic": grads}, state)
        return advance(state, critic, opt_state, self.tau), metrics

    def policy(self, state) -> NoReturn:
        raise UsageError("fqe evaluates a policy that it is given and has none of its own")


def action_values(critic, features, action):
    """(E, B) values of an ensemble; features (B, f), actions (B, d), or (B,) integers of a `DiscreteCritic`."""
    if not isinstance(critic.members, nets.DiscreteCritic):
        return critic(features, action)
    q = critic(features)
    index = jnp.broadcast_to(action.astype(jnp.int32)[:, None], (*q.shape[:2], 1))
    return jnp.take_along_axis(q, index, -1)[..., 0]

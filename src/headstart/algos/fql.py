"""Flow Q-learning, and Q-chunking by its settings."""

from __future__ import annotations

import dataclasses
from typing import Literal

from headstart import config
from headstart.algorithm import View
from headstart.algos.require import continuous_actions, sound_fields
from headstart.algos.shared import advance, bellman_error, flow_error, fresh_state, step_all
from headstart.errors import UsageError
from headstart.lazy import jax, jnp, losses, nets, optim


@dataclasses.dataclass(frozen=True)
class FQL:
    """Flow Q-learning (Park et al. 2025); deciding on chunks of actions it is Q-chunking (Li et al. 2025), `QC()`.

    A flow imitates the data's actions, however they are distributed; a one-step actor maximises Q and stays near the
    flow. Defaults are those of its code, but that Q is normalised, as its authors recommend for new tasks.
    """

    alpha: float = 10.0
    """Weight of the actor's distance to the flow against Q; the field to tune (0.03 to 10 where Q is normalised)."""
    normalize_q_loss: bool = True
    """Divide Q by its mean size in the actor's loss, so that one alpha serves tasks of any reward scale."""
    chunk: int = 1
    """Actions decided on at once and executed without looking again (QC: 5); Q is of the whole chunk."""
    best_of: int = 0
    """Act by the best, by Q, of so many draws from the flow, and learn no actor (QC: 32); 0: by the actor."""
    flow_steps: int = 10
    """Euler steps from noise to action."""
    q_agg: Literal["mean", "min"] = "mean"
    """How the critics' values become one in the target and among draws (FQL: min in antmazes and adroit)."""
    actor_widths: tuple[int, ...] = (512, 512, 512, 512)
    """Hidden layers of flow and actor."""
    critic_widths: tuple[int, ...] = (512, 512, 512, 512)
    """Hidden layers of each critic."""
    critics: int = 2
    """Size of the critic ensemble."""
    actor_layer_norm: bool = False
    """LayerNorm in flow and actor."""
    critic_layer_norm: bool = True
    """LayerNorm in the critics."""
    critic_bias: float = 0.0
    """Initial output of the critics, in units of return."""
    actor_lr: float = 3e-4
    """Adam learning rate of flow and actor."""
    critic_lr: float = 3e-4
    """Adam learning rate of the critics."""
    tau: float = 5e-3
    """Share of the online critics that moves into the targets each update."""
    discount: float = 0.99
    """gamma per step (0.995 for long tasks)."""
    n_step: int = 1
    """Steps summed in the reward before bootstrapping; with chunks it is their length."""
    batch_size: int = 256
    """Rows of a batch."""
    tasks: bool = False
    """Act on tasks: the vector of each row's task joins the observation."""

    def __post_init__(self):
        sound_fields(self)
        config.at_least(self, 0, "alpha", "best_of")
        if self.chunk > 1 and self.n_step > 1:
            raise UsageError("rewards are summed over a chunk, so n_step has no say there; set it or chunk to 1")

    def view(self) -> View:
        return View(
            batch_size=self.batch_size,
            discount=self.discount,
            chunk=self.chunk,
            n_step=max(self.chunk, self.n_step),
            tasks=self.tasks,
        )

    def init(self, key, spec):
        continuous_actions("fql", spec)
        # To the networks a chunk is one long action.
        size = self.chunk * spec.action.size
        flow_key, actor_key, critic_key = jax.random.split(key, 3)
        options = {"widths": self.actor_widths, "layer_norm": self.actor_layer_norm}

        def critic(inputs, key):
            trunk = nets.perceptron(
                inputs + size, self.critic_widths, 1, key,
                layer_norm=self.critic_layer_norm, output_bias=self.critic_bias,
            )  # fmt: skip
            return nets.Critic(trunk)

        components = {
            "flow": nets.flow_actor(spec.input_size, size, key=flow_key, steps=self.flow_steps, **options),
            "critic": nets.Ensemble.seeing(critic, spec.input_size, self.critics, critic_key),
        }
        if not self.best_of:
            components["actor"] = nets.one_step_actor(spec.input_size, size, key=actor_key, **options)
        return fresh_state(components, self._optimizers(components), targets=("critic",))

    def update(self, state, batch, key):
        flow_key, actor_key, next_key, fill_key = jax.random.split(key, 4)
        features = nets.flatten(batch.observation, batch.context)
        next_features = nets.flatten(batch.next_observation, batch.context)
        action, taken, weight = _whole(batch, fill_key)
        flow, critic = state.nets["flow"], state.nets["critic"]

        def flow_loss(flow):
            loss = (taken * flow_error(flow, features, action, flow_key)).mean()
            return loss, {"flow_loss": loss}

        def actor_loss(actor):
            noise = jax.random.normal(actor_key, action.shape)
            unbounded = actor.unbounded(features, noise)
            distance = losses.flow.distillation(unbounded, flow(features, noise)).mean(-1)
            q = critic(features, jnp.clip(unbounded, -1.0, 1.0)).mean(0)
            gain = losses.policy.normalised(q) if self.normalize_q_loss else q
            loss = (self.alpha * distance - gain).mean()
            return loss, {"actor_loss": loss, "flow_distance": distance.mean(), "q_policy": q.mean()}

        next_action = self._actor(state).sample(next_features, next_key)
        next_q = state.targets["critic"](next_features, next_action)
        next_q = next_q.min(0) if self.q_agg == "min" else next_q.mean(0)
        td_target = losses.value.bootstrap(batch.reward, batch.discount, next_q)

        def critic_loss(critic):
            q = critic(features, action)
            loss = bellman_error(q, td_target, weight)
            return loss, {"td_loss": loss, "q_data": q.mean()}

        grads, metrics = {}, {}
        for name, loss in {"flow": flow_loss, "actor": actor_loss, "critic": critic_loss}.items():
            if name in state.nets:
                grads[name], more = jax.grad(loss, has_aux=True)(state.nets[name])
                metrics |= more
        new_nets, new_opt_state = step_all(self._optimizers(grads), grads, state)
        return advance(state, new_nets, new_opt_state, self.tau), metrics

    def policy(self, state):
        actor = self._actor(state)
        return nets.Policy(actor) if self.chunk == 1 else nets.ChunkPolicy(actor, self.chunk)

    def _actor(self, state):
        if self.best_of:
            return nets.BestOfActor(state.nets["flow"], state.nets["critic"], self.best_of, self.q_agg)
        return state.nets["actor"]

    def _optimizers(self, components):
        return {name: optim.adam(self.critic_lr if name == "critic" else self.actor_lr) for name in components}


def QC(**changes) -> FQL:
    """Q-chunking (Li et al. 2025): chunks of 5 actions, the best of 32 draws from the flow."""
    return config.replace(FQL(chunk=5, best_of=32), **changes)


def QCFQL(**changes) -> FQL:
    """Q-chunking with FQL's actor (Li et al. 2025, QC-FQL): chunks of 5 actions."""
    return config.replace(FQL(chunk=5), **changes)


def _whole(batch, key):
    """Actions (B, d), those of a chunk side by side; which of them were taken (B, d); weight of a row's TD error (B,).

    After the task's end actions change nothing, and random ones stand there: such a chunk is as good as a whole one,
    its return exact (QC's code leaves it out). One that a time limit cut short has no target; what was taken of it is
    imitated.
    """
    if batch.valid is None:
        return batch.action, 1.0, 1.0
    random = jax.random.uniform(key, batch.action.shape, minval=-1.0, maxval=1.0)
    valid = jnp.broadcast_to(batch.valid[..., None], batch.action.shape)
    action = jnp.where(valid, batch.action, random)
    whole = batch.valid[:, -1] | (batch.discount == 0.0)
    return *(part.reshape(len(action), -1) for part in (action, valid)), whole.astype(action.dtype)

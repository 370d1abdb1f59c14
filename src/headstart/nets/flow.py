"""Actors that turn noise into actions: a flow of many steps, its one-step student, and the best of several draws.

All of them give actions (B, d) in [-1, 1]; a chunk of h actions of n dimensions is one action of h * n dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp

from headstart.nets.heads import Ensemble
from headstart.nets.layers import MLP


def euler(velocity: Callable[[jax.Array, jax.Array], jax.Array], start: jax.Array, steps: int) -> jax.Array:
    """Where dx/dt = velocity(x, t) carries `start` (..., d) from t = 0 to 1, in equal steps; t is (..., 1)."""

    def step(i, x):
        time = jnp.full((*x.shape[:-1], 1), i / steps, x.dtype)
        return x + velocity(x, time) / steps

    return jax.lax.fori_loop(0, steps, step, start)


class FlowActor(eqx.Module):
    """A velocity field v(s, x, t) that carries noise to actions; `steps` Euler steps."""

    trunk: MLP
    steps: int = eqx.field(static=True, default=10)

    @property
    def size(self) -> int:
        """Number of action dimensions d."""
        return self.trunk.output.bias.shape[-1]

    def velocity(self, features: jax.Array, x: jax.Array, time: jax.Array) -> jax.Array:
        """(..., d) of features (..., f), points (..., d) and times (..., 1)."""
        return self._velocity(self.trunk.see(features), x, time)

    def __call__(self, features: jax.Array, noise: jax.Array) -> jax.Array:
        """The actions (..., d) that noise (..., d) flows to; the leading axes of features broadcast."""
        # Looked at once for all steps and all noise.
        seen = self.trunk.see(features)
        seen = jnp.broadcast_to(seen, (*noise.shape[:-1], seen.shape[-1]))
        return jnp.clip(euler(lambda x, time: self._velocity(seen, x, time), noise, self.steps), -1.0, 1.0)

    def _velocity(self, seen: jax.Array, x: jax.Array, time: jax.Array) -> jax.Array:
        return self.trunk.of_seen(jnp.concatenate([seen, x, time], axis=-1))

    def mode(self, features: jax.Array) -> jax.Array:
        """The action that the centre of the noise flows to. A flow has no likelihood to maximise: where the data has
        several modes, this action may lie between them, and a sample does not."""
        return self(features, jnp.zeros((*features.shape[:-1], self.size)))

    def sample(self, features: jax.Array, key: jax.Array) -> jax.Array:
        return self(features, jax.random.normal(key, (*features.shape[:-1], self.size)))


class OneStepActor(eqx.Module):
    """Noise to actions by one perceptron, the student of a flow (Park et al. 2025)."""

    trunk: MLP

    @property
    def size(self) -> int:
        """Number of action dimensions d."""
        return self.trunk.output.bias.shape[-1]

    def unbounded(self, features: jax.Array, noise: jax.Array) -> jax.Array:
        """Actions (..., d) before they are cut to [-1, 1]."""
        return self.trunk(jnp.concatenate([features, noise], axis=-1))

    def mode(self, features: jax.Array) -> jax.Array:
        """The action of the centre of the noise."""
        return jnp.clip(self.unbounded(features, jnp.zeros((*features.shape[:-1], self.size))), -1.0, 1.0)

    def sample(self, features: jax.Array, key: jax.Array) -> jax.Array:
        noise = jax.random.normal(key, (*features.shape[:-1], self.size))
        return jnp.clip(self.unbounded(features, noise), -1.0, 1.0)


class BestOfActor(eqx.Module):
    """Of `count` actions drawn from a flow the one that the critics value most (Li et al. 2025, QC).

    over_critics: how the values of an ensemble become one.
    """

    flow: FlowActor
    critic: Ensemble
    count: int = eqx.field(static=True)
    over_critics: Literal["mean", "min"] = eqx.field(static=True, default="mean")

    def mode(self, features: jax.Array) -> jax.Array:
        """The best of actions from noise that is the same in every state and at every call."""
        return self._best(features, jax.random.normal(jax.random.key(0), (self.count, self.flow.size)))

    def sample(self, features: jax.Array, key: jax.Array) -> jax.Array:
        return self._best(features, jax.random.normal(key, (*features.shape[:-1], self.count, self.flow.size)))

    def _best(self, features: jax.Array, noise: jax.Array) -> jax.Array:
        """noise: (..., count, d)."""
        features = features[..., None, :]
        actions = self.flow(features, jnp.broadcast_to(noise, (*features.shape[:-2], *noise.shape[-2:])))
        q = self.critic(features, actions)
        q = q.min(0) if self.over_critics == "min" else q.mean(0)
        return jnp.take_along_axis(actions, q.argmax(-1)[..., None, None], axis=-2)[..., 0, :]


def perceptron(inputs: int, widths: tuple[int, ...], outputs: int, key: jax.Array, **options) -> MLP:
    """As FQL's code has it: GELU, LayerNorm (where there is any) after it, Glorot initialisation."""
    return MLP(inputs, widths, outputs, key, init="glorot_uniform", activation="gelu", norm_last=True, **options)


def flow_actor(features: int, size: int, widths: tuple[int, ...], key: jax.Array, steps: int, **options) -> FlowActor:
    """A flow to actions of `size` dimensions; options go to `MLP`."""
    return FlowActor(perceptron(features + size + 1, widths, size, key, **options), steps)


def one_step_actor(features: int, size: int, widths: tuple[int, ...], key: jax.Array, **options) -> OneStepActor:
    """The same in one step."""
    return OneStepActor(perceptron(features + size, widths, size, key, **options))

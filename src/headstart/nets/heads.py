"""Actors, critics and values: the components of algorithms.

Every head takes features of shape (B, features), as `encoders.flatten` makes them. Actors share three methods:
`mode(features)`, `sample(features, key)` and, but for the deterministic one, `log_prob(features, action)`.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp

from headstart.nets import distributions
from headstart.nets.encoders import flatten
from headstart.nets.images import Front
from headstart.nets.layers import MLP
from headstart.nets.linear import Init


class TanhGaussianActor(eqx.Module):
    """tanh of a normal whose mean and log standard deviation depend on the state (Haarnoja et al. 2018).

    log_std = scale * raw + offset, clipped to [-20, 2], with learnable scalars as in Cal-QL's code.
    """

    trunk: MLP
    log_std_scale: jax.Array
    log_std_offset: jax.Array

    def __init__(self, trunk: MLP, log_std_offset: float = -1.0):
        self.trunk = trunk
        self.log_std_scale = jnp.asarray(1.0, jnp.float32)
        self.log_std_offset = jnp.asarray(log_std_offset, jnp.float32)

    @property
    def size(self) -> int:
        """Number of action dimensions d."""
        return self.trunk.output.bias.shape[-1] // 2

    def parameters(self, features: jax.Array) -> tuple[jax.Array, jax.Array]:
        """mean and log_std before tanh, each (B, d)."""
        mean, raw = jnp.split(self.trunk(features), 2, axis=-1)
        return mean, jnp.clip(self.log_std_scale * raw + self.log_std_offset, -20.0, 2.0)

    def mode(self, features: jax.Array) -> jax.Array:
        return jnp.tanh(self.parameters(features)[0])

    def sample(self, features: jax.Array, key: jax.Array) -> jax.Array:
        return self.sample_with_log_prob(features, key)[0]

    def sample_with_log_prob(self, features: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Actions (B, d) and log densities (B,)."""
        mean, log_std = self.parameters(features)
        return distributions.tanh_normal_sample(mean, log_std, key, mean.shape[:-1])

    def log_prob(self, features: jax.Array, action: jax.Array) -> jax.Array:
        return distributions.tanh_normal_log_prob(action, *self.parameters(features))


class GaussianActor(eqx.Module):
    """Normal with tanh mean and a state-independent standard deviation, as in IQL's code; samples are clipped."""

    trunk: MLP
    log_std: jax.Array

    def __init__(self, trunk: MLP, size: int):
        self.trunk = trunk
        self.log_std = jnp.zeros(size)

    def mode(self, features: jax.Array) -> jax.Array:
        return jnp.tanh(self.trunk(features))

    def sample(self, features: jax.Array, key: jax.Array) -> jax.Array:
        mean = self.mode(features)
        noise = jax.random.normal(key, mean.shape) * jnp.exp(self._clipped_log_std())
        return jnp.clip(mean + noise, -1.0, 1.0)

    def log_prob(self, features: jax.Array, action: jax.Array, key: jax.Array | None = None) -> jax.Array:
        """(B,) log density; key switches dropout on."""
        mean = jnp.tanh(self.trunk(features, key=key))
        return distributions.normal_log_prob(action, mean, self._clipped_log_std())

    def _clipped_log_std(self) -> jax.Array:
        return jnp.clip(self.log_std, -5.0, 2.0)


class DeterministicActor(eqx.Module):
    """tanh of a perceptron; samples add normal noise of the given standard deviation."""

    trunk: MLP
    noise: float = eqx.field(static=True, default=0.1)

    def mode(self, features: jax.Array) -> jax.Array:
        return jnp.tanh(self.trunk(features))

    def sample(self, features: jax.Array, key: jax.Array) -> jax.Array:
        mean = self.mode(features)
        return jnp.clip(mean + self.noise * jax.random.normal(key, mean.shape), -1.0, 1.0)


class CategoricalActor(eqx.Module):
    """Discrete actions by a softmax over logits."""

    trunk: MLP

    def mode(self, features: jax.Array) -> jax.Array:
        return self.trunk(features).argmax(-1).astype(jnp.int32)

    def sample(self, features: jax.Array, key: jax.Array) -> jax.Array:
        return jax.random.categorical(key, self.trunk(features)).astype(jnp.int32)

    def log_prob(self, features: jax.Array, action: jax.Array) -> jax.Array:
        logits = jax.nn.log_softmax(self.trunk(features))
        return jnp.take_along_axis(logits, action[:, None].astype(jnp.int32), -1)[:, 0]


class GreedyActor(eqx.Module):
    """Discrete actions by the highest value of a `DiscreteCritic`; samples are epsilon-greedy."""

    critic: Ensemble
    epsilon: float = eqx.field(static=True, default=0.05)

    def mode(self, features: jax.Array) -> jax.Array:
        return self.critic(features).min(0).argmax(-1).astype(jnp.int32)

    def sample(self, features: jax.Array, key: jax.Array) -> jax.Array:
        greedy = self.mode(features)
        explore_key, action_key = jax.random.split(key)
        count = self.critic.members.trunk.output.bias.shape[-1]
        random = jax.random.randint(action_key, greedy.shape, 0, count)
        return jnp.where(jax.random.bernoulli(explore_key, self.epsilon, greedy.shape), random, greedy)


class Critic(eqx.Module):
    """Q(s, a) of continuous actions: features (..., f) and actions (..., d) to (...,); leading axes broadcast."""

    trunk: MLP

    def __call__(self, features: jax.Array, action: jax.Array) -> jax.Array:
        return self.trunk(features, action)[..., 0]


class DiscreteCritic(eqx.Module):
    """Q(s, .) of discrete actions: features (..., f) to (..., A)."""

    trunk: MLP

    def __call__(self, features: jax.Array) -> jax.Array:
        return self.trunk(features)


class Value(eqx.Module):
    """V(s): features (..., f) to (...,)."""

    trunk: MLP

    def __call__(self, features: jax.Array) -> jax.Array:
        return self.trunk(features)[..., 0]


class Ensemble(eqx.Module):
    """Independent members with stacked parameters; a call gives the outputs with a leading axis E.

    front: what looks at the images among features, once for all members; None: each for itself, or there are none.
    """

    members: eqx.Module
    front: Front | None = None

    @classmethod
    def of(cls, make, size: int, key: jax.Array) -> Ensemble:
        """`make(key)` once for each of `size` keys."""
        return cls(jax.vmap(make)(jax.random.split(key, size)))

    @classmethod
    def seeing(cls, make, inputs: int, size: int, key: jax.Array) -> Ensemble:
        """`make(inputs, key)` once for each of `size` keys. Of a `spec.Size` the images are encoded once for all."""
        front, inputs = Front.of(inputs, jax.random.fold_in(key, size))
        return cls(cls.of(lambda key: make(inputs, key), size, key).members, front)

    @property
    def size(self) -> int:
        return jax.tree.leaves(self.members)[0].shape[0]

    def __call__(self, features: jax.Array, *more: jax.Array) -> jax.Array:
        features = self._see(features)
        # One product a member: on CPUs batched products are slower than separate ones.
        return jnp.stack([self._member(i)(features, *more) for i in range(self.size)])

    def each(self, features: jax.Array, own: jax.Array) -> jax.Array:
        """Like a call with (features, own[i]) for member i; own: (E, ...)."""
        features = self._see(features)
        return jnp.stack([self._member(i)(features, own[i]) for i in range(self.size)])

    def _see(self, features: jax.Array) -> jax.Array:
        return features if self.front is None else self.front(features)

    def _member(self, index: int) -> eqx.Module:
        return jax.tree.map(lambda leaf: leaf[index], self.members)

    def subset(self, indices: jax.Array) -> Ensemble:
        """The members at `indices` (M,)."""
        return Ensemble(jax.tree.map(lambda leaf: leaf[indices], self.members), self.front)


class Scalar(eqx.Module):
    """One learnable number, such as a log temperature."""

    value: jax.Array

    def __init__(self, value: float):
        self.value = jnp.asarray(value, jnp.float32)

    def __call__(self) -> jax.Array:
        return self.value


class Policy(eqx.Module):
    """What acts: `policy(observation, key=None, context=None) -> action`; see `Algorithm.policy`."""

    actor: eqx.Module

    def __call__(self, observation, key: jax.Array | None = None, context: jax.Array | None = None) -> jax.Array:
        features = flatten(observation, context)
        return self.actor.mode(features) if key is None else self.actor.sample(features, key)


class ChunkPolicy(eqx.Module):
    """A policy that decides on `length` actions at once; its actor gives them side by side, (B, length * d).

    `chunk` gives them all, to be executed one after the other before it is asked again. A call gives the first of them.
    """

    actor: eqx.Module
    length: int = eqx.field(static=True)

    def __call__(self, observation, key: jax.Array | None = None, context: jax.Array | None = None) -> jax.Array:
        return self.chunk(observation, key, context)[:, 0]

    def chunk(self, observation, key: jax.Array | None = None, context: jax.Array | None = None) -> jax.Array:
        """(B, length, d)."""
        actions = Policy(self.actor)(observation, key, context)
        return actions.reshape(len(actions), self.length, -1)


def tanh_gaussian_actor(
    spec, widths: tuple[int, ...], key: jax.Array, init: Init = "orthogonal", log_std_offset: float = -1.0, **options
) -> TanhGaussianActor:
    """The actor of SAC, CQL and Cal-QL for a spec; options go to `MLP`."""
    trunk = MLP(spec.input_size, widths, 2 * spec.action.size, key, init=init, output_gain=0.01, **options)
    return TanhGaussianActor(trunk, log_std_offset)


def critic_ensemble(spec, widths: tuple[int, ...], size: int, key: jax.Array, **options) -> Ensemble:
    """`size` critics of continuous actions for a spec; options go to `MLP`."""
    action = spec.action.size

    def critic(inputs: int, key: jax.Array) -> Critic:
        return Critic(MLP(inputs + action, widths, 1, key, **options))

    return Ensemble.seeing(critic, spec.input_size, size, key)

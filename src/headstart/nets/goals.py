"""Components of goal-conditioned methods: values of pairs of state and goal, their representations and actors."""

from __future__ import annotations

import math
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp

from headstart.nets.distributions import normal_log_prob
from headstart.nets.encoders import flatten
from headstart.nets.heads import CategoricalActor, Ensemble, Value
from headstart.nets.layers import MLP, Activation

OGBENCH = {"init": "glorot_uniform", "activation": "gelu", "norm_last": True}
"""How OGBench's code (Park et al. 2025) makes its perceptrons; LayerNorm in values only."""

Quasi = Literal["iqe", "mrn"]


class UnitGaussianActor(eqx.Module):
    """Normal with standard deviation 1 about a mean that is not squashed, so that its likelihood is a squared error.

    Actions are cut at +-1. Samples add normal noise of the given standard deviation to the likeliest action: what the
    likelihood takes for noise would drown it.
    """

    trunk: MLP
    noise: float = eqx.field(static=True, default=0.2)

    def mean(self, features: jax.Array) -> jax.Array:
        return self.trunk(features)

    def mode(self, features: jax.Array) -> jax.Array:
        return jnp.clip(self.mean(features), -1.0, 1.0)

    def sample(self, features: jax.Array, key: jax.Array) -> jax.Array:
        mode = self.mode(features)
        return jnp.clip(mode + self.noise * jax.random.normal(key, mode.shape), -1.0, 1.0)

    def log_prob(self, features: jax.Array, action: jax.Array) -> jax.Array:
        return normal_log_prob(action, self.mean(features), jnp.zeros(()))


def goal_actor(inputs: int, action, widths: tuple[int, ...], noise: float, key: jax.Array):
    """An actor as in OGBench for the spec of an action: `UnitGaussianActor`, or a softmax over discrete actions."""
    if action.discrete:
        return CategoricalActor(MLP(inputs, widths, action.categories, key, output_gain=0.1, **OGBENCH))
    return UnitGaussianActor(MLP(inputs, widths, action.size, key, output_gain=0.1, **OGBENCH), noise)


class GoalValue(eqx.Module):
    """V(s, g): features (B, f) and goals (B, c) to (E, B), by an ensemble that may look at the goal through a
    representation phi([s; g]) of length sqrt(its size), as in HIQL."""

    heads: Ensemble
    representation: MLP | None

    def __init__(
        self, state: int, goal: int, widths: tuple[int, ...], key: jax.Array, size: int = 0, layer_norm: bool = True,
        activation: Activation = "gelu",
    ):  # fmt: skip
        """state, goal: sizes of features and goals. size: of the representation; 0: none."""
        heads_key, phi_key = jax.random.split(key)
        options = OGBENCH | {"layer_norm": layer_norm, "activation": activation}
        inputs = state + (size or goal)
        self.heads = Ensemble.seeing(lambda n, key: Value(MLP(n, widths, 1, key, **options)), inputs, 2, heads_key)
        self.representation = MLP(state + goal, widths, size, phi_key, **options) if size else None

    def represent(self, features: jax.Array, goal: jax.Array) -> jax.Array:
        """(B, size)."""
        return to_sphere(self.representation(jnp.concatenate([features, goal], axis=-1)))

    def __call__(self, features: jax.Array, goal: jax.Array) -> jax.Array:
        seen = goal if self.representation is None else self.represent(features, goal)
        return self.heads(jnp.concatenate([features, seen], axis=-1))


class MultilinearValue(eqx.Module):
    """V(s, s+, z) = phi(s)^T T(z) psi(s+): features (B, f), outcomes and intentions (B, c) to (B,) (Ghosh et al. 2023).

    T(z) = D A^T B D with the diagonal D of a perceptron of psi(z), and matrices A and B that do not depend on z, which
    have biases, as in the paper's code. phi, psi and D are last hidden layers.
    """

    phi: MLP
    psi: MLP
    intention: MLP
    left: MLP
    right: MLP

    def __init__(self, state: int, outcome: int, widths: tuple[int, ...], key: jax.Array, **options):
        """state, outcome: sizes of features and outcomes. options go to `MLP`."""
        size, keys = widths[-1], jax.random.split(key, 5)
        inputs = (state, outcome, size)
        self.phi, self.psi, self.intention = (
            MLP(n, widths, 0, key, **options) for n, key in zip(inputs, keys[:3], strict=True)
        )
        self.left, self.right = (MLP(size, (), size, key, init="glorot_uniform") for key in keys[3:])

    def __call__(self, features: jax.Array, outcome: jax.Array, intention: jax.Array) -> jax.Array:
        under = self.intention(self.psi(intention))
        return (self.left(under * self.phi(features)) * self.right(under * self.psi(outcome))).sum(-1)


def to_sphere(x: jax.Array) -> jax.Array:
    """The same directions with length sqrt(size): (..., size)."""
    return x * math.sqrt(x.shape[-1]) * jax.lax.rsqrt(jnp.square(x).sum(-1, keepdims=True) + 1e-12)


class HierarchicalPolicy(eqx.Module):
    """The high level names a subgoal by its representation, the low level, which sees that alone, goes there (HIQL)."""

    high: UnitGaussianActor
    low: eqx.Module

    def __call__(self, observation, key: jax.Array | None = None, context: jax.Array | None = None) -> jax.Array:
        features = flatten(observation)
        subgoal = to_sphere(self.high.mean(flatten(observation, context)))
        features = jnp.concatenate([features, subgoal], axis=-1)
        return self.low.mode(features) if key is None else self.low.sample(features, key)


class Bilinear(eqx.Module):
    """phi(s, a) and psi(g), whose product over sqrt(size) is log of how much likelier g lies ahead than anywhere (CRL).

    features with actions (B, f + d) and goals (B, c) to (2, B, size).
    """

    phi: MLP
    psi: MLP

    def __init__(self, inputs: int, goal: int, widths: tuple[int, ...], size: int, key: jax.Array, layer_norm: bool):
        phi_key, psi_key = jax.random.split(key)
        options = OGBENCH | {"layer_norm": layer_norm}
        self.phi = MLP(inputs, widths, size, phi_key, **options)
        self.psi = MLP(goal, widths, size, psi_key, **options)

    def __call__(self, inputs: jax.Array, goal: jax.Array) -> jax.Array:
        # Each takes a share of the division by sqrt(size).
        return jnp.stack([self.phi(inputs), self.psi(goal)]) * self.psi.output.bias.shape[-1] ** -0.25


class Quasimetric(eqx.Module):
    """d(s, g) >= 0, zero for g = s, with d(a, c) <= d(a, b) + d(b, c), and not symmetric: features to (B,).

    By interval quasimetric embeddings (Wang and Isola 2022, IQE, with their maxmean) or metric residual networks (Liu
    et al. 2023, MRN) of representations phi.
    """

    phi: MLP
    mix: jax.Array
    kind: Quasi = eqx.field(static=True)
    component: int = eqx.field(static=True)

    def __init__(
        self, inputs: int, widths: tuple[int, ...], size: int, component: int, kind: Quasi, key: jax.Array,
        layer_norm: bool,
    ):  # fmt: skip
        """size: of phi; component: dimensions of each of IQE's components, which divide it."""
        self.phi = MLP(inputs, widths, size, key, **OGBENCH, layer_norm=layer_norm)
        self.mix = jnp.zeros(())
        self.kind, self.component = kind, component

    def __call__(self, features: jax.Array, goal: jax.Array) -> jax.Array:
        return self.between(self.phi(features), self.phi(goal))

    def between(self, u: jax.Array, v: jax.Array) -> jax.Array:
        """Distance (...,) of representations (..., size)."""
        if self.kind == "mrn":
            return residual_distance(u, v)
        lengths = interval_lengths(*(x.reshape(*x.shape[:-1], -1, self.component) for x in (u, v)))
        mix = jax.nn.sigmoid(self.mix)
        return mix * lengths.mean(-1) + (1.0 - mix) * lengths.max(-1)


def interval_lengths(u: jax.Array, v: jax.Array) -> jax.Array:
    """(...,) length of the union of the intervals [u_j, max(u_j, v_j)] over the last axis (IQE, eq. 5).

    From left to right, each interval counts as far as it reaches beyond all before it.
    """
    order = jnp.argsort(u, axis=-1)
    left = jnp.take_along_axis(u, order, axis=-1)
    right = jnp.maximum(left, jnp.take_along_axis(v, order, axis=-1))
    reach = jax.lax.cummax(right, axis=right.ndim - 1)
    before = jnp.concatenate([left[..., :1], reach[..., :-1]], axis=-1)
    return jnp.maximum(right - jnp.maximum(left, before), 0.0).sum(-1)


def residual_distance(u: jax.Array, v: jax.Array) -> jax.Array:
    """(...,) Euclidean distance of the first halves, and max_j (u_j - v_j)_+ of the second ones (MRN, section 4)."""
    around, ahead = jnp.split(u - v, 2, axis=-1)
    # Below the bound the gradient is zero rather than infinite.
    symmetric = jnp.sqrt(jnp.maximum(jnp.square(around).sum(-1), 1e-12))
    return symmetric + jax.nn.relu(ahead.max(-1))

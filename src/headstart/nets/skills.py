"""Components of methods that learn skills without a task: representations, and nets told a skill once for all."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp

from headstart.nets.heads import Critic, Ensemble, Policy
from headstart.nets.layers import MLP


class HilbertValue(eqx.Module):
    """V(s, g) = -|phi(s) - phi(g)| of two representations phi: features (B, f) of both to (2, B) (Park et al. 2024)."""

    phi: Ensemble

    def __init__(self, inputs: int, widths: tuple[int, ...], size: int, key: jax.Array, **options):
        """size: of phi; options go to `MLP`."""
        self.phi = Ensemble.of(lambda key: MLP(inputs, widths, size, key, **options), 2, key)

    def represent(self, features: jax.Array) -> jax.Array:
        """(B, size), the first phi: the one by which skills are named."""
        return jax.tree.map(lambda leaf: leaf[0], self.phi.members)(features)

    def __call__(self, features: jax.Array, goal: jax.Array) -> jax.Array:
        squared = jnp.square(self.phi(features) - self.phi(goal)).sum(-1)
        # Below the bound the gradient is zero rather than infinite.
        return -jnp.sqrt(jnp.maximum(squared, 1e-6))


class Successor(eqx.Module):
    """F(s, a, z): features (..., f) and actions (..., d) to (..., size); leading axes broadcast."""

    trunk: MLP

    def __call__(self, features: jax.Array, action: jax.Array) -> jax.Array:
        return self.trunk(features, action)


class SkillPolicy(eqx.Module):
    """A policy whose context is a skill (B, k) of any length but zero: only its direction counts, and the actor is told
    the skill of the length on which it was trained."""

    actor: eqx.Module
    length: float = eqx.field(static=True)

    def __call__(self, observation, key: jax.Array | None = None, context: jax.Array | None = None) -> jax.Array:
        return Policy(self.actor)(observation, key, self.length * to_unit(context))


class PriorPolicy(eqx.Module):
    """Two levels: the likeliest skill of a prior over skills, or one drawn from it, and what the actor does with it."""

    prior: eqx.Module
    actor: eqx.Module

    def __call__(self, observation, key: jax.Array | None = None, context: jax.Array | None = None) -> jax.Array:
        skill_key, key = (None, None) if key is None else jax.random.split(key)
        skill = Policy(self.prior)(observation, skill_key)
        return Policy(self.actor)(observation, key, skill)


def valued(forward: Ensemble, skill: jax.Array) -> Ensemble:
    """The critics Q = F^T z of an ensemble of `Successor` at a skill z (size,)."""

    def output(trunk: MLP) -> tuple[jax.Array, jax.Array]:
        return trunk.output.weight, trunk.output.bias

    trunk = forward.members.trunk
    products = tuple((part @ skill)[..., None] for part in output(trunk))
    return Ensemble(Critic(eqx.tree_at(output, trunk, products)))


def to_unit(x: jax.Array) -> jax.Array:
    """The same directions with length 1: (..., size)."""
    return x * jax.lax.rsqrt(jnp.square(x).sum(-1, keepdims=True) + 1e-12)


def told(net: eqx.Module, before: int, skill: jax.Array) -> eqx.Module:
    """The net whose perceptrons are told a skill (k,) once for all: they take all other inputs, and give the same.

    before: number of the inputs that stand before the skill.
    """

    def first(trunk: MLP) -> tuple[jax.Array, jax.Array]:
        layer = (*trunk.hidden, trunk.output)[0]
        return layer.weight, layer.bias

    def one(part):
        if not isinstance(part, MLP):
            return part
        weight, bias = first(part)
        above, own, below = jnp.split(weight, [before, before + len(skill)], axis=-2)
        return eqx.tree_at(first, part, (jnp.concatenate([above, below], axis=-2), bias + skill @ own))

    return jax.tree.map(one, net, is_leaf=lambda part: isinstance(part, MLP))

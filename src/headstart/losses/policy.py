"""Losses of policies. Elementwise: no loss takes a mean over the batch."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from headstart.losses.value import same_rank


def soft_policy(log_prob: jax.Array, q: jax.Array, temperature: jax.Array) -> jax.Array:
    """temperature * log pi(a|s) - Q(s, a) (Haarnoja et al. 2018, SAC, eq. 9); (B,) each, gradient through a."""
    same_rank(log_prob, q)
    return jax.lax.stop_gradient(temperature) * log_prob - q


def temperature(log_temperature: jax.Array, log_prob: jax.Array, target_entropy: float) -> jax.Array:
    """-log_temperature * (log pi + target entropy) (B,), in the log form that the reference codes use."""
    return -log_temperature * jax.lax.stop_gradient(log_prob + target_entropy)


def advantage_weighted(log_prob: jax.Array, advantage: jax.Array, inverse_temperature: float, limit: float = 100.0):
    """-exp(inverse_temperature * A) log pi(a|s), the weight cut at `limit` (IQL, eq. 7)."""
    same_rank(log_prob, advantage)
    weight = jnp.minimum(jnp.exp(inverse_temperature * advantage), limit)
    return -jax.lax.stop_gradient(weight) * log_prob


def behaviour_distance(action: jax.Array, data_action: jax.Array) -> jax.Array:
    """(B,) squared distance of actions, summed over dimensions (TD3+BC, ReBRAC)."""
    same_rank(action, data_action)
    return jnp.square(action - data_action).sum(-1)


def normalised(q: jax.Array) -> jax.Array:
    """Q / mean |Q| (B,): a term that stands beside it weighs the same at any scale of rewards (TD3+BC, FQL).

    The mean is over the batch and takes no gradient.
    """
    return q / jax.lax.stop_gradient(jnp.maximum(jnp.abs(q).mean(), 1e-6))

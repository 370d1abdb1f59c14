"""Distributions over actions, as functions of their parameters."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


def normal_log_prob(x: jax.Array, mean: jax.Array, log_std: jax.Array) -> jax.Array:
    """(...,) log density of a diagonal normal at x (..., d)."""
    return (-0.5 * jnp.square((x - mean) * jnp.exp(-log_std)) - log_std - _HALF_LOG_TWO_PI).sum(-1)


def _log_tanh_derivative(x: jax.Array) -> jax.Array:
    """log(1 - tanh(x)**2), stable for large |x|."""
    return 2.0 * (math.log(2.0) - x - jax.nn.softplus(-2.0 * x))


def tanh_normal_sample(
    mean: jax.Array, log_std: jax.Array, key: jax.Array, shape: tuple[int, ...]
) -> tuple[jax.Array, jax.Array]:
    """Actions (*shape, d) in (-1, 1) and their log densities (*shape,), differentiable in mean and log_std.

    mean and log_std (..., d) broadcast against (*shape, d).
    """
    noise = jax.random.normal(key, (*shape, mean.shape[-1]))
    raw = mean + jnp.exp(log_std) * noise
    base = (-0.5 * jnp.square(noise) - log_std - _HALF_LOG_TWO_PI).sum(-1)
    return jnp.tanh(raw), base - _log_tanh_derivative(raw).sum(-1)


def tanh_normal_log_prob(action: jax.Array, mean: jax.Array, log_std: jax.Array) -> jax.Array:
    """(...,) log density at actions (..., d); actions nearer to a bound than 1e-3 are moved inside.

    Recorded actions often lie on a bound, where the density has no limit: a likelihood that follows them there
    would be ruled by them alone.
    """
    raw = jnp.arctanh(jnp.clip(action, -1.0 + 1e-3, 1.0 - 1e-3))
    return normal_log_prob(raw, mean, log_std) - _log_tanh_derivative(raw).sum(-1)

"""Losses of flow policies (Lipman et al. 2023; Park et al. 2025, FQL). Elementwise: none takes a mean over the batch.

A flow carries noise at time 0 to actions at time 1 along a velocity field that is learned on straight lines.
"""

from __future__ import annotations

import jax

from headstart.losses.value import same_rank, squared


def between(noise: jax.Array, action: jax.Array, time: jax.Array) -> jax.Array:
    """(1 - t) * noise + t * action: the point of the straight line at time t; (B, d) each, t (B, 1) in [0, 1]."""
    same_rank(noise, action, time)
    return (1.0 - time) * noise + time * action


def matching(velocity: jax.Array, noise: jax.Array, action: jax.Array) -> jax.Array:
    """(velocity - (action - noise))**2 (B, d): the line's velocity is constant (FQL, eq. 6)."""
    return squared(velocity, action - noise)


def distillation(action: jax.Array, flow_action: jax.Array) -> jax.Array:
    """(action - flow_action)**2 (B, d) of the one-step policy and the flow for the same noise; no gradient to the flow
    (FQL, eq. 8)."""
    return squared(action, jax.lax.stop_gradient(flow_action))

"""What updates cost on this machine, in a second: operations counted by XLA, at the speed of a short measurement."""

from __future__ import annotations

import time
from typing import Any

import jax
import jax.numpy as jnp

from headstart.data.dataset import Dataset
from headstart.data.normalize import Normalizer
from headstart.data.views import one_batch, table
from headstart.envs import factory
from headstart.train import updates

EFFICIENCY = 0.4
"""Speed of updates relative to plain products of matrices of their size (measured: 0.25 to 0.6)."""

OVERHEAD = 3e-4
"""Seconds an update takes however small its networks are."""

BASIS = (
    "operations of one update counted by XLA, at {:.0f} GFLOP/s measured just now on products of matrices and an "
    "efficiency of 40%: right to about a factor of two on a machine that does nothing else"
)


def speed() -> float:
    """Floating-point operations a second in products of matrices, measured for a tenth of a second."""
    product = jax.jit(lambda x, w: x @ w)
    x, w = jnp.ones((256, 512)), jnp.ones((512, 512))
    product(x, w).block_until_ready()
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < 0.1:
        product(x, w).block_until_ready()
        count += 1
    return count * 2 * 256 * 512 * 512 / (time.perf_counter() - started)


def seconds(algorithm: Any, data: Dataset, speed: float) -> float:
    """Of one update. Nothing is compiled."""
    return operations(algorithm, data) / (EFFICIENCY * speed) + OVERHEAD


def operations(algorithm: Any, data: Dataset) -> float:
    """Floating-point operations of one update, batch included.

    Raises `UsageError` where the algorithm does not fit the data.
    """
    view = algorithm.view()
    spec = view.with_context(data.spec)
    # A few episodes show all shapes.
    data = data.select(range(min(data.episodes, 8)), "some episodes") if data.steps > 10_000 else data
    rows, normalizer = table(data, view), Normalizer.of(spec)
    batch = one_batch(rows, view, normalizer)
    keys = jax.random.split(jax.random.key(0), 1)
    learner = jax.eval_shape(lambda keys: updates.learner(updates.fresh(algorithm, spec, keys), algorithm, batch), keys)
    lowered = updates.from_table.lower(algorithm, frozenset(), learner, keys, 0, 1, rows, normalizer)
    return float(lowered.cost_analysis()["flops"])


def decision(env: str) -> float:
    """Seconds that one step of the environment takes, measured for a fifth of a second."""
    made = factory.make(env)
    try:
        made.reset(seed=0)
        made.action_space.seed(0)
        count, started = 0, time.perf_counter()
        while time.perf_counter() - started < 0.2:
            _, _, terminated, truncated, _ = made.step(made.action_space.sample())
            count += 1
            if terminated or truncated:
                made.reset()
        return (time.perf_counter() - started) / count
    finally:
        made.close()

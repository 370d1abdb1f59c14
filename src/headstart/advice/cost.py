"""What updates cost on this machine, told in a second: operations counted, at the speed of a short measurement."""

from __future__ import annotations

import math
import time
from typing import Any

import jax
import jax.numpy as jnp

from headstart import nets
from headstart.data.dataset import Dataset
from headstart.data.normalize import Normalizer
from headstart.data.views import one_batch, table
from headstart.envs import factory

EFFICIENCY = 0.7
"""Speed of updates relative to plain products of matrices (measured with BC, IQL, Cal-QL, GCIVL and FQL of default size
on one core: 0.7 to 0.9)."""

OVERHEAD = 3e-4
"""Seconds an update takes however small its networks are."""

BASIS = (
    "products of matrices in one update, counted, at {:.0f} GFLOP/s measured just now and an efficiency of {:.0%}; "
    "right to about a factor of two on a machine that does nothing else"
)


def speed() -> float:
    """Floating-point operations a second in products of matrices (256, 512) and (512, 512): the fastest of those that
    fit in a quarter of a second, since other programs only slow them down."""
    product = jax.jit(lambda x, w: x @ w)
    x, w = jnp.ones((256, 512)), jnp.ones((512, 512))
    product(x, w).block_until_ready()
    fastest, until = math.inf, time.perf_counter() + 0.25
    while (started := time.perf_counter()) < until:
        product(x, w).block_until_ready()
        fastest = min(fastest, time.perf_counter() - started)
    return 2 * 256 * 512 * 512 / fastest


def seconds(algorithm: Any, data: Dataset, speed: float) -> float:
    """Of one update. Nothing is compiled."""
    return operations(algorithm, data) / (EFFICIENCY * speed) + OVERHEAD


def operations(algorithm: Any, data: Dataset) -> float:
    """Floating-point operations of the products and convolutions in one update, from its trace.

    Raises `UsageError` where the algorithm does not fit the data.
    """
    view = algorithm.view()
    spec = view.with_context(data.spec)
    # A few episodes show all shapes.
    data = data.select(range(min(data.episodes, 8)), "some episodes") if data.steps > 10_000 else data
    batch = one_batch(table(data, view), view, Normalizer.of(spec))

    def update(key):
        return nets.seeing(algorithm.update)(algorithm.init(key, spec), batch, key)

    def init(key):
        return algorithm.init(key, spec)

    of_both, of_init = (_products(jax.make_jaxpr(made)(jax.random.key(0)).jaxpr) for made in (update, init))
    return of_both - of_init


def _products(jaxpr: Any) -> float:
    """Of a trace: what loops repeat counts as often as they do, of branches the largest."""
    total = 0.0
    for equation in jaxpr.eqns:
        name, shapes = equation.primitive.name, [getattr(var.aval, "shape", ()) for var in equation.invars]
        if name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            inner = math.prod(shapes[0][axis] for axis in contracted)
            total += 2.0 * inner * math.prod(equation.outvars[0].aval.shape)
        elif name == "conv_general_dilated":
            # Of the kernel's axes that of the outputs is in the result already.
            outputs = equation.params["dimension_numbers"].rhs_spec[0]
            inner = math.prod(shapes[1]) // shapes[1][outputs]
            total += 2.0 * inner * math.prod(equation.outvars[0].aval.shape)
        inside = [_products(part) for part in _parts(equation.params)]
        if inside:
            repeats = equation.params.get("length", 1) if name == "scan" else 1
            total += repeats * (max(inside) if name == "cond" else sum(inside))
    return total


def _parts(params: dict[str, Any]) -> list[Any]:
    """The traces inside an equation."""
    found = []
    for value in params.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            part = getattr(part, "jaxpr", part)
            if hasattr(part, "eqns"):
                found.append(part)
    return found


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

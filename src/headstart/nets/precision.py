"""The precision in which layers multiply: a choice of training, made where an update is traced."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Literal, get_args

import jax
import jax.numpy as jnp

from headstart.errors import unknown

Precision = Literal["float32", "bfloat16"]

_PRECISION: contextvars.ContextVar[Precision] = contextvars.ContextVar("precision", default="float32")


@contextlib.contextmanager
def multiply_in(precision: Precision) -> Iterator[None]:
    """Let the layers of all nets multiply in this precision, in what is traced inside or in a function decorated by it.

    bfloat16: products of inputs rounded to bfloat16, summed in float32; parameters and all else stay float32.
    Raises `UsageError` for another name.
    """
    if precision not in get_args(Precision):
        raise unknown("precision", precision, get_args(Precision))
    token = _PRECISION.set(precision)
    try:
        yield
    finally:
        _PRECISION.reset(token)


def product(x: jax.Array, weight: jax.Array) -> jax.Array:
    """x (..., n) @ weight (n, m), in the precision that holds where it is traced."""
    return _product_of_rounded(x, weight) if _PRECISION.get() == "bfloat16" else x @ weight


@jax.custom_vjp
def _product_of_rounded(x: jax.Array, weight: jax.Array) -> jax.Array:
    return _contract(x, weight, 0)


def _forward(x, weight):
    return _product_of_rounded(x, weight), (x, weight)


def _backward(inputs, grad):
    x, weight = inputs
    # The weight's gradient stays exact: on CPUs its product is slower from bfloat16 than from float32 (jaxlib 0.10).
    rows = tuple(range(x.ndim - 1))
    return _contract(grad, weight, 1), jnp.tensordot(x, grad, (rows, rows))


_product_of_rounded.defvjp(_forward, _backward)


def _contract(x, weight, axis):
    """The last axis of x with an axis of the weight, both rounded; sums are in float32."""
    dimensions = (((x.ndim - 1,), (axis,)), ((), ()))
    rounded = (x.astype(jnp.bfloat16), weight.astype(jnp.bfloat16))
    return jax.lax.dot_general(*rounded, dimensions, preferred_element_type=jnp.float32)

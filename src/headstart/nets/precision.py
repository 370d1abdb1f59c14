"""The precision in which layers multiply: a choice of training, made where an update is traced."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint

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
    return _forward(x, weight)[0]


def _forward(x, weight):
    x, weight = _rounded(x), _rounded(weight)
    return _contract(x, weight, -1, 0), (x, weight)


def _backward(inputs, grad):
    x, weight = inputs
    grad = _rounded(grad)
    rows, grads = (array.reshape(-1, array.shape[-1]) for array in (x, grad))
    return _contract(grad, weight, -1, 1), _contract(_across(rows, grads.shape[1]), grads, -1, 0)


_product_of_rounded.defvjp(_forward, _backward)


def _rounded(x):
    return x.astype(jnp.bfloat16)


def _contract(x, y, axis, other):
    """An axis of x with one of y; sums are in float32."""
    dimensions = (((axis % x.ndim,), (other,)), ((), ()))
    return jax.lax.dot_general(x, y, dimensions, preferred_element_type=jnp.float32)


def _across(x, columns):
    """x transposed, to be multiplied by a matrix of so many columns."""
    if jax.default_backend() != "cpu" or columns < NARROW:
        return x.T
    # XLA for CPUs multiplies bfloat16 only where the first matrix lies in memory row by row, else it goes back to
    # float32 (jaxlib 0.10): copied to lie so, products of large matrices take a third of the time.
    return with_layout_constraint(x.T, Layout((0, 1)))


NARROW = 16
"""Columns from which a product is worth a copy of its first matrix."""

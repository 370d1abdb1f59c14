"""Linear layers that state their initialisers, and normalisation."""

from __future__ import annotations

import itertools
import math
from typing import Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp

from headstart.errors import unknown
from headstart.nets.precision import product

Init = Literal["orthogonal", "glorot_uniform", "torch", "edac"]
"""orthogonal: gain sqrt(2) hidden, zero bias. glorot_uniform: zero bias. torch: weight and bias uniform in
+-1/sqrt(inputs), PyTorch's default for linear layers. edac: the same weights with hidden biases of 0.1, and an output
layer uniform in +-output_gain (EDAC's and ReBRAC's code)."""


def orthogonal(gaussian: jax.Array) -> jax.Array:
    """A matrix with orthonormal rows or columns, uniformly distributed: the polar factor of a Gaussian one.

    By products alone (Newton-Schulz iterations; Higham 2008, chapter 8). JAX's own initialiser calls LAPACK, which on a
    CPU of few cores can wait for itself for ever where one compiled program initialises several layers (jaxlib 0.10).
    """
    wide = gaussian.shape[0] < gaussian.shape[1]
    x = gaussian.T if wide else gaussian
    columns = x.shape[1]
    # The first raise small singular values more than threefold and keep those near 1 between 0.7 and 1.2; the others
    # settle them at 1. One loop, since each is a program to compile.
    factors = jnp.array([[3.4445, -4.775, 2.0315]] * 14 + [[1.5, -0.5, 0.0]] * 5)

    def iterate(i, x):
        linear, cubic, quintic = factors[i]
        gram = x.T @ x
        return x @ (linear * jnp.eye(columns) + cubic * gram + quintic * gram @ gram)

    with jax.default_matmul_precision("highest"):
        x = jax.lax.fori_loop(0, len(factors), iterate, x / jnp.linalg.norm(x))
    return x.T if wide else x


def standard(key: jax.Array, count: int, init: Init) -> jax.Array:
    """(count,) standard normal numbers where the initialiser starts from these, else uniform ones in [-1, 1]."""
    if init not in get_args(Init):
        raise unknown("initialiser", init, get_args(Init))
    if init == "orthogonal":
        return jax.random.normal(key, (count,))
    return jax.random.uniform(key, (count,), minval=-1.0, maxval=1.0)


class Linear(eqx.Module):
    """x @ weight + bias for x (..., inputs), whole or in parts (..., n) side by side whose leading axes broadcast."""

    weight: jax.Array
    bias: jax.Array

    def __init__(self, inputs: int, outputs: int, drawn: jax.Array, init: Init = "orthogonal", gain: float = 1.0):
        """drawn: ((inputs + 1) * outputs,) numbers from `standard` for the same initialiser."""
        weight, bias = drawn[: inputs * outputs].reshape(inputs, outputs), drawn[inputs * outputs :]
        self.bias = jnp.zeros(outputs)
        if init == "orthogonal":
            self.weight = gain * orthogonal(weight)
        elif init == "glorot_uniform":
            self.weight = gain * math.sqrt(6.0 / (inputs + outputs)) * weight
        else:
            self.weight, self.bias = (gain / math.sqrt(inputs) * part for part in (weight, bias))

    def __call__(self, *parts: jax.Array) -> jax.Array:
        # Each part is multiplied as it is: a state only once for all of its actions.
        ends = list(itertools.accumulate(part.shape[-1] for part in parts))
        weights = jnp.split(self.weight, ends[:-1])
        return sum((product(part, weight) for part, weight in zip(parts, weights, strict=True)), start=self.bias)


class LayerNorm(eqx.Module):
    """Normalisation over the last axis with learnable scale and offset (Ba et al. 2016)."""

    scale: jax.Array
    offset: jax.Array

    def __init__(self, size: int):
        self.scale = jnp.ones(size)
        self.offset = jnp.zeros(size)

    def __call__(self, x: jax.Array) -> jax.Array:
        mean = x.mean(-1, keepdims=True)
        variance = jnp.square(x - mean).mean(-1, keepdims=True)
        return (x - mean) * jax.lax.rsqrt(variance + 1e-6) * self.scale + self.offset

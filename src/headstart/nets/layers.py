"""Linear layers and perceptrons that state their initialisers."""

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

EDAC_BIAS = 0.1

Activation = Literal["relu", "gelu", "tanh"]

ACTIVATIONS = {"relu": jax.nn.relu, "gelu": jax.nn.gelu, "tanh": jnp.tanh}


def orthogonal(gaussian: jax.Array) -> jax.Array:
    """A matrix with orthonormal rows or columns, uniformly distributed: the polar factor of a Gaussian one.

    By products alone (Newton-Schulz iterations; Higham 2008, chapter 8). JAX's own initialiser calls LAPACK, which on a
    CPU of few cores can wait for itself for ever where one compiled program initialises several layers (jaxlib 0.10).
    """
    wide = gaussian.shape[0] < gaussian.shape[1]
    x = gaussian.T if wide else gaussian
    columns = x.shape[1]
    with jax.default_matmul_precision("highest"):
        x = x / jnp.linalg.norm(x)

        def grow(_, x):
            # Raises small singular values more than threefold and keeps those near 1 between 0.7 and 1.2.
            gram = x.T @ x
            return x @ (3.4445 * jnp.eye(columns) - 4.775 * gram + 2.0315 * gram @ gram)

        def settle(_, x):
            return 1.5 * x - 0.5 * x @ (x.T @ x)

        x = jax.lax.fori_loop(0, 14, grow, x)
        x = jax.lax.fori_loop(0, 8, settle, x)
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


class MLP(eqx.Module):
    """Hidden layers (linear, optional LayerNorm, activation, optional dropout) and a linear output.

    Maps (..., inputs), whole or in parts as `Linear` takes them, to (..., outputs). output_gain scales the initial
    output weights (for "orthogonal" it is the gain itself, for "edac" their bound), output_bias is the initial value of
    every output. norm_last: LayerNorm after the activation instead of before it. Dropout acts only when called with a
    key.
    """

    hidden: tuple[Linear, ...]
    norms: tuple[LayerNorm, ...]
    output: Linear
    norm_last: bool = eqx.field(static=True)
    activation: Activation = eqx.field(static=True)
    dropout: float = eqx.field(static=True)

    def __init__(
        self,
        inputs: int,
        widths: tuple[int, ...],
        outputs: int,
        key: jax.Array,
        *,
        init: Init = "orthogonal",
        output_gain: float = 1.0,
        output_bias: float = 0.0,
        layer_norm: bool = False,
        norm_last: bool = False,
        activation: Activation = "relu",
        dropout: float = 0.0,
    ):
        sizes = (inputs, *widths, outputs)
        shapes = list(itertools.pairwise(sizes))
        # One draw for all layers: each draw is a program to compile.
        counts = [(n + 1) * m for n, m in shapes]
        drawn = jnp.split(standard(key, sum(counts), init), list(itertools.accumulate(counts))[:-1])
        gain = math.sqrt(2.0) if init == "orthogonal" else 1.0
        if init == "edac":
            output_gain *= math.sqrt(sizes[-2])
        gains = [gain] * len(widths) + [output_gain]
        *hidden, output = (Linear(n, m, part, init, g) for (n, m), part, g in zip(shapes, drawn, gains, strict=True))
        if init == "edac":
            hidden = [
                eqx.tree_at(lambda layer: layer.bias, layer, jnp.full_like(layer.bias, EDAC_BIAS)) for layer in hidden
            ]
        self.hidden = tuple(hidden)
        self.norms = tuple(LayerNorm(width) for width in widths) if layer_norm else ()
        self.output = eqx.tree_at(lambda layer: layer.bias, output, output.bias + output_bias)
        self.norm_last = norm_last
        self.activation = activation
        self.dropout = dropout

    @property
    def inputs(self) -> int:
        """Number of inputs."""
        return (*self.hidden, self.output)[0].weight.shape[-2]

    def __call__(self, *parts: jax.Array, key: jax.Array | None = None) -> jax.Array:
        activate = ACTIVATIONS[self.activation]
        for i, layer in enumerate(self.hidden):
            x = layer(*parts)
            if self.norms and not self.norm_last:
                x = self.norms[i](x)
            x = activate(x)
            if self.norms and self.norm_last:
                x = self.norms[i](x)
            if self.dropout and key is not None:
                keep = jax.random.bernoulli(jax.random.fold_in(key, i), 1.0 - self.dropout, x.shape)
                x = jnp.where(keep, x / (1.0 - self.dropout), 0.0)
            parts = (x,)
        return self.output(*parts)

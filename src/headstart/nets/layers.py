"""Perceptrons, which look at images through an encoder."""

from __future__ import annotations

import itertools
import math
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp

from headstart.nets.images import Front
from headstart.nets.linear import Init, LayerNorm, Linear, standard

EDAC_BIAS = 0.1

Activation = Literal["relu", "gelu", "tanh"]

ACTIVATIONS = {"relu": jax.nn.relu, "gelu": jax.nn.gelu, "tanh": jnp.tanh}


class MLP(eqx.Module):
    """Hidden layers (linear, optional LayerNorm, activation, optional dropout) and a linear output.

    Maps (..., inputs), whole or in parts as `Linear` takes them, to (..., outputs); with outputs 0 there is no output
    layer, and the last hidden one comes out. output_gain scales the initial output weights (for "orthogonal" it is the
    gain itself, for "edac" their bound), output_bias is the initial value of every output. norm_last: LayerNorm after
    the activation instead of before it. Dropout acts only when called with a key.

    inputs: where it is a `spec.Size` with images among them, these stand in the first part and are encoded.
    """

    front: Front | None
    hidden: tuple[Linear, ...]
    norms: tuple[LayerNorm, ...]
    output: Linear | None
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
        self.front, inputs = Front.of(inputs, jax.random.fold_in(key, len(widths)))
        sizes = (inputs, *widths, outputs) if outputs else (inputs, *widths)
        shapes = list(itertools.pairwise(sizes))
        # One draw for all layers: each draw is a program to compile.
        counts = [(n + 1) * m for n, m in shapes]
        drawn = jnp.split(standard(key, sum(counts), init), list(itertools.accumulate(counts))[:-1])
        gain = math.sqrt(2.0) if init == "orthogonal" else 1.0
        if init == "edac":
            output_gain *= math.sqrt(sizes[-2])
        gains = [gain] * len(widths) + [output_gain] * bool(outputs)
        layers = [Linear(n, m, part, init, g) for (n, m), part, g in zip(shapes, drawn, gains, strict=True)]
        hidden, output = (layers[:-1], layers[-1]) if outputs else (layers, None)
        if init == "edac":
            hidden = [
                eqx.tree_at(lambda layer: layer.bias, layer, jnp.full_like(layer.bias, EDAC_BIAS)) for layer in hidden
            ]
        self.hidden = tuple(hidden)
        self.norms = tuple(LayerNorm(width) for width in widths) if layer_norm else ()
        self.output = None
        if output is not None:
            self.output = eqx.tree_at(lambda layer: layer.bias, output, output.bias + output_bias)
        self.norm_last = norm_last
        self.activation = activation
        self.dropout = dropout

    @property
    def inputs(self) -> int:
        """Number of inputs of the layers: encodings in place of images."""
        return (*self.hidden, self.output)[0].weight.shape[-2]

    def see(self, features: jax.Array) -> jax.Array:
        """What the layers take for features: these themselves but for images, which are encoded."""
        return features if self.front is None else self.front(features)

    def __call__(self, *parts: jax.Array, key: jax.Array | None = None) -> jax.Array:
        return self.of_seen(self.see(parts[0]), *parts[1:], key=key)

    def last_hidden(self, features: jax.Array) -> jax.Array:
        """What the output layer takes: (..., width)."""
        return eqx.tree_at(lambda net: net.output, self, None)(features)

    def of_seen(self, *parts: jax.Array, key: jax.Array | None = None) -> jax.Array:
        """The outputs for features that `see` has looked at."""
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
        return self.output(*parts) if self.output else parts[0]

"""What nets see of images: IMPALA's encoder, and the front that puts encodings in the place of images."""

from __future__ import annotations

import functools
import itertools
import math

import equinox as eqx
import jax
import jax.numpy as jnp

from headstart.nets.linear import Linear, standard

STACKS = (16, 32, 32)
"""Channels of the encoder's stacks; each halves the image."""

ENCODING = 512
"""Features of an encoded image."""

Image = tuple[int, tuple[int, ...]]
"""Where an image stands among features, and its shape (height, width, channels), as `spec.Size` has it."""


class Convolution(eqx.Module):
    """3 x 3, as many pixels out as in: (N, H, W, C) to (N, H, W, F). In float32, whatever `multiply_in` says."""

    weight: jax.Array
    bias: jax.Array

    def __init__(self, drawn: jax.Array):
        """drawn: (3, 3, C, F) uniform numbers in [-1, 1], here scaled as Glorot's initialiser has it."""
        channels, filters = drawn.shape[-2:]
        self.weight = math.sqrt(6.0 / (9 * (channels + filters))) * drawn
        self.bias = jnp.zeros(filters)

    def __call__(self, x: jax.Array) -> jax.Array:
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, self.weight, (1, 1), "SAME", dimension_numbers=layout) + self.bias


def halve(x: jax.Array) -> jax.Array:
    """(N, H, W, C) to (N, ceil(H/2), ceil(W/2), C): the maximum of 3 x 3 pixels around every other one ("SAME").

    By nine strided slices: the gradient of XLA's windowed maximum is many times slower on CPUs.
    """
    height, width = (-(-side // 2) for side in x.shape[1:3])
    # Before the first pixel one where the side is odd, else none; behind the last at least as many as are looked at.
    edges = [(side % 2, 2) for side in x.shape[1:3]]
    padded = jnp.pad(x, ((0, 0), *edges, (0, 0)), constant_values=-jnp.inf)
    windows = [
        padded[:, i : i + 2 * height - 1 : 2, j : j + 2 * width - 1 : 2]
        for i, j in itertools.product(range(3), repeat=2)
    ]
    return functools.reduce(jnp.maximum, windows)


class Stack(eqx.Module):
    """A convolution, half the image, and a residual block."""

    first: Convolution
    block: tuple[Convolution, Convolution]

    def __call__(self, x: jax.Array) -> jax.Array:
        x = halve(self.first(x))
        y = x
        for convolution in self.block:
            y = convolution(jax.nn.relu(y))
        return x + y


class ImageEncoder(eqx.Module):
    """IMPALA's residual network (Espeholt et al. 2018) as small as OGBench's `impala_small` (Park et al. 2025).

    Three stacks of one residual block each and a layer of 512: images (..., H, W, C) in [0, 1] to (..., 512).
    """

    stacks: tuple[Stack, ...]
    output: Linear

    def __init__(self, shape: tuple[int, ...], key: jax.Array):
        """shape: (H, W, C)."""
        height, width, channels = shape
        shapes = []
        for filters in STACKS:
            shapes += [(3, 3, channels, filters), (3, 3, filters, filters), (3, 3, filters, filters)]
            height, width, channels = -(-height // 2), -(-width // 2), filters
        inputs = height * width * channels
        counts = [*map(math.prod, shapes), (inputs + 1) * ENCODING]
        # One draw for all layers: each draw is a program to compile.
        drawn = standard(key, sum(counts), "glorot_uniform")
        *drawn, last = jnp.split(drawn, list(itertools.accumulate(counts))[:-1])
        layers = [Convolution(part.reshape(shape)) for part, shape in zip(drawn, shapes, strict=True)]
        self.stacks = tuple(Stack(layers[i], (layers[i + 1], layers[i + 2])) for i in range(0, len(layers), 3))
        self.output = Linear(inputs, ENCODING, last, "glorot_uniform")

    def __call__(self, images: jax.Array) -> jax.Array:
        x = images.reshape(-1, *images.shape[-3:])
        for stack in self.stacks:
            x = stack(x)
        x = jax.nn.relu(x).reshape(*images.shape[:-3], -1)
        return jax.nn.gelu(self.output(x))


class Front(eqx.Module):
    """What stands before the layers of a net that is shown images: features (..., f) to (..., g).

    Images of the same height and width go through one encoder, side by side in its channels: state and goal as in
    OGBench's agents, several frames, several cameras. The encodings come first, then the features that are no image.
    """

    encoders: tuple[ImageEncoder, ...]
    images: tuple[tuple[Image, ...], ...] = eqx.field(static=True)

    @classmethod
    def of(cls, inputs: int, key: jax.Array) -> tuple[Front | None, int]:
        """The front for so many inputs, and how many features it gives; None and `inputs` where no images are among
        them (`spec.Size`)."""
        images = getattr(inputs, "images", ())
        if not images:
            return None, inputs
        sides = sorted({shape[:2] for _, shape in images})
        groups = tuple(tuple(image for image in images if image[1][:2] == side) for side in sides)
        encoders = tuple(
            ImageEncoder((*side, sum(shape[2] for _, shape in group)), jax.random.fold_in(key, i))
            for i, (side, group) in enumerate(zip(sides, groups, strict=True))
        )
        plain = int(inputs) - sum(math.prod(shape) for _, shape in images)
        return cls(encoders, groups), ENCODING * len(groups) + plain

    def __call__(self, features: jax.Array) -> jax.Array:
        def image(start: int, shape: tuple[int, ...]) -> jax.Array:
            return features[..., start : start + math.prod(shape)].reshape(*features.shape[:-1], *shape)

        parts = [
            encoder(jnp.concatenate([image(*one) for one in group], axis=-1))
            for encoder, group in zip(self.encoders, self.images, strict=True)
        ]
        end = 0
        for start, shape in sorted(itertools.chain(*self.images)):
            parts.append(features[..., end:start])
            end = start + math.prod(shape)
        return jnp.concatenate([*parts, features[..., end:]], axis=-1)

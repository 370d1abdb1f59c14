"""Small policies in NumPy: to call a compiled program for one observation takes longer than the arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np

from headstart.nets.goals import UnitGaussianActor
from headstart.nets.heads import DeterministicActor, GaussianActor, Policy, TanhGaussianActor
from headstart.nets.layers import MLP


class HostPolicy:
    """A `Policy` of one perceptron, for NumPy arrays: the same actions up to rounding.

    size: d, the number of action dimensions.
    """

    def __init__(self, actor: eqx.Module):
        """actor: of a type in `HEADS`, its leaves NumPy arrays."""
        self._perceptron = _perceptron(actor.trunk)
        self._head = HEADS[type(actor)](actor)
        outputs = len(actor.trunk.output.bias)
        self.size = outputs // 2 if type(actor) is TanhGaussianActor else outputs

    def __call__(self, observation: Any, noise: Any = None, context: np.ndarray | None = None):
        """Actions (B, d) of observations (B, *shape) and contexts (B, c). noise: (B, d) standard normal numbers; those
        that `jax.random.normal` draws with a key give the actions that the policy samples with it. None: the most
        likely actions."""
        outputs = self._perceptron(_flatten(observation, context))
        # Noise may be drawn by another thread meanwhile.
        return self._head(outputs, None if noise is None else np.asarray(noise))


def on_host(policies: Any) -> list[HostPolicy] | None:
    """Policies whose leaves have a leading axis of members, each in NumPy; their leaves are copied. None for those that
    are more than a perceptron with normal noise."""
    actors = policies.actor if type(policies) is Policy else None
    if type(actors) not in HEADS or not _plain(actors.trunk):
        return None
    actors = jax.tree.map(np.array, actors)
    members = len(actors.trunk.output.bias)
    return [HostPolicy(jax.tree.map(lambda leaf, i=i: leaf[i], actors)) for i in range(members)]


def _plain(trunk: eqx.Module) -> bool:
    """Whether it is nothing but what `_perceptron` computes."""
    if type(trunk) is not MLP or trunk.output is None:
        return False
    layers = (trunk.hidden, trunk.norms, trunk.output)
    return len(jax.tree.leaves(trunk)) == len(jax.tree.leaves(layers))


def _flatten(observation: Any, context: np.ndarray | None) -> np.ndarray:
    """As `encoders.flatten`."""
    leaves = [observation] if isinstance(observation, np.ndarray) else jax.tree.leaves(observation)
    leaves = leaves if context is None else [*leaves, context]
    parts = [_floats(leaf.reshape(len(leaf), -1)) for leaf in leaves]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)


def _floats(x: np.ndarray) -> np.ndarray:
    if x.dtype == np.uint8:
        return x / np.float32(255.0)
    return x.astype(np.float32, copy=False)


def _perceptron(trunk: MLP) -> Callable[[np.ndarray], np.ndarray]:
    """`MLP` without dropout."""
    # Attributes of modules are slow to look up.
    activate, norm_last = ACTIVATIONS[trunk.activation], trunk.norm_last
    hidden = [(layer.weight, layer.bias) for layer in trunk.hidden]
    norms = [(norm.scale, norm.offset) for norm in trunk.norms] or [None] * len(hidden)
    output = trunk.output.weight, trunk.output.bias

    def call(x: np.ndarray) -> np.ndarray:
        for (weight, bias), norm in zip(hidden, norms, strict=True):
            x = x @ weight + bias
            if norm is None:
                x = activate(x)
            elif norm_last:
                x = _normalised(activate(x), *norm)
            else:
                x = activate(_normalised(x, *norm))
        return x @ output[0] + output[1]

    return call


def _normalised(x: np.ndarray, scale: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """As `LayerNorm`."""
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt(np.square(x).mean(-1, keepdims=True) + 1e-6) * scale + offset


def _gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


ACTIVATIONS: dict[str, Callable] = {"relu": lambda x: np.maximum(x, 0.0), "gelu": _gelu, "tanh": np.tanh}


def _cut(x: np.ndarray, low: float = -1.0, high: float = 1.0) -> np.ndarray:
    # `np.clip` takes twice as long for small arrays.
    return np.minimum(np.maximum(x, low), high)


Head = Callable[[np.ndarray, np.ndarray | None], np.ndarray]
"""(outputs of the perceptron (B, n), noise (B, d) or None) -> actions (B, d)."""


def _tanh_gaussian(actor: TanhGaussianActor) -> Head:
    scale, offset = actor.log_std_scale, actor.log_std_offset

    def head(output: np.ndarray, noise: np.ndarray | None) -> np.ndarray:
        size = output.shape[-1] // 2
        mean = output[:, :size]
        if noise is None:
            return np.tanh(mean)
        return np.tanh(mean + np.exp(_cut(scale * output[:, size:] + offset, -20.0, 2.0)) * noise)

    return head


def _gaussian(actor: GaussianActor) -> Head:
    return _noisy(np.tanh, np.exp(_cut(actor.log_std, -5.0, 2.0)))


def _deterministic(actor: DeterministicActor) -> Head:
    return _noisy(np.tanh, np.float32(actor.noise))


def _unit_gaussian(actor: UnitGaussianActor) -> Head:
    return _noisy(_cut, np.float32(actor.noise))


def _noisy(mode: Callable[[np.ndarray], np.ndarray], std: np.ndarray) -> Head:
    def head(output: np.ndarray, noise: np.ndarray | None) -> np.ndarray:
        return mode(output) if noise is None else _cut(mode(output) + std * noise)

    return head


HEADS: dict[type, Callable[[Any], Head]] = {
    TanhGaussianActor: _tanh_gaussian, GaussianActor: _gaussian, DeterministicActor: _deterministic,
    UnitGaussianActor: _unit_gaussian,
}  # fmt: skip

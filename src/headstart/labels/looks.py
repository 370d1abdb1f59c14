"""What models of rewards see of observations, and how ensembles of them are fitted."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax

from headstart import nets
from headstart.algorithm import GoalPart
from headstart.data.columns import map_arrays
from headstart.data.dataset import Dataset
from headstart.data.normalize import Normalizer

BLOCK = 8192
"""Rows that a compiled program looks at at once; the last block is filled up, so that one shape serves all."""


@dataclasses.dataclass(frozen=True, eq=False)
class Look:
    """Observations (n, *shape) to features (n, f), standardised by the statistics of data.

    array: the one that is looked at, of observations that have names (""): all of them. entries: of it; none: all.
    """

    data: Dataset
    array: str = ""
    entries: tuple[int, ...] = ()

    def __post_init__(self):
        if self.array or self.entries:
            # Raises where observations have no such part.
            GoalPart(self.array, self.entries).context(self.data.spec)

    @functools.cached_property
    def _normalizer(self) -> Normalizer:
        return Normalizer.of(self.data.spec, self.data)

    def __call__(self, observations: Any) -> np.ndarray:
        seen = self._normalizer.observation(observations)
        if self.array or self.entries:
            seen = GoalPart(self.array, self.entries).of(seen)
        return np.asarray(nets.flatten(seen), np.float32)

    def rows(self, rows: np.ndarray) -> np.ndarray:
        """Features of rows of the data."""
        return self(map_arrays(lambda column: np.asarray(column[rows]), self.data.observations))

    def actions(self, rows: np.ndarray) -> np.ndarray:
        """(n, d) the data's actions at rows in [-1, 1]; discrete ones as one-hot vectors."""
        actions = self._normalizer.action(np.asarray(self.data.actions[rows]))
        if self.data.spec.action.discrete:
            actions = np.eye(self.data.spec.action.categories, dtype=np.float32)[actions]
        return actions.astype(np.float32)


def members(inputs: int, widths: tuple[int, ...], count: int, key: jax.Array) -> nets.Ensemble:
    """So many perceptrons, each from features (..., inputs) to one number (...)."""
    return jax.jit(
        lambda key: nets.Ensemble.of(lambda k: nets.Value(nets.MLP(inputs, widths, 1, k)), count, key)
    )(key)  # fmt: skip


def fit(
    ensemble: nets.Ensemble, loss: Callable, data: Any, *, steps: int, learning_rate: float, weight_decay: float,
    key: jax.Array,
) -> nets.Ensemble:  # fmt: skip
    """The ensemble after `steps` updates by AdamW. loss: (ensemble, data, key) -> (), new draws for every key."""
    optimizer = optax.adamw(learning_rate, weight_decay=weight_decay)

    @jax.jit
    def train(ensemble, data, key):
        def step(i, carry):
            ensemble, opt_state = carry
            grads = jax.grad(loss)(ensemble, data, jax.random.fold_in(key, i))
            updates, opt_state = optimizer.update(grads, opt_state, ensemble)
            return optax.apply_updates(ensemble, updates), opt_state

        return jax.lax.fori_loop(0, steps, step, (ensemble, optimizer.init(ensemble)))[0]

    return train(ensemble, data, key)


def each(ensemble: nets.Ensemble, features: jax.Array) -> jax.Array:
    """(E, ...) outputs of every member for features of its own (E, ..., f)."""
    return jax.vmap(lambda member, own: member(own))(ensemble.members, features)


def outputs(ensemble: nets.Ensemble, count: int, features_of: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """(E, count) outputs of all members. features_of: indices (n,) -> features (n, f)."""
    found = []
    for start in range(0, count, BLOCK):
        indices = np.arange(start, start + BLOCK) % count if count > BLOCK else np.arange(count)
        found.append(np.asarray(_outputs(ensemble, features_of(indices)), np.float64)[:, : count - start])
    return np.concatenate(found, axis=1)


@jax.jit
def _outputs(ensemble: nets.Ensemble, features: jax.Array) -> jax.Array:
    with jax.default_matmul_precision("highest"):
        return ensemble(features)

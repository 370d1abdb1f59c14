"""Training in one compiled loop, several seeds side by side, on problems with known values."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from headstart.data import index
from headstart.data.dataset import Dataset
from headstart.data.normalize import Normalizer
from headstart.data.views import gather, table
from headstart.envs.tabular import TabularMDP

SEEDS = 3


def collect(mdp: TabularMDP, policy: np.ndarray, episodes: int, horizon: int, continuous: bool = False) -> Dataset:
    """Episodes of a policy (S, A), cut off after `horizon` steps."""
    return Dataset.from_episodes(
        mdp.sample_episodes(policy, episodes, horizon, np.random.default_rng(0), continuous)
    )  # fmt: skip


def train(algorithm: Any, data: Dataset, steps: int) -> Any:
    """The states after `steps` updates; every leaf has a leading axis of `SEEDS`."""
    view, normalizer = algorithm.view(), Normalizer.of(data.spec)
    columns, spec = jax.tree.map(jax.numpy.asarray, table(data, view)), view.with_context(data.spec)

    def one(key):
        def update(state, step):
            rows_key, update_key = jax.random.split(jax.random.fold_in(key, step))
            rows = columns.rows[index.uniform(rows_key, len(columns.rows), view.batch_size)]
            draws = index.placed(index.hindsight(rows_key, view, len(columns.rows)), lambda at: columns.rows[at])
            return algorithm.update(state, gather(columns, rows, view, normalizer, draws), update_key)

        return jax.lax.scan(update, algorithm.init(key, spec), jax.numpy.arange(steps))

    states, metrics = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), SEEDS))
    assert all(np.isfinite(column).all() for column in metrics.values())
    return states


def each(states: Any, function: Any) -> np.ndarray:
    """`function(state)` of every seed, stacked."""
    return np.asarray(jax.jit(jax.vmap(function))(states))

"""Off-policy evaluation: what an artifact's policy is worth on data that others collected."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from headstart import config, nets
from headstart.algorithm import View
from headstart.algos.fqe import FQE, action_values
from headstart.artifact import Artifact
from headstart.data.columns import map_arrays
from headstart.data.dataset import Dataset
from headstart.data.normalize import Normalizer
from headstart.data.views import table
from headstart.diagnostics.subject import in_blocks
from headstart.errors import UsageError
from headstart.train import offline, updates
from headstart.train.options import OfflineOptions
from headstart.train.run import Run


def chosen_actions(artifact: Artifact, data: Dataset) -> np.ndarray:
    """The most likely actions (S, R, *action shape) of all members at every row of the data, in its units."""
    everywhere = map_arrays(
        lambda column: np.broadcast_to(column, (artifact.members, *column.shape)), data.observations
    )
    return in_blocks(artifact.act, everywhere)


def fitted_values(
    artifact: Artifact, data: Dataset, *, steps: int, discount: float, seed: int = 0, **settings: Any
) -> np.ndarray:
    """(S, E, episodes) values of each member's policy at every episode's first observation, by fitted Q evaluation.

    The policies act by their most likely actions; rewards are the data's. E critics each, which differ in their initial
    weights. steps: gradient steps. settings: fields of `FQE` other than its defaults; critics start at the data's mean
    return, and their targets keep within the returns that its rewards allow.

    Raises `UsageError` where the data holds no rewards or actions.
    """
    view = View(discount=discount, mc_return=True)
    columns = table(data, view)
    rewards, returns = columns.rewards[columns.rows], columns.mc_returns[columns.rows]
    reach = 1.0 / (1.0 - discount)
    known = {
        "discount": discount,
        "critic_bias": float(returns.mean()),
        "lowest": min(0.0, float(rewards.min())) * reach,
        "highest": max(0.0, float(rewards.max())) * reach,
    }
    algorithm = config.replace(FQE(), **known | settings)
    spec = dataclasses.replace(data.spec, action=artifact.spec.action)
    normalizer = Normalizer.of(spec, data)
    columns = table(data, algorithm.view())
    actions = chosen_actions(artifact, data)
    starts = map_arrays(lambda column: np.asarray(column[data.starts]), data.observations)
    values = []
    for member, own in enumerate(actions):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), member), 2)
        states = offline.train(
            algorithm, updates.fresh(algorithm, spec, keys[:1]), keys[1:],
            dataclasses.replace(columns, next_actions=own), normalizer,
            OfflineOptions(steps, log_every=steps, checkpoint_every=0), Run(None, {}), (seed,), phase="evaluating",
        )  # fmt: skip
        critic = jax.tree.map(lambda leaf: leaf[0], states.nets["critic"])
        values.append(_at(critic, normalizer, starts, own[data.starts]))
    return np.stack(values)


@jax.jit
def _at(critic: Any, normalizer: Normalizer, observations: Any, actions: Any) -> jax.Array:
    """(E, n) values of raw observations and actions."""
    features = nets.flatten(normalizer.observation(observations))
    return action_values(critic, features, normalizer.action(actions))


def common_discount(artifacts: list[Artifact]) -> float:
    """The discount of all that learn from rewards. Raises `UsageError` where they differ, or there is none."""
    views = [artifact.algorithm.view() for artifact in artifacts]
    found = sorted({view.discount for view in views if view.rewards})
    if not found:
        raise UsageError("no artifact has learned from rewards; say by how much they are discounted (discount)")
    if len(found) > 1:
        raise UsageError(f"the artifacts discount by {', '.join(map(str, found))}; say which counts (discount)")
    if found[0] >= 1.0:
        raise UsageError(f"the artifacts' discount is {found[0]}; values need one below 1 (discount)")
    return found[0]

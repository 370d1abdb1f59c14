"""Actions for data that has none, read from it by a model of latent actions."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from headstart.data.columns import map_arrays
from headstart.data.dataset import Dataset
from headstart.errors import UsageError

if TYPE_CHECKING:
    from headstart.artifact.model import Artifact

ROWS = 4096
"""Steps of the data that are looked at at once."""


def with_actions(artifact: Artifact, data: Dataset, member: int = 0) -> Dataset:
    """The data with the actions, in the environment's units, that one member reads from what followed each step.

    They are no better than the decoder, and say nothing where nothing tells two actions apart. At final observations
    stands zero. Raises `UsageError` for models that do not decode latent actions, and for other observations.
    """
    algorithm = artifact.algorithm
    if not (hasattr(algorithm, "action") and artifact.acts):
        raise UsageError(
            f"{artifact.title} reads no actions from data; use a model of latent actions that was finetuned on some"
        )
    artifact.spec.require(data.spec, "the artifact", data.provenance.source)
    index = artifact.require_member(member)
    state, part = jax.tree.map(lambda leaf: leaf[index], artifact.state), artifact.spec.action
    actions = np.zeros((len(data), *part.shape), part.dtype)
    for start in range(0, len(data.transitions), ROWS):
        rows = data.transitions[start : start + ROWS]
        here, there = (map_arrays(lambda column, at=at: column[at], data.observations) for at in (rows, rows + 1))
        actions[rows] = _read(algorithm, state, artifact.normalizer, here, there)
    how = f"actions read by {artifact.title} {artifact.digest[:12]}"
    return data.replace(how, actions=actions, spec=dataclasses.replace(data.spec, action=part))


@functools.partial(jax.jit, static_argnames="algorithm")
def _read(algorithm: Any, state: Any, normalizer: Any, here: Any, there: Any) -> Any:
    with jax.default_matmul_precision("highest"):
        return normalizer.raw_action(algorithm.action(state, *map(normalizer.observation, (here, there))))

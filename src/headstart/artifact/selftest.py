"""Examples of how a model acts, kept with it and replayed when it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from headstart.artifact.model import Artifact
from headstart.data.columns import map_arrays, named_arrays
from headstart.data.files import existing, read_npz
from headstart.errors import ArtifactError, DataError, HeadstartError
from headstart.spec import ArraySpec
from headstart.train import acting

EXAMPLES = 16
TOLERANCE = 1e-3
"""Largest difference of a replayed action, relative to half the range of actions, or of a value above 1, relative to
it; other machines round differently."""


def examples(artifact: Artifact) -> dict[str, np.ndarray]:
    """Raw observations (n, *shape), and goals like them or other contexts (n, c), like those the model was made for."""
    spec, normalizer = artifact.spec, artifact.normalizer
    rng = np.random.default_rng(0)
    means = dict(named_arrays(normalizer.observation_mean, "")) if normalizer.observation_mean is not None else {}
    stds = dict(named_arrays(normalizer.observation_std, "")) if normalizer.observation_std is not None else {}

    def draw(part: ArraySpec, name: str) -> np.ndarray:
        shape = (EXAMPLES, *part.shape)
        if part.dtype == "uint8":
            return rng.integers(0, 256, shape).astype(np.uint8)
        if part.discrete:
            return rng.integers(0, part.categories, shape).astype(part.dtype)
        if name in means:
            return (means[name] + stds[name] * rng.normal(size=shape)).astype(part.dtype)
        if part.low is not None:
            # Some environments give the largest float as a bound, which no network survives.
            low, high = (np.clip(bound, -10.0, 10.0).reshape(part.shape) for bound in (part.low, part.high))
            return rng.uniform(low, high, shape).astype(part.dtype)
        return rng.normal(size=shape).astype(part.dtype)

    def looks(what: str) -> dict[str, np.ndarray]:
        return {
            f"{what}/{name}" if name else what: draw(part, f"/{name}" if name else "")
            for name, part in spec.observation
        }

    if artifact.goals or answer(artifact) == "value":
        return looks("observation") | looks("goal")
    if spec.context is not None:
        return looks("observation") | {"context": draw(spec.context, "context")}
    return looks("observation")


def answer(artifact: Artifact) -> str:
    """What a column of answers is called: action; without a policy value, or without values of goals feature."""
    return "action" if artifact.acts else "value" if hasattr(artifact.algorithm, "goal_value") else "feature"


def replay(artifact: Artifact, columns: dict[str, np.ndarray]) -> np.ndarray:
    """The most likely actions (S, n, ...) of all members for the same columns of examples; without a policy, the values
    (S, n) of the goals; without these, the features (S, n, k)."""

    def one(what: str) -> Any:
        named = {name.partition("/")[2]: column for name, column in columns.items() if name.partition("/")[0] == what}
        return named.get("", named)

    def repeated(what: str) -> Any:
        return map_arrays(lambda column: np.broadcast_to(column, (artifact.members, *column.shape)), one(what))

    if answer(artifact) == "value":
        return artifact.goal_values(one("observation"), one("goal"))
    if answer(artifact) == "feature":
        seen = artifact.algorithm, artifact.state, artifact.normalizer, one("observation")
        return np.asarray(acting.features(*seen))
    context = "goal" if artifact.goals else "context" if "context" in columns else None
    return artifact.act(repeated("observation"), context=context and repeated(context))


def check(artifact: Artifact, file: Path) -> None:
    """Raise `ArtifactError` unless the policies act, or values are, as they did when the artifact was written."""
    try:
        columns = read_npz(existing(file, "the self-test of the artifact"))
        actions = replay(artifact, columns)
    except DataError as error:
        raise ArtifactError(f"{error}; the artifact is not whole") from error
    except HeadstartError as error:
        raise ArtifactError(f"{file} does not fit the model: {error}") from error
    expected = columns.get(answer(artifact))
    if expected is None or expected.shape != actions.shape:
        found = "nothing" if expected is None else f"shape {expected.shape}"
        raise ArtifactError(f"{file}: expected {answer(artifact)}s of shape {actions.shape}, found {found}")
    if not artifact.acts:
        passed = bool((np.abs(actions - expected) <= TOLERANCE * np.maximum(1.0, np.abs(expected))).all())
    elif artifact.spec.action.discrete:
        # Ties may fall differently on another machine, but not often.
        passed = (actions == expected).mean() >= 0.75
    else:
        difference = np.abs(actions - expected) / artifact.normalizer.action_scale
        passed = bool((difference <= TOLERANCE).all())
    if not passed:
        raise ArtifactError(
            f"{file}: the model does not act as it did when it was written (headstart has changed, or the file is "
            "damaged); load it with the version named in artifact.json"
        )

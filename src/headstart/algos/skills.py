"""What methods that learn skills without a task share: checks of their fields and specs, and how goals are seen."""

from __future__ import annotations

from typing import Any

import numpy as np

from headstart import config
from headstart.algorithm import GoalPart
from headstart.algos.require import continuous_actions, sound_fields
from headstart.errors import UsageError
from headstart.lazy import jax


def sound_skills(algorithm: Any, *more: str) -> None:
    """For `__post_init__`: `sound_fields`, sizes, `more` shares in [0, 1], and a view that can be had."""
    sound_fields(algorithm)
    config.at_least(algorithm, 1, "skill_size")
    config.at_least(algorithm, 0, *more)
    config.at_most(algorithm, 1, *more)
    algorithm.view()


def seen_part(algorithm: Any) -> GoalPart:
    """What of an observation the representation of goals looks at."""
    return GoalPart(algorithm.goal_array, algorithm.goal_entries)


def require_skills(name: str, algorithm: Any, spec: Any) -> None:
    """Raise `UsageError` where the actions are not continuous, or the spec's context is not a skill of its size."""
    continuous_actions(name, spec)
    if spec.context is None or spec.context.shape != (algorithm.skill_size,):
        raise UsageError(
            f"{name} acts on skills of {algorithm.skill_size} numbers, and the context of this spec is "
            f"{spec.context.describe() if spec.context else 'absent'} (`View.with_context`)"
        )


def first(along: Any) -> Any:
    """(B, *shape) the observations with which stretches (B, c, *shape) begin."""
    return jax.tree.map(lambda column: column[:, 0], along)


def scaled(direction: np.ndarray, length: float) -> np.ndarray:
    """The vector (k,) with that length; zero where it has no direction."""
    return direction * (length / max(np.linalg.norm(direction), 1e-12))

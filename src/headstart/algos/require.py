"""What algorithms demand of a problem; each check names the algorithm, what it found and what to use instead."""

from __future__ import annotations

import dataclasses
from typing import Any

from headstart import config
from headstart.errors import UsageError

SIZES = (
    "actor_widths", "critic_widths", "critics", "actions", "target_subset", "actor_every", "batch_size", "n_step",
    "chunk", "flow_steps",
)  # fmt: skip
SHARES = ("discount", "dropout", "epsilon", "expectile", "share_quantile", "tau")


def sound_fields(algorithm: Any) -> None:
    """For `__post_init__`: `config.settle`, and the ranges of the fields whose names algorithms share.

    Raises `UsageError` for sizes below 1, shares outside 0 to 1, negative numbers of steps or samples, learning
    rates or weights, and a temperature that starts below 1e-6.
    """
    config.settle(algorithm)
    fields = [field.name for field in dataclasses.fields(algorithm)]
    config.at_least(algorithm, 1, *(name for name in fields if name in SIZES))
    positive = ("_lr", "_steps", "_samples", "weight")
    config.at_least(algorithm, 0, *(name for name in fields if name in SHARES or name.endswith(positive)))
    # Its logarithm is what is learned.
    config.at_least(algorithm, 1e-6, *(name for name in fields if name == "initial_temperature"))
    config.at_most(algorithm, 1, *(name for name in fields if name in SHARES))


def known_actions(algorithm: str, spec) -> None:
    if spec.action is None:
        raise UsageError(f"{algorithm} learns from actions, and this data holds none")


def continuous_actions(algorithm: str, spec) -> None:
    known_actions(algorithm, spec)
    if spec.action.discrete:
        raise UsageError(
            f"{algorithm} needs continuous actions, found {spec.action.describe()}; use discrete_cql or bc for these"
        )


def discrete_actions(algorithm: str, spec) -> None:
    known_actions(algorithm, spec)
    if not spec.action.discrete:
        raise UsageError(
            f"{algorithm} needs discrete actions, found {spec.action.describe()}; use cql, calql or iql for these"
        )

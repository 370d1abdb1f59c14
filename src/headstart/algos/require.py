"""What algorithms demand of a problem; each check names the algorithm, what it found and what to use instead."""

from __future__ import annotations

from headstart.errors import UsageError


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

"""Tiny problems and settings on which the contract tests run every algorithm."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from headstart.algos import registry
from headstart.batch import Batch
from headstart.spec import ArraySpec, Spec

ROWS, FEATURES, DIMENSIONS, CHOICES, SKILL = 16, 5, 2, 3, 4
OBSERVATION = (("", ArraySpec((FEATURES,))),)
CONTINUOUS = Spec(OBSERVATION, ArraySpec((DIMENSIONS,), low=(-1.0,) * DIMENSIONS, high=(1.0,) * DIMENSIONS))
DISCRETE = Spec(OBSERVATION, ArraySpec((), "int32", categories=CHOICES))

PASSIVE_VARIANTS = {f"{name}, action-free": (name, {"action_free": True}) for name in ("gcivl", "hilp", "hiql")}
VARIANTS = {"calql, sampled gradients": ("calql", {"gradient_samples": 2})} | PASSIVE_VARIANTS
"""Settings that take another way through an update: name -> (algorithm, changes)."""


def small(name: str, **changes: Any) -> Any:
    """The algorithm with nets, ensembles and samples as small as they can be without losing what is tested."""
    name, variant = VARIANTS.get(name, (name, {}))
    changes = variant | changes
    found = registry.algorithm(name)
    widths = {f.name: (8,) for f in dataclasses.fields(found) if f.name.endswith("_widths")}
    settings = widths | {"batch_size": ROWS}
    if hasattr(found, "actions"):
        settings["actions"] = 2
    if getattr(found, "critics", 0) > 3:
        settings["critics"] = 3
    if getattr(found, "actor_every", 0) > 3:
        settings["actor_every"] = 3
    if hasattr(found, "latent_size"):
        settings["latent_size"] = 8
    if hasattr(found, "component_size"):
        settings["component_size"] = 4
    if hasattr(found, "skill_size"):
        settings["skill_size"] = SKILL
    if hasattr(found, "best_of"):
        settings |= {"flow_steps": 3, "chunk": min(found.chunk, 2), "best_of": min(found.best_of, 3)}
    if hasattr(found, "posterior_widths"):
        settings["chunk"] = 3
    return dataclasses.replace(found, **(settings | changes))


def spec_of(algorithm: Any) -> Spec:
    spec = DISCRETE if registry.name_of(algorithm) == "discrete_cql" else CONTINUOUS
    return algorithm.view().with_context(spec)


def make_batch(spec: Spec, seed: int = 0, rows: int = ROWS, chunk: int = 1) -> Batch:
    """Random rows, every field filled; a third of them terminal. Of the chunks some are cut short. Actions that nobody
    is to look at are NaN."""
    rng = np.random.default_rng(seed)
    valid = None if chunk == 1 else np.arange(chunk) < rng.integers(1, chunk + 1, rows)[:, None]

    def normal(*shape):
        return rng.normal(size=shape).astype(np.float32)

    # Drawn apart, so that the other fields are the same with and without goals.
    names = ("context", "actor_context", "low_goal", "high_target") if spec.context else ()
    apart = np.random.default_rng([seed, 1])
    goals = {name: apart.normal(size=(rows, FEATURES)).astype(np.float32) for name in names}
    if spec.context:
        intended = apart.random(rows) < 0.8
        goals |= {
            "intention": apart.normal(size=(rows, FEATURES)).astype(np.float32),
            "intention_reward": -intended.astype(np.float32),
            "intention_discount": (0.9 * intended).astype(np.float32),
        }

    observation = normal(rows, FEATURES)
    along = apart.normal(size=(rows, chunk, FEATURES)).astype(np.float32)
    along[:, 0] = observation

    def action():
        if spec.action is None:
            return np.full((rows, DIMENSIONS), np.nan, np.float32)
        if spec.action.discrete:
            return rng.integers(0, CHOICES, rows).astype(np.int32)
        shape = (rows, DIMENSIONS) if chunk == 1 else (rows, chunk, DIMENSIONS)
        return rng.uniform(-0.95, 0.95, shape).astype(np.float32)

    return Batch(
        observation=observation,
        action=action(),
        reward=normal(rows),
        discount=(0.9 * (rng.random(rows) < 0.7)).astype(np.float32),
        next_observation=normal(rows, FEATURES),
        next_action=action(),
        mc_return=normal(rows),
        valid=valid,
        chunk_observation=None if chunk == 1 else along,
        **goals,
    )

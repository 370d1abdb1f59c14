"""What an artifact that learned one thing gives to an algorithm that learns another: more than nets of the same name.

`transfer.py` carries whole components over. Here are the two ways in which what has no policy serves: hidden layers to
start from, and frozen features of observations.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp

from headstart.algos import registry
from headstart.artifact.model import Artifact
from headstart.artifact.transfer import Report, Row, require_members, transfer
from headstart.errors import UsageError, unknown
from headstart.nets import FEATURES, Features, trunks
from headstart.spec import Spec
from headstart.state import State

Use = Literal["components", "trunks", "features", "features+observation"]
"""What of an artifact is used: its components as they are; the hidden layers of one of them, as a start of others;
frozen features of its representation in place of observations, or behind them."""

USES = ("components", "trunks", "features", "features+observation")


def features_of(source: Artifact | None, algorithm: Any, use: Use) -> Features | None:
    """The frozen features that `algorithm` is to see, their leaves with a leading axis of members: those that the
    artifact makes of itself where `use` asks for them, else those it has, or None.

    Raises `UsageError` where it learns no representation, and where `algorithm` acts towards goals, learns skills or
    acts on them.
    """
    if use not in USES:
        raise unknown("use of an artifact", use, USES)
    if source is None:
        if use != "components":
            raise UsageError(f"there is no artifact whose {use} could be used; give one, or leave that out (use)")
        return None
    before = source.state.nets.get(FEATURES)
    if not use.startswith("features"):
        return before
    if before is not None:
        raise UsageError(f"the artifact sees features already, and goes on with them; leave {use} out (use)")
    kind = source.algorithm
    if not hasattr(kind, "features"):
        known = ", ".join(name for name, made in registry.KINDS.items() if hasattr(made, "features"))
        raise UsageError(
            f"{source.title} learns no features of observations; use a model that does ({known}), or its hidden layers "
            "as a start (use trunks)"
        )
    view = algorithm.view()
    if view.goals is not None or view.skill or not view.actions or view.chunk_observations:
        what = "goals, which are observations"
        if view.chunk_observations or not view.actions:
            what = "stretches of observations" if view.actions else "observations alone"
        raise UsageError(
            f"{registry.title(algorithm)} learns from {what}; features (use) are for algorithms of one task"
        )
    return Features(source.state.nets[kind.representation], kind, source.spec, use == "features+observation")


def start(
    source: Artifact,
    algorithm: Any,
    spec: Spec,
    fresh: State,
    components: Mapping[str, str] | None = None,
    use: Use = "components",
) -> tuple[State, Report]:
    """`fresh` with what the artifact gives it, and what went where; arguments as of `transfer`. Features are in it.

    Raises `UsageError` as `transfer`, and where no hidden layer fits.
    """
    if use == "trunks":
        return _trunks(source, algorithm, spec, fresh, components)
    if use == "components":
        return transfer(source, algorithm, spec, fresh, components)
    source.spec.require(spec, "the artifact", "the new task")
    require_members(source, fresh)
    if components is not None:
        raise UsageError(f"components are not carried over where the artifact gives {use}; leave them out (components)")
    representation = source.algorithm.representation
    place = "beside the observation" if use == "features+observation" else "in place of the observation"
    rows = [Row(FEATURES, "loaded", f"from {representation}, frozen, {place}")]
    rows += [Row(name, "fresh", "sees features") for name in fresh.nets if name != FEATURES]
    rows += [
        Row(f"artifact's {name}", "unused", f"{use} are of {representation}")
        for name in source.state.nets
        if name != representation
    ]
    return fresh, Report(tuple(rows), continued=False)


def _trunks(
    source: Artifact, algorithm: Any, spec: Spec, fresh: State, components: Mapping[str, str] | None
) -> tuple[State, Report]:
    """Hidden layers of a component of the source as the first ones of components here, as far as they fit.

    Of the first layer the rows of the observation are taken; those of what else a net looks at (actions, a context)
    stay as they were. components: {component: component of the source}; by default all take those of its
    representation, or of its value.
    """
    source.spec.require(spec, "the artifact", "the new task")
    require_members(source, fresh)
    if FEATURES in fresh.nets:
        raise UsageError(f"{source.title} sees features, and so do its hidden layers; go on with its components (use)")
    if components is None:
        origin = getattr(source.algorithm, "representation", "value")
        chosen = dict.fromkeys(fresh.nets, origin)
    else:
        chosen = dict(components)
    for name, origin in chosen.items():
        if name not in fresh.nets:
            raise unknown(f"component of {registry.title(algorithm)}", name, fresh.nets)
        if origin not in source.state.nets:
            raise unknown(f"component of the artifact ({source.title})", origin, source.state.nets)
    nets_, targets, rows = dict(fresh.nets), dict(fresh.targets), []
    for name, net in fresh.nets.items():
        if name not in chosen:
            rows.append(Row(name, "fresh", "not asked for"))
            continue
        count, found = trunks.started(net, source.state.nets[chosen[name]], spec.observation_size, fresh.step.shape[0])
        if not count:
            if components is not None:
                raise UsageError(f"{name} cannot start from the hidden layers of {chosen[name]}: {found}")
            rows.append(Row(name, "fresh", found))
            continue
        nets_[name] = found
        if name in targets:
            targets[name] = jax.tree.map(jnp.copy, found)
        rows.append(
            Row(name, "loaded", f"{count} hidden layer{'s' * (count > 1)} of {chosen[name]}, the rest is fresh")
        )
    if not any(row.status == "loaded" for row in rows):
        reasons = "; ".join(f"{row.component}: {row.reason}" for row in rows)
        raise UsageError(f"no hidden layers of {source.title} fit {registry.title(algorithm)}: {reasons}")
    rows += [Row(f"artifact's {name}", "unused") for name in source.state.nets if name not in chosen.values()]
    return dataclasses.replace(fresh, nets=nets_, targets=targets), Report(tuple(rows), continued=False)

"""Which component of a trained model goes where in a new state."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from headstart import trees
from headstart.algos import registry
from headstart.artifact.model import Artifact
from headstart.errors import UsageError, unknown
from headstart.nets.trunks import perceptrons
from headstart.spec import Spec
from headstart.state import State


@dataclasses.dataclass(frozen=True)
class Row:
    """What became of one component.

    status: `loaded` from the artifact, `fresh` (newly initialised), or `unused` (only in the artifact).
    """

    component: str
    status: Literal["loaded", "fresh", "unused"]
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class Report:
    """The rows of a transfer. continued: optimiser state and step were carried over too."""

    rows: tuple[Row, ...]
    continued: bool

    @property
    def loaded(self) -> tuple[str, ...]:
        """The components that came from the artifact."""
        return tuple(row.component for row in self.rows if row.status == "loaded")

    def lines(self) -> list[str]:
        """A text table, one line a component and one for the optimiser."""
        how = "carried over" if self.continued else "fresh, step 0"
        rows = [*self.rows, Row("optimiser", "loaded" if self.continued else "fresh", how)]
        width = max(len(row.component) for row in rows)
        return [f"{row.component:<{width}}  {row.status:<6}  {row.reason}".rstrip() for row in rows]

    def describe(self) -> str:
        return "\n".join(self.lines())

    def to_json(self) -> dict[str, Any]:
        return {"components": [dataclasses.asdict(row) for row in self.rows], "continued": self.continued}


def transfer(
    source: Artifact, algorithm: Any, spec: Spec, fresh_state: State, components: Mapping[str, str] | None = None
) -> tuple[State, Report]:
    """`fresh_state` with the components that `source` has for it, in arrays of their own, and what went where.

    fresh_state: of `algorithm` for `spec`, leaves with a leading axis S of members; a source with one member goes to
    all of them. components: {component: component of the source}; by default every one goes to its namesake, if its
    key paths and shapes are the same. Nets take their targets along; where the source has no target, it is a copy of
    the net. Where all components go to namesakes of the same kind of algorithm, optimiser state and step go along: it
    is the same training, continued.

    Raises `UsageError` for observations or actions that differ (by default), unknown components, a component that was
    asked for and does not fit, another number of members, and where nothing would be loaded.
    """
    require_members(source, fresh_state)
    size = fresh_state.step.shape[0]
    if components is None:
        source.spec.require(spec, "the artifact", "the new task")
    else:
        for name, origin in components.items():
            if name not in fresh_state.nets:
                raise unknown(f"component of {registry.title(algorithm)}", name, fresh_state.nets)
            if origin not in source.state.nets:
                raise unknown(f"component of the artifact ({source.title})", origin, source.state.nets)
    chosen, rows = _choose(source, fresh_state, components)
    if not chosen:
        reasons = "; ".join(f"{row.component}: {row.reason}" for row in rows if row.status == "fresh")
        raise UsageError(
            f"nothing of the artifact ({source.title}) fits {registry.title(algorithm)}: {reasons}; {_instead(source)}"
        )
    fresh = {row.component for row in rows if row.status == "fresh"}
    for origin in source.state.nets:
        # Where its namesake is fresh, that row says why already.
        if origin not in chosen.values() and origin not in fresh:
            reason = "not asked for" if components is not None else f"{registry.title(algorithm)} has none"
            rows.append(Row(origin, "unused", reason))

    def spread(old: Any, new: Any) -> Any:
        # Arrays are the source's, settings that modules hold (noise, dropout) those of the algorithm that goes on.
        # Copies, since the state is donated to the compiled update.
        leaves = [jnp.array(np.broadcast_to(leaf, (size, *leaf.shape[1:])), copy=True) for leaf in jax.tree.leaves(old)]
        return jax.tree.unflatten(jax.tree.structure(new), leaves)

    nets, targets = dict(fresh_state.nets), dict(fresh_state.targets)
    for name, origin in chosen.items():
        nets[name] = spread(source.state.nets[origin], nets[name])
        if name in targets:
            targets[name] = spread(source.state.targets.get(origin, source.state.nets[origin]), targets[name])
    state = dataclasses.replace(fresh_state, nets=nets, targets=targets)
    continued = (
        type(source.algorithm) is type(algorithm)
        and chosen == {name: name for name in fresh_state.nets}
        and all(name in source.state.opt_state for name in fresh_state.opt_state)
    )
    if continued:
        old = {name: source.state.opt_state[name] for name in fresh_state.opt_state}
        continued = _difference(old, fresh_state.opt_state) is None
    if continued:
        opt_state, step = spread((old, source.state.step), (fresh_state.opt_state, fresh_state.step))
        state = dataclasses.replace(state, opt_state=opt_state, step=step)
    return state, Report(tuple(rows), continued)


def _instead(source: Artifact) -> str:
    """What else can be done with an artifact whose nets do not fit."""
    view = source.algorithm.view()
    if not source.acts:
        return "let it serve by its hidden layers or as frozen features (use)"
    ways = ["start from scratch", "choose components or an algorithm with the same networks"]
    if hasattr(source.algorithm, "low_level"):
        ways.insert(0, "decide on its skills (skills)")
    if view.skill:
        ways.insert(0, "prompt it first (reward examples)")
    return ", or ".join(ways)


def require_members(source: Artifact, fresh_state: State) -> None:
    """Raise `UsageError` unless the artifact has one member, or as many as the state."""
    size = fresh_state.step.shape[0]
    if source.members not in (1, size):
        raise UsageError(
            f"the artifact has {source.members} members (seeds {', '.join(map(str, source.seeds))}) and {size} are "
            f"asked for; ask for {source.members}, or choose one member"
        )


def _choose(
    source: Artifact, fresh_state: State, components: Mapping[str, str] | None
) -> tuple[dict[str, str], list[Row]]:
    """({component: component of the source} of what is loaded, a row for every component)."""
    chosen, rows = {}, []
    for name, net in fresh_state.nets.items():
        origin = name if components is None else components.get(name)
        if origin is None or origin not in source.state.nets:
            reason = "not asked for" if origin is None else "not in the artifact"
            rows.append(Row(name, "fresh", reason))
            continue
        old = source.state.nets[origin]
        difference = _kinds(old, net) or _difference(old, net, f"nets/{origin}", f"nets/{name}")
        if difference is None:
            chosen[name] = origin
            notes = [f"from {origin}"] * (origin != name)
            if name in fresh_state.targets and origin not in source.state.targets:
                notes.append("its target is a copy")
            rows.append(Row(name, "loaded", ", ".join(notes)))
        elif components is None:
            rows.append(Row(name, "fresh", difference))
        else:
            raise UsageError(f"{name} cannot be loaded from {origin}: {difference}")
    return chosen, rows


def _kinds(old: Any, new: Any) -> str | None:
    """What differs of that which arrays do not show: the kind of the component, and how its perceptrons compute."""
    if type(old) is not type(new):
        return f"a {type(new).__name__} here, a {type(old).__name__} there"
    for here, there in zip(_activations(new), _activations(old), strict=False):
        if here != there:
            return f"layers end in {here} here, in {there} there"
    return None


def _activations(net: Any) -> list[str]:
    return [
        f"{part.activation} and LayerNorm" if part.norms and part.norm_last else part.activation
        for part in perceptrons(net)
    ]


def _difference(old: Any, new: Any, old_name: str = "", new_name: str = "") -> str | None:
    """The first key path or shape (without the axis of members) that differs, as text; None where none does."""
    there, here = trees.flatten(old), trees.flatten(new)
    for path in [*here, *there]:
        if path not in there:
            return f"{new_name}/{path} is here, but not there"
        if path not in here:
            return f"{old_name}/{path} is there, but not here"
        shapes = here[path].shape[1:], there[path].shape[1:]
        if shapes[0] != shapes[1]:
            return f"shape of {new_name}/{path} is {shapes[0]} here, {shapes[1]} there"
    return None

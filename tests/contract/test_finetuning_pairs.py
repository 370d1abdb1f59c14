"""From every algorithm to every other: what is carried over is said, what makes no sense is refused with a reason."""

from __future__ import annotations

import dataclasses
import functools

import jax
import numpy as np
import pytest
from problems import DISCRETE, small, spec_of

from headstart.algos import registry
from headstart.artifact import Artifact, Skills, transfer
from headstart.data.normalize import Normalizer
from headstart.errors import UsageError
from headstart.phase import require_online

NAMES = sorted(registry.ALGORITHMS)


def zeros(algorithm, spec):
    """A state of the right form, without compiling anything."""
    shapes = jax.eval_shape(lambda key: algorithm.init(key, spec), jax.random.key(0))
    return jax.tree.map(lambda leaf: np.zeros((1, *leaf.shape), leaf.dtype), shapes)


@functools.cache
def trained(name):
    algorithm = small(name)
    spec = spec_of(algorithm)
    return Artifact(algorithm, spec, zeros(algorithm, spec), Normalizer.of(spec), (0,))


def carried(before, after):
    """The report of going on with the other algorithm in the same problem, or why not."""
    source, algorithm = trained(before), small(after)
    spec = algorithm.view().with_context(dataclasses.replace(source.spec, context=None))
    try:
        return transfer(source, algorithm, spec, zeros(algorithm, spec))[1]
    except UsageError as error:
        return str(error)


@pytest.mark.parametrize("before", NAMES)
def test_every_pair_carries_something_over_or_says_why_not(before):
    source = trained(before)
    for after in NAMES:
        found = carried(before, after)
        if isinstance(found, str):
            assert before != after, found
            lacks = source.spec.action is None and small(after).view().actions
            kinds = source.spec.action == DISCRETE.action or after == "discrete_cql"
            named = [f"{name}: " in found for name in trained(after).state.nets]
            # Other actions, or a reason for each component and something else to do.
            assert lacks or kinds or (all(named) and (" or " in found or "let it serve" in found)), (after, found)
            continue
        status = {row.component: row.status for row in found.rows}
        assert "loaded" in status.values()
        assert trained(after).state.nets.keys() <= status.keys()
        assert source.state.nets.keys() <= status.keys()
        assert all(row.reason for row in found.rows if row.status != "loaded")
        # Only the same training goes on with its optimiser.
        same = registry.name_of(source.algorithm) == registry.name_of(small(after))
        assert not found.continued or same
        if before == after:
            assert found.continued
            assert set(status.values()) == {"loaded"}


EXPECTED = {
    ("bc", "calql"): {"actor"},
    ("calql", "sac"): {"actor", "critic", "temperature"},
    ("gcbc", "gciql"): {"actor"},
    ("gcivl", "gcivl"): {"actor", "value"},
    ("iql", "td3bc"): {"critic"},
    ("qcfql", "qc"): {"critic", "flow"},
    ("sac", "bc"): {"actor"},
    ("td3bc", "rebrac"): {"actor"},
}


@pytest.mark.parametrize(("before", "after"), EXPECTED)
def test_namesakes_are_carried_over(before, after):
    rows = carried(before, after).rows
    assert {row.component for row in rows if row.status == "loaded"} == EXPECTED[before, after]


@pytest.mark.parametrize("name", ["fb", "hilp", "hiql", "opal"])
def test_skills_are_never_taken_for_those_of_another(name):
    """Whatever the shapes: a skill of one means nothing to another."""
    for other in {"fb", "hilp", "hiql", "opal", "iql", "td3bc"} - {name}:
        assert isinstance(found := carried(name, other), str), other
        assert "decide on its skills (skills)" in found
    assert ("prompt it first" in carried(name, "sac")) == (name in ("fb", "hilp"))


@pytest.mark.parametrize("name", NAMES)
def test_every_algorithm_learns_online_or_says_why_not(name):
    algorithm = small(name)
    reasons = {
        "bc": "bc imitates, and online there is nothing to imitate but itself",
        "fb": "prompt it with reward examples",
        "hilp": "prompt it with reward examples",
        "opal": "have another algorithm decide on them",
    }
    if name in reasons:
        with pytest.raises(UsageError, match=reasons[name]):
            require_online(algorithm)
    else:
        require_online(algorithm)


@pytest.mark.parametrize("name", NAMES)
def test_every_algorithm_decides_on_skills_or_says_why_not(name):
    below = Skills(trained("opal"))
    algorithm = small(name)
    if algorithm.view().skill or algorithm.view().chunk > 1:
        with pytest.raises(UsageError, match="learns skills of its own|decides on chunks of"):
            below.require(algorithm)
    else:
        below.require(algorithm)

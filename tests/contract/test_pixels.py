"""Every algorithm from images: states, updates and policies are traced, the commonest are run."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from problems import CONTINUOUS, DISCRETE, FEATURES, make_batch, small

from headstart.algos import registry
from headstart.nets.images import Front
from headstart.spec import ArraySpec

pytestmark = pytest.mark.usefixtures("quick_compilation")

SHAPE = (4, 4, 3)
IMAGE = (("", ArraySpec(SHAPE, "uint8")),)


def of_images(algorithm):
    """(spec, batch) of images for an algorithm; also its goals are images."""
    actions = DISCRETE if registry.name_of(algorithm) == "discrete_cql" else CONTINUOUS
    spec = algorithm.view().with_context(dataclasses.replace(actions, observation=IMAGE))
    batch = make_batch(spec, chunk=algorithm.view().chunk)
    rng = np.random.default_rng(0)

    def image(name, part):
        """Observations, and goals that are some, as images."""
        goal = name.endswith("context") or name == "intention"
        looks = part is not None and part.shape[-1:] == (FEATURES,) and (not goal or algorithm.view().goals)
        return rng.integers(0, 256, (*part.shape[:-1], *SHAPE)).astype(np.uint8) if looks else part

    fields = {field.name: image(field.name, getattr(batch, field.name)) for field in dataclasses.fields(batch)}
    return spec, dataclasses.replace(batch, **fields)


def fronts(tree) -> int:
    def is_front(node):
        return isinstance(node, Front)

    return sum(map(is_front, jax.tree.leaves(tree, is_leaf=is_front)))


@pytest.mark.parametrize("name", sorted(registry.ALGORITHMS))
def test_every_algorithm_takes_images(name):
    algorithm = small(name)
    spec, batch = of_images(algorithm)
    state = jax.eval_shape(lambda key: algorithm.init(key, spec), jax.random.key(0))
    assert fronts(state.nets)
    after, metrics = jax.eval_shape(algorithm.update, state, batch, jax.random.key(0))
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert metrics
    context = None if spec.context is None else np.zeros((2, *spec.context.shape), spec.context.dtype)
    act = lambda state, looks: algorithm.policy(state)(looks, context=context)  # noqa: E731
    if algorithm.view().actions:
        assert jax.eval_shape(act, state, np.zeros((2, *SHAPE), np.uint8)).shape == (2, *spec.action.shape)


@pytest.mark.parametrize("name", ["bc", "calql"])
def test_the_encoders_learn(name):
    algorithm = small(name)
    spec, batch = of_images(algorithm)
    state = jax.jit(algorithm.init, static_argnums=1)(jax.random.key(0), spec)
    after, _ = jax.jit(algorithm.update)(state, batch, jax.random.key(0))
    for component in {"actor", "critic"} & state.nets.keys():
        net = state.nets[component]
        front = lambda net: net.front if hasattr(net, "front") else net.trunk.front  # noqa: E731
        before, now = front(net), front(after.nets[component])
        moved = jax.tree.map(lambda a, b: bool((a != b).any()), before, now)
        assert all(jax.tree.leaves(moved)), component

"""Tiny models for the tests of artifacts and transfer."""

import dataclasses

import jax
import numpy as np

from headstart.algos.bc import BC
from headstart.algos.cql import CQL, CalQL
from headstart.algos.discrete_cql import DiscreteCQL
from headstart.algos.fql import FQL
from headstart.algos.iql import IQL
from headstart.algos.sac import SAC
from headstart.algos.td3bc import TD3BC
from headstart.artifact import Artifact
from headstart.batch import Batch
from headstart.data.normalize import Normalizer
from headstart.spec import ArraySpec, Spec

SMALL = {"actor_widths": (16, 16), "critic_widths": (16, 16)}

ALGORITHMS = {
    "bc": BC(actor_widths=(16,), policy_kind="gaussian", layer_norm=True),
    "calql": CalQL(**SMALL, actions=2, lagrange=True),
    "cql": CQL(**SMALL, actions=2),
    "discrete_cql": DiscreteCQL(critic_widths=(16,)),
    "fql": FQL(**SMALL, flow_steps=3),
    "iql": IQL(**SMALL),
    "qc": FQL(**SMALL, flow_steps=3, chunk=3, best_of=4),
    "sac": SAC(**SMALL),
    "td3bc": TD3BC(**SMALL),
}

LOW, HIGH = (-2.0, 0.0), (2.0, 1.0)
SPEC = Spec((("", ArraySpec((3,))),), ArraySpec((2,), low=LOW, high=HIGH))
DISCRETE = Spec((("", ArraySpec((3,))),), ArraySpec((), "int32", categories=4))
NAMED = Spec(
    (("achieved", ArraySpec((2,))), ("pixels", ArraySpec((4, 4, 1), "uint8"))), ArraySpec((2,), low=LOW, high=HIGH)
)


def state(algorithm, spec=SPEC, members=1, seed=7):
    """A state with a leading axis of members and other numbers in every leaf; nothing is initialised or compiled."""
    shapes = jax.eval_shape(
        jax.vmap(lambda key: algorithm.init(key, spec)), jax.random.split(jax.random.key(0), members)
    )
    rng = np.random.default_rng(seed)

    def draw(leaf):
        if leaf.dtype == np.int32:
            return np.full(leaf.shape, seed, np.int32)
        return (0.5 * rng.normal(size=leaf.shape)).astype(leaf.dtype)

    drawn = jax.tree.map(draw, shapes)
    # Adam takes the root of its second moments.
    return dataclasses.replace(drawn, opt_state=jax.tree.map(np.abs, drawn.opt_state))


def model(algorithm, spec=SPEC, seeds=(0,), normalizer=None, **options):
    """An artifact with arbitrary weights after 7 steps."""
    drawn = state(algorithm, spec, len(seeds))
    return Artifact(algorithm, spec, drawn, normalizer or Normalizer.of(spec), seeds, **options)


def batch(rows=8, spec=SPEC):
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    return Batch(
        observation=draw(rows, 3), action=np.tanh(draw(rows, 2)), reward=draw(rows),
        discount=np.full(rows, 0.9, np.float32),
        next_observation=draw(rows, 3), next_action=np.tanh(draw(rows, 2)), mc_return=draw(rows),
    )  # fmt: skip

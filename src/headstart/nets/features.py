"""Frozen features: what a net learned elsewhere sees in observations, in place of these or beside them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp

from headstart.nets.encoders import flatten
from headstart.state import State

if TYPE_CHECKING:
    from headstart.batch import Batch
    from headstart.spec import Spec

FEATURES = "features"
"""The component of a state that makes features for all of its others. It has no optimiser: nothing moves it."""


class Features(eqx.Module):
    """What another algorithm's representation sees: observations (B, *shape), normalised, to (B, size).

    net: the component that `features` of this algorithm, a `RepresentationAlgorithm`, looks at. spec: of the
    observations it was learned from. beside: the features stand behind the flattened observation instead of in its
    place.
    """

    net: Any
    algorithm: Any = eqx.field(static=True)
    spec: Spec = eqx.field(static=True)
    beside: bool = eqx.field(static=True, default=False)

    @classmethod
    def fresh(cls, algorithm: Any, spec: Spec, beside: bool, key: jax.Array) -> Features:
        """Of a representation that has learned nothing yet."""
        return cls(algorithm.init(key, spec).nets[algorithm.representation], algorithm, spec, beside)

    def __call__(self, observation: Any) -> jax.Array:
        state = State({self.algorithm.representation: self.net}, {}, {}, jnp.zeros((), jnp.int32))
        found = self.algorithm.features(state, observation)
        return jnp.concatenate([flatten(observation), found], axis=-1) if self.beside else found

    def seen(self, spec: Spec) -> Spec:
        """The spec of who sees these features of another spec's observations."""
        fresh = eqx.filter_eval_shape(Features.fresh, self.algorithm, self.spec, self.beside, jax.random.key(0))
        size = eqx.filter_eval_shape(fresh, spec.zeros(1)).shape[-1]
        part = dataclasses.replace(spec.observation[0][1], shape=(size,), dtype="float32", low=None, high=None)
        return dataclasses.replace(spec, observation=(("", part),))


def seeing(update: Any) -> Any:
    """An update to which the `Features` of a state, where it has such, stand for observations."""

    def wrapped(state: State, batch: Batch, key: jax.Array) -> tuple[State, dict[str, Any]]:
        features = state.nets.get(FEATURES)
        if features is not None:
            looks = {"observation": batch.observation, "next_observation": batch.next_observation}
            batch = dataclasses.replace(batch, **{name: features(look) for name, look in looks.items()})
        return update(state, batch, key)

    return wrapped


class SeeingPolicy(eqx.Module):
    """A policy that acts on features of observations."""

    features: Features
    policy: Any

    def __call__(self, observation: Any, key: jax.Array | None = None, context: jax.Array | None = None) -> jax.Array:
        return self.policy(self.features(observation), key, context)

    def chunk(self, observation: Any, key: jax.Array | None = None, context: jax.Array | None = None) -> jax.Array:
        """As the policy's, which may give single actions."""
        return getattr(self.policy, "chunk", self.policy)(self.features(observation), key, context)

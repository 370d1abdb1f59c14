"""Policies of several members side by side: raw observations in, raw actions out."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from headstart import nets
from headstart.algorithm import View
from headstart.data.columns import map_arrays
from headstart.data.normalize import Normalizer
from headstart.errors import UsageError
from headstart.nets.host import HostPolicy, on_host
from headstart.spec import ArraySpec, Spec

FEW = 16
"""Observations of a member up to which a perceptron acts in NumPy."""


def context(view: View, normalizer: Normalizer, goals: Any) -> Any:
    """What policies see of goals, raw observations with any leading axes. normalizer: of NumPy arrays."""
    return view.goal.of(normalizer.observation(goals))


def repeated(vector: np.ndarray, observations: Any) -> np.ndarray:
    """The same context (c,) for observations with the leading axes (S, n): (S, n, c)."""
    leading = jax.tree.leaves(observations)[0].shape[:2]
    return np.broadcast_to(vector, (*leading, len(vector)))


@functools.partial(jax.jit, static_argnames="algorithm")
def policies(algorithm: Any, state: Any) -> Any:
    """The policies of a state whose leaves have a leading axis S of members: one pytree with the same axis."""
    policies = jax.vmap(algorithm.policy)(state)
    features = state.nets.get(nets.FEATURES)
    return policies if features is None else nets.SeeingPolicy(features, policies)


@jax.jit
def act(policies: Any, normalizer: Normalizer, observations: Any, keys: Any = None, context: Any = None) -> Any:
    """Actions (S, n, *action shape) of S members for observations (S, n, *shape), both in the environment's units; of
    policies that decide on chunks of h actions all of them, (S, n, h, *action shape).

    keys: (S,) PRNG keys, one a member; None takes the most likely actions. context: (S, n, c) as the algorithm sees it
    (a goal by `context`), or None.
    """
    return jax.vmap(_act, in_axes=(0, None, 0, 0, 0))(policies, normalizer, observations, keys, context)


@jax.jit
def act_one(
    policies: Any, member: Any, normalizer: Normalizer, observations: Any, key: Any = None, context: Any = None
) -> Any:
    """Actions of one member, without the axis S, for observations (n, *shape); otherwise like `act`."""
    policy = jax.tree.map(lambda leaf: leaf[member], policies)
    return _act(policy, normalizer, observations, key, context)


def act_on_host(
    policy: HostPolicy, normalizer: Normalizer, observations: Any, noise: Any = None, context: Any = None
) -> np.ndarray:
    """Actions of one member in NumPy, as `act_one` gives them up to rounding.

    normalizer: of NumPy arrays. noise: (n, d) as `noise_along` draws it, or None for the most likely actions.
    """
    return normalizer.raw_action(policy(normalizer.observation(observations), noise, context))


@functools.partial(jax.jit, static_argnames="shape")
def noise(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """The normal noise by which policies of one perceptron sample with a key."""
    return jax.random.normal(key, shape)


def noise_by(key: Any, shape: tuple[int, ...]) -> Any:
    """`noise` with a key, or standard normal numbers of a NumPy generator: no program has to be woken for these."""
    if isinstance(key, np.random.Generator):
        return key.standard_normal(shape, np.float32)
    return noise(as_key(key), shape)


def as_key(key: Any) -> jax.Array | None:
    """A PRNG key as it is, or a new one by a NumPy generator; None stays. Raises `UsageError` for anything else."""
    if isinstance(key, np.random.Generator):
        return jax.random.key(key.integers(2**32, dtype=np.uint32))
    if key is None or isinstance(key, jax.Array | np.ndarray):
        return key
    raise UsageError(f"key is {key!r}; give a PRNG key (jax.random.key), a NumPy generator or None")


@functools.partial(jax.jit, static_argnames="shape")
def noise_along(keys: jax.Array, steps: Any, shape: tuple[int, ...]) -> jax.Array:
    """(n, S, *shape) that noise of S members, with the keys (S,), at n steps."""
    return jax.vmap(lambda step: jax.vmap(lambda key: noise(key, shape))(keys_at(keys, step)))(steps)


@jax.jit
def keys_at(keys: jax.Array, step: Any) -> jax.Array:
    """(S,) the keys with which S members sample at a step."""
    return jax.vmap(lambda key: jax.random.fold_in(key, step))(keys)


class Sampler:
    """Sampled actions of S members, `rows` observations of each at a time.

    What a member draws at a step is decided by the step and its key, keys (S,). Where perceptrons act for few
    observations they do so in NumPy, and the noise of many steps is drawn at once.
    """

    def __init__(self, normalizer: Normalizer, keys: jax.Array, rows: int):
        self._normalizer, self._keys, self._rows = normalizer, keys, rows

    def follow(self, policies: Any, steps: np.ndarray) -> None:
        """Act by these policies from now on, at the steps (n,); as many at every call, taken or not."""
        self._policies = policies
        self._host = on_host(policies) if self._rows <= FEW else None
        if self._host is not None:
            noise = np.asarray(noise_along(self._keys, steps, (self._rows, self._host[0].size)))
            self._noise = dict(zip(steps.tolist(), noise, strict=True))

    def __call__(self, step: int, observations: Any, context: Any = None) -> np.ndarray:
        """Actions (S, rows, *action shape) for observations (S, rows, *shape) and contexts, as `act` gives them."""
        if self._host is None:
            keys = keys_at(self._keys, step)
            return np.asarray(act(self._policies, self._normalizer, observations, keys=keys, context=context))
        actions = []
        for i, (policy, noise) in enumerate(zip(self._host, self._noise[step], strict=True)):
            mine = map_arrays(lambda part, i=i: part[i], observations)
            told = None if context is None else context[i]
            actions.append(act_on_host(policy, self._normalizer, mine, noise, told))
        return np.array(actions)


def _act(policy: Any, normalizer: Normalizer, observations: Any, key: Any, context: Any) -> Any:
    # Full precision, so that a policy does the same on every machine; its cost beside training is small.
    with jax.default_matmul_precision("highest"):
        action = getattr(policy, "chunk", policy)(normalizer.observation(observations), key=key, context=context)
    return normalizer.raw_action(action)


@functools.partial(jax.jit, static_argnames="algorithm")
def towards(algorithm: Any, state: Any, normalizer: Normalizer, observations: Any, goals: Any) -> Any:
    """Skills (S, n, k) of S members that lead from raw observations (S, n, *shape) to goals (S, n, c), which are as
    `context` gives them. algorithm: a `SkillAlgorithm`. state: of S members, its nets alone are looked at."""

    def one(state: Any, observations: Any, goals: Any) -> Any:
        return _towards(algorithm, state, normalizer, observations, goals)

    return jax.vmap(one)(state, observations, goals)


@functools.partial(jax.jit, static_argnames="algorithm")
def towards_one(algorithm: Any, state: Any, member: Any, normalizer: Normalizer, observations: Any, goals: Any) -> Any:
    """Skills (n, k) of one member, without the axis S; otherwise like `towards`."""
    of_member = jax.tree.map(lambda leaf: leaf[member], state)
    return _towards(algorithm, of_member, normalizer, observations, goals)


def _towards(algorithm: Any, state: Any, normalizer: Normalizer, observations: Any, goals: Any) -> Any:
    with jax.default_matmul_precision("highest"):
        return algorithm.towards(state, normalizer.observation(observations), goals)


@functools.partial(jax.jit, static_argnames="algorithm")
def features(algorithm: Any, state: Any, normalizer: Normalizer, observations: Any) -> Any:
    """What S members look at to tell a skill from rewards, (S, n, k), for the same raw observations (n, *shape)."""
    seen = normalizer.observation(observations)
    with jax.default_matmul_precision("highest"):
        return jax.vmap(lambda state: algorithm.features(state, seen))(state)


@functools.partial(jax.jit, static_argnames="algorithm")
def goal_values(algorithm: Any, state: Any, normalizer: Normalizer, observations: Any, goals: Any) -> Any:
    """V(s, g) of S members, (S, n), for the same raw observations (n, *shape) and goals (n, c) as `context` gives them.
    algorithm: one with a `goal_value`. state: of S members, its nets alone are looked at."""
    seen = normalizer.observation(observations)
    with jax.default_matmul_precision("highest"):
        return jax.vmap(lambda state: algorithm.goal_value(state, seen, goals))(state)


@functools.partial(jax.jit, static_argnames="algorithm")
def low_levels(algorithm: Any, state: Any) -> Any:
    """The policies of S members whose contexts are skills. algorithm: a `LowLevelAlgorithm`."""
    return jax.vmap(algorithm.low_level)(state)


@functools.partial(jax.jit, static_argnames="algorithm")
def skills_of(
    algorithm: Any, state: Any, member: Any, normalizer: Normalizer, along: Any, actions: Any, reached: Any
) -> Any:
    """Skills (n, k) that one member sees in stretches of c steps, all raw: along (n, c, *shape), actions (n, c, d) and
    where they led, reached (n, *shape)."""
    of_member = jax.tree.map(lambda leaf: leaf[member], state)
    with jax.default_matmul_precision("highest"):
        return algorithm.skill_of(
            of_member, normalizer.observation(along), normalizer.action(actions), normalizer.observation(reached)
        )


def leading_axes(spec: Spec, observation: Any) -> tuple[None, ...]:
    """For `with_axes`: (None,) where the observation has one axis more than the spec's, else ()."""
    name, part = spec.observation[0]
    first = observation.get(name, ()) if isinstance(observation, dict) else observation
    return (None,) if np.ndim(first) > len(part.shape) else ()


def with_axes(spec: Spec, observation: Any, axes: tuple[int | None, ...]) -> Any:
    """The observation as arrays of the spec's types.

    axes: the leading axes that must stand before an observation's own; None fits any size.
    Raises `UsageError` that names expected and found where names, shapes or types do not fit.
    """
    parts = dict(spec.observation)
    plain = list(parts) == [""]
    if plain == isinstance(observation, dict):
        expected = "one array" if plain else f"a dict of {', '.join(parts)}"
        raise UsageError(f"expected observations as {expected}, found {_kind(observation)}")
    if plain:
        return as_part("observation", parts[""], observation, axes)
    if observation.keys() != parts.keys():
        raise UsageError(f"expected observations {', '.join(parts)}; found {', '.join(sorted(observation))}")
    return {name: as_part(f"observation {name!r}", parts[name], observation[name], axes) for name in parts}


def as_part(label: str, part: ArraySpec, array: Any, axes: tuple[int | None, ...]) -> Any:
    """One array of its spec's type with the given leading axes. Raises `UsageError` where it does not fit."""
    if not hasattr(array, "shape"):
        array = np.asarray(array)
    leading = len(axes)
    fits = array.ndim == leading + len(part.shape) and array.shape[leading:] == part.shape
    if not fits or any(axis not in (None, size) for axis, size in zip(axes, array.shape, strict=False)):
        names = iter("nmkl")
        expected = ", ".join([*(next(names) if axis is None else str(axis) for axis in axes), *map(str, part.shape)])
        comma = "," if leading + len(part.shape) == 1 else ""
        raise UsageError(f"{label} has shape {tuple(array.shape)}, expected ({expected}{comma})")
    if part.dtype == "uint8" and array.dtype != np.uint8:
        raise UsageError(f"{label} holds {array.dtype}, expected uint8 (pixels from 0 to 255)")
    if array.dtype.kind not in "biuf":
        raise UsageError(f"{label} holds {array.dtype}, expected numbers")
    return array.astype(part.dtype)


def _kind(observation: Any) -> str:
    if isinstance(observation, dict):
        return f"a dict of {', '.join(map(str, observation))}"
    return "one array"


def drawn_keys(seed: int, members: int) -> Callable[[], jax.Array]:
    """A function that gives new keys (members,) at every call, the same sequence for the same seed."""
    calls = itertools.count()
    keys = jax.jit(lambda call: jax.random.split(jax.random.fold_in(jax.random.key(seed), call), members))
    return lambda: keys(next(calls))

"""Which rows: random numbers without regard to the data, drawn alike on the device and on the host, and integers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from headstart.algorithm import Goals, View


def uniform(key: jax.Array, count: jax.Array | int, size: int) -> jax.Array:
    """(size,) int32 positions, uniform over [0, count)."""
    return jax.random.randint(key, (size,), 0, count)


def within(key: jax.Array, ranges: jax.Array) -> jax.Array:
    """(B,) int32 positions, each uniform over its own range; ranges: (2, B), first and one after the last."""
    return jax.random.randint(key, ranges.shape[1:], *ranges)


CURRENT, FUTURE, RANDOM = range(3)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Draw:
    """What chance decides about the goals of B rows, whatever the rows are.

    kind:      (B,) int32, CURRENT, FUTURE or RANDOM.
    ahead:     (B,) of a future goal: int32 steps ahead, without bound (geometric goals), or float32 in [0, 1), the
               share of the steps that are left to the episode's end.
    other:     (B,) random goals: int32 positions among the transitions, or after `placed` their rows.
    commanded: (B,) bool, the goal is the one that the environment had set, where the row has such.
    """

    kind: Any
    ahead: Any
    other: Any
    commanded: Any


def hindsight(key: jax.Array, view: View, count: jax.Array | int) -> dict[str, Draw]:
    """A draw for each kind of goals that the view has: `goals`, `actor_goals`, `intentions`. count: of transitions, at
    least 1."""
    kinds = ("goals", "actor_goals", "intentions")
    wanted = {name: law for name in kinds if (law := getattr(view, name)) is not None}
    # Not the key itself: rows are drawn from it.
    draws = {
        name: _draw(jax.random.fold_in(key, 2 + i), law, view.discount, view.batch_size, count)
        for i, (name, law) in enumerate(wanted.items())
    }
    if view.same_goal:
        same = jax.random.uniform(jax.random.fold_in(key, 2 + len(kinds)), (view.batch_size,)) < view.same_goal
        shared = jax.tree.map(partial(jnp.where, same), draws["intentions"], draws["goals"])
        draws["goals"] = shared
    return draws


def _draw(key: jax.Array, law: Goals, discount: float, size: int, count: jax.Array | int) -> Draw:
    kind_key, ahead_key, other_key, commanded_key = jax.random.split(key, 4)
    u = jax.random.uniform(kind_key, (size,))
    return Draw(
        kind=(u >= law.current).astype(jnp.int32) + (u >= 1.0 - law.random).astype(jnp.int32),
        ahead=geometric(ahead_key, discount, size) if law.geometric else jax.random.uniform(ahead_key, (size,)),
        other=uniform(other_key, count, size),
        commanded=jax.random.uniform(commanded_key, (size,)) < law.commanded,
    )


def geometric(key: jax.Array, discount: float, size: int) -> jax.Array:
    """(size,) int32 numbers of steps k >= 1 with probability (1 - discount) discount^(k - 1).

    discount: in (0, 1). By comparisons with the tail's probabilities, which round alike everywhere; logarithms do not.
    """
    # P(steps > k) for k = 1, 2, ..., as far as single precision tells it from zero.
    beyond = np.float32(discount) ** np.arange(1, 2 + math.ceil(math.log(2.0**-24) / math.log(discount)))
    u = jax.random.uniform(key, (size,))
    more = len(beyond) - jnp.searchsorted(jnp.asarray(beyond[::-1], jnp.float32), u, side="right")
    return 1 + more.astype(jnp.int32)


def placed(draws: dict[str, Draw], rows: Callable[[Any], Any]) -> dict[str, Draw]:
    """The same with rows in place of positions. rows: positions -> rows."""
    return {name: dataclasses.replace(draw, other=rows(draw.other)) for name, draw in draws.items()}


def steps_to_goal(draw: Draw, remaining: Any) -> Any:
    """(B,) steps from each row to a goal of its own episode, 0 to `remaining`, the steps left; random goals have none.

    Exact arithmetic, the same for NumPy and JAX arrays.
    """
    if np.issubdtype(draw.ahead.dtype, np.floating):
        future = 1 + (draw.ahead * remaining.astype(np.float32)).astype(remaining.dtype)
    else:
        future = draw.ahead.astype(remaining.dtype)
    return future.clip(max=remaining) * (draw.kind == FUTURE)


def chunk(remaining: Any, length: int) -> tuple[Any, Any]:
    """Steps ahead (B, length) of a chunk from the current row on, and whether each lies inside its episode (bool).

    remaining: (B,) steps to the episode's end, at least 1. A chunk that the end cuts short is held at its last action.
    """
    inside = remaining[..., None] > np.arange(length)
    return inside.cumsum(-1) - 1, inside

"""Many updates in one dispatch, training seeds side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from headstart import nets
from headstart.algorithm import Algorithm
from headstart.batch import Batch
from headstart.data import augment, index
from headstart.data.normalize import Normalizer
from headstart.data.views import Table, gather
from headstart.spec import Spec

SHIFTS = 0xC409
"""What an update's key is folded with to draw the shifts of images: no number that algorithms use."""

SQUARES_DECAY = 0.999
"""Of Adam's mean of squared gradients, as Optax has it by default."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Learner:
    """The part of training that lives on the device; every leaf has the leading axis S of training seeds.

    state: of the algorithm. sums: metric name -> sum over the `count` updates since the last log step.
    """

    state: Any
    sums: dict[str, Any]
    count: Any


@partial(jax.jit, static_argnames=("algorithm", "spec"))
def fresh(algorithm: Algorithm, spec: Spec, keys: jax.Array) -> Any:
    """Fresh states of S training seeds, from their keys (S,)."""
    return jax.vmap(lambda key: algorithm.init(key, spec))(keys)


def learner(states: Any, algorithm: Algorithm, batch: Any) -> Learner:
    """A learner at the start of a window, in buffers of its own, since they are donated.

    batch: one batch, or its shapes; tells which metrics there are.
    """
    seeds = states.step.shape[0]
    states = jax.tree.map(partial(jnp.array, copy=True), states)
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), states)
    _, metrics = jax.eval_shape(_update(algorithm, frozenset(), "float32", 0), one, batch, jax.random.key(0))
    return clear(Learner(states, {name: jnp.zeros(seeds) for name in metrics}, jnp.zeros(seeds, jnp.int32)))


def clear(learner: Learner) -> Learner:
    """The same at the start of a new window of metrics."""
    return dataclasses.replace(
        learner, sums={name: jnp.zeros_like(total) for name, total in learner.sums.items()}, count=learner.count * 0
    )


def means(learner: Learner) -> list[dict[str, float]]:
    """Metrics of each seed, averaged over the window; none where it holds no update. To those of the algorithm come the
    gradient norms of the components that have learned (`gradient_norm`)."""
    counts, sums = jax.device_get((learner.count, learner.sums))
    norms = {
        f"gradient_norm_{name}": norm
        for name, opt_state in learner.state.opt_state.items()
        if (norm := gradient_norm(opt_state)) is not None
    }
    return [
        {name: float(total[seed] / count) for name, total in sums.items()}
        | {name: float(norm[seed]) for name, norm in norms.items()}
        if count
        else {}
        for seed, count in enumerate(counts)
    ]


def gradient_norm(opt_state: Any) -> np.ndarray | None:
    """Norm of a component's gradients, the root mean square over about the last thousand updates, from what Adam keeps
    of them: it costs nothing while training. None before the first update, and where there is no such state.

    Leaves may have leading axes beside those of one state; the count's shape tells how many, and the result has them.
    """

    def is_adam(node: Any) -> bool:
        return isinstance(node, optax.ScaleByAdamState)

    states = list(filter(is_adam, jax.tree.leaves(opt_state, is_leaf=is_adam)))
    if not states or any(np.min(state.count) == 0 for state in states):
        return None
    squares = 0.0
    for state in states:
        count = np.asarray(state.count)
        for leaf in map(np.asarray, jax.tree.leaves(state.nu)):
            # Adam starts from zero, which makes early means too small.
            squares = squares + leaf.sum(tuple(range(count.ndim, leaf.ndim))) / (1.0 - SQUARES_DECAY**count)
    return np.sqrt(squares)


def freeze(update: Callable, components: Collection[str]) -> Callable:
    """An update to which the named components are constants: they, their targets and their optimisers stay as they
    were, and what follows in the same update (an actor that looks at the critic just stepped) sees them so."""
    if not components:
        return update

    def frozen(state, batch, key):
        # Without an optimiser state they stand still inside the update as well (`optim.step`).
        trained = {name: None if name in components else value for name, value in state.opt_state.items()}
        new, metrics = update(dataclasses.replace(state, opt_state=trained), batch, key)
        kept = {
            part: {
                name: getattr(state, part)[name] if name in components else value
                for name, value in getattr(new, part).items()
            }
            for part in ("nets", "targets", "opt_state")
        }
        return dataclasses.replace(new, **kept), metrics

    return frozen


@cache
def _update(algorithm: Algorithm, frozen: frozenset[str], precision: nets.Precision, crop: int) -> Callable:
    """An algorithm's update with these options. Under jit and kept, so that it is traced once for all that needs it."""
    update = nets.multiply_in(precision)(freeze(nets.seeing(algorithm.update), frozen))
    if not crop:
        return jax.jit(update)

    def augmented(state, batch, key):
        # The algorithm draws from the key itself; shifts come from one beside it.
        return update(state, augment.shifted(batch, crop, jax.random.fold_in(key, SHIFTS)), key)

    return jax.jit(augmented)


def side_by_side(function: Callable, mapped: Any) -> Any:
    """`function` for each index of the leading axis of `mapped`: by `vmap` where the hardware runs the seeds at once,
    one after the other on CPUs, where one seed fills all cores and batched products are slower than plain ones."""
    if jax.default_backend() == "cpu":
        return jax.lax.map(function, mapped)
    return jax.vmap(function)(mapped)


def _run(update: Callable, batch_of: Callable, learner: Learner, keys: jax.Array, start, count, extra: Any) -> Learner:
    """`count` updates of every seed. batch_of(extra of the seed, i, key) -> batch of the i-th of them."""

    def one_seed(arguments):
        learner, key, extra = arguments

        def body(i, carry):
            state, sums = carry
            draw_key, update_key = jax.random.split(jax.random.fold_in(key, start + i))
            state, metrics = update(state, batch_of(extra, i, draw_key), update_key)
            return state, jax.tree.map(jnp.add, sums, metrics)

        state, sums = jax.lax.fori_loop(0, count, body, (learner.state, learner.sums))
        return Learner(state, sums, learner.count + count)

    return side_by_side(one_seed, (learner, keys, extra))


@partial(jax.jit, static_argnames=("algorithm", "frozen", "precision", "crop"), donate_argnames="learner")
def from_table(
    algorithm: Algorithm,
    frozen: frozenset[str],
    learner: Learner,
    keys: jax.Array,
    start: Any,
    count: Any,
    table: Table,
    normalizer: Normalizer,
    precision: nets.Precision = "float32",
    crop: int = 0,
) -> Learner:
    """`count` updates after the first `start`, on batches that are drawn on the device from `table`.

    keys: (S,) one for each seed; update number u draws and learns with `fold_in(key, u)`, so a run is a function of
    its keys, however it is cut into calls. frozen: components that stay as they are. precision: of matrix products
    (`nets.multiply_in`). crop: pixels by which images are shifted (`augment.shifted`). The learner is donated.
    """
    view = algorithm.view()

    def batch_of(_, i, key):
        count = table.rows.shape[0]
        uniform = table.ranges is None
        positions = index.uniform(key, count, view.batch_size) if uniform else index.within(key, table.ranges)
        rows = table.rows[positions]
        draws = index.placed(index.hindsight(key, view, count), lambda positions: table.rows[positions])
        return gather(table, rows, view, normalizer, draws)

    return _run(_update(algorithm, frozen, precision, crop), batch_of, learner, keys, start, count, None)


@partial(jax.jit, static_argnames=("algorithm", "frozen", "precision", "crop"), donate_argnames="learner")
def from_batches(
    algorithm: Algorithm,
    frozen: frozenset[str],
    learner: Learner,
    keys: jax.Array,
    start: Any,
    count: Any,
    batches: Batch,
    precision: nets.Precision = "float32",
    crop: int = 0,
) -> Learner:
    """Like `from_table` on batches that are there already, leaves (S, K, B, ...) with K >= count.

    Drawn from the same rows, the two give the same result.
    """

    def batch_of(batches, i, _):
        return jax.tree.map(lambda leaf: leaf[i], batches)

    return _run(_update(algorithm, frozen, precision, crop), batch_of, learner, keys, start, count, batches)


def stacked(drawn: list[Batch], room: int) -> Batch:
    """Batches (n, B, ...) of every seed as one with leaves (S, room, B, ...), whatever n is: one compiled program."""

    def stack(*leaves: np.ndarray) -> np.ndarray:
        if len(leaves) == 1 and len(leaves[0]) == room:
            return leaves[0][None]
        result = np.zeros((len(leaves), room, *leaves[0].shape[1:]), leaves[0].dtype)
        for seed, leaf in enumerate(leaves):
            result[seed, : len(leaf)] = leaf
        return result

    return jax.tree.map(stack, *drawn)

"""Offline training: updates on a data set that does not grow."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection
from typing import Any

import jax

from headstart.algorithm import Algorithm
from headstart.data.normalize import Normalizer
from headstart.data.replay import Mixture, draw_batches
from headstart.data.views import Table, one_batch
from headstart.train import updates
from headstart.train.loop import Interruption, Pace, Progress, due, next_mark
from headstart.train.options import OfflineOptions
from headstart.train.run import Run

HOST_BATCHES = 32
"""Batches that are drawn on the host at once."""


def train(
    algorithm: Algorithm,
    states: Any,
    keys: jax.Array,
    table: Table,
    normalizer: Normalizer,
    options: OfflineOptions,
    run: Run,
    seeds: tuple[int, ...],
    phase: str = "offline",
    frozen: Collection[str] = (),
    evaluate: Callable[[Any, int], None] | None = None,
) -> Any:
    """`options.steps` updates of S training seeds on the same data; returns their states.

    states, keys: leading axis S. evaluate(states, step) is called at evaluation steps (and before the first
    update). A run that was killed and resumed gives the same states and the same logs, bit for bit.

    Raises `TrainingError` where a loss is not finite, `Interrupted` where a signal stopped it (after saving).
    """
    view = algorithm.view()
    learner = updates.learner(states, algorithm, one_batch(table, view, normalizer))
    place = _on_device if _fits(table, options.data_on) else _on_host
    advance = place(algorithm, table, normalizer, frozenset(frozen), options)

    step = 0
    if (restored := run.restore(learner)) is not None:
        step, learner, _ = restored
    elif evaluate is not None:
        evaluate(learner.state, 0)
    pace = Pace()
    with Interruption.watch() as interruption, Progress(phase, options.steps, step) as progress:
        while step < options.steps:
            mark = next_mark(step, options.steps, options.log_every, options.eval_every, options.checkpoint_every)
            count = min(mark - step, pace.count)
            started = time.perf_counter()
            learner = advance(learner, keys, step, count)
            jax.block_until_ready(learner.count)
            pace.measured(count, time.perf_counter() - started)
            before, step = step, step + count
            progress.update(step)
            if due(before, step, options.steps, options.log_every):
                run.metrics(phase, step, updates.means(learner), seeds)
                run.write("timing", [progress.timing(step)])
                learner = updates.clear(learner)
            if evaluate is not None and due(before, step, options.steps, options.eval_every or options.steps):
                evaluate(learner.state, step)
            if interruption.asked or due(before, step, options.steps, options.checkpoint_every):
                run.save(step, learner)
            if interruption.asked and step < options.steps:
                run.close()
                interruption.stop(step, run.folder)
    return learner.state


def _fits(table: Table, where: str) -> bool:
    """Whether batches are drawn on the device; says so where the data does not fit."""
    if where != "auto":
        return where == "device"
    free = _free_bytes()
    if table.nbytes < 0.6 * free:
        return True
    print(
        f"data of {table.nbytes / 1e9:.1f} GB does not fit beside training ({free / 1e9:.1f} GB free): "
        "batches are drawn on the host",
        file=sys.stderr,
    )
    return False


def _free_bytes() -> float:
    """Free memory of the device; of the machine where the device is its CPU."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats["bytes_in_use"]
    import psutil

    return psutil.virtual_memory().available


def _on_device(
    algorithm: Algorithm, table: Table, normalizer: Normalizer, frozen: frozenset[str], options: OfflineOptions
) -> Callable:
    # Shares the data's memory where the device is the CPU; `jnp.asarray` would copy it.
    table, normalizer = jax.device_put((table, normalizer))

    def advance(learner, keys, step, count):
        return updates.from_table(
            algorithm, frozen, learner, keys, step, count, table, normalizer, options.precision, options.crop
        )

    return advance


def _on_host(
    algorithm: Algorithm, table: Table, normalizer: Normalizer, frozen: frozenset[str], options: OfflineOptions
) -> Callable:
    """The same by batches that are drawn on the host, at most `HOST_BATCHES` at once."""
    view = algorithm.view()

    def advance(learner, keys, step, count):
        for first in range(step, step + count, HOST_BATCHES):
            some = min(HOST_BATCHES, step + count - first)
            drawn = [
                draw_batches(table, None, Mixture(), 0.0, view, normalizer, key, first, some, HOST_BATCHES)
                for key in keys
            ]
            batches = updates.stacked(drawn, HOST_BATCHES)
            learner = updates.from_batches(
                algorithm, frozen, learner, keys, first, some, batches, options.precision, options.crop
            )
        return learner

    return advance

"""Offline training: updates on a data set that does not grow."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from headstart import trees
from headstart.algorithm import Algorithm
from headstart.data.normalize import Normalizer
from headstart.data.replay import Mixture, draw_batches
from headstart.data.views import Table, gather
from headstart.train import updates
from headstart.train.loop import Interruption, Pace, Progress, due, next_mark
from headstart.train.run import Run


@dataclasses.dataclass(frozen=True)
class OfflineOptions:
    """How long, and what to write when. Steps are gradient steps."""

    steps: int = 100_000
    """Gradient steps."""
    log_every: int = 1_000
    """Steps between lines of metrics.jsonl."""
    eval_every: int = 0
    """Steps between evaluations; 0: only at the end."""
    checkpoint_every: int = 10_000
    """Steps between checkpoints; 0: none but on interruption."""
    data_on: str = "auto"
    """Where batches are drawn: device, host, or auto (the device where the data fits)."""


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
    one_batch = gather(table, table.rows[np.zeros(view.batch_size, int)], view, normalizer)
    learner = updates.learner(states, algorithm, one_batch)
    advance = _on_device(algorithm, table, normalizer, frozen) if _fits(table, options.data_on) else None
    advance = advance or _on_host(algorithm, table, normalizer, frozen, len(seeds))

    step = 0
    if (restored := run.restore()) is not None:
        step, arrays = restored
        learner = trees.fill(learner, arrays["learner"])
    elif evaluate is not None:
        evaluate(learner.state, 0)

    def save() -> None:
        run.save(step, {"learner": trees.flatten(learner)})

    pace, progress = Pace(), Progress(phase, options.steps, step)
    with Interruption.watch() as interruption:
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
                run.write("timing", [{"phase": phase, "step": step, "seconds": progress.seconds, "rate": progress.rate}])
                learner = updates.clear(learner)
            if evaluate is not None and due(before, step, options.steps, options.eval_every or options.steps):
                evaluate(learner.state, step)
            if interruption.asked or due(before, step, options.steps, options.checkpoint_every):
                save()
            if interruption.asked and step < options.steps:
                progress.close()
                run.close()
                interruption.stop(step, run.folder)
    progress.close()
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


def _on_device(algorithm: Algorithm, table: Table, normalizer: Normalizer, frozen: Collection[str]) -> Callable:
    run = updates.from_table(algorithm, algorithm.view(), normalizer, frozen)
    on_device = jax.tree.map(jnp.asarray, table)
    return lambda learner, keys, step, count: run(learner, keys, step, count, on_device)


def _on_host(
    algorithm: Algorithm, table: Table, normalizer: Normalizer, frozen: Collection[str], seeds: int
) -> Callable:
    """The same by batches that are drawn on the host, at most `HOST_BATCHES` at once."""
    run = updates.from_batches(algorithm, frozen)
    view = algorithm.view()

    def advance(learner, keys, step, count):
        for first in range(step, step + count, HOST_BATCHES):
            drawn = [
                draw_batches(table, None, Mixture(), 0.0, view, normalizer, keys[s], first, HOST_BATCHES)
                for s in range(seeds)
            ]
            batches = jax.tree.map(lambda *leaves: np.stack(leaves), *drawn)
            learner = run(learner, keys, first, min(HOST_BATCHES, step + count - first), batches)
        return learner

    return advance

"""Conservative data sharing, for algorithms whose critic values continuous actions.

Of data that is shared between tasks (`data.share`) a task takes the relabelled rows whose value is high enough:
`CANDIDATES` times as many rows as a batch has are drawn, and the batch from them in proportion to their weight
(`losses.tasks`), so that losses need to know nothing of it. `algorithm` is any dataclass with the fields `shared_rows`,
`share_quantile` and `batch_size`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from headstart.errors import UsageError
from headstart.lazy import jax, jnp, losses, nets

CANDIDATES = 4


def sound_sharing(algorithm: Any) -> None:
    """For `__post_init__`. Raises `UsageError` for a choice among shared rows of an algorithm that knows no tasks."""
    if algorithm.shared_rows != "all" and not algorithm.tasks:
        raise UsageError(f"rows are shared between tasks (shared_rows {algorithm.shared_rows}); act on them (tasks)")


def choosing(algorithm: Any, view: Any) -> Any:
    """The view with what `choose` needs."""
    if algorithm.shared_rows == "all":
        return view
    return dataclasses.replace(view, batch_size=CANDIDATES * algorithm.batch_size, shared=True)


def choose(algorithm: Any, state: Any, batch: Any, key: Any) -> tuple[Any, dict[str, Any]]:
    """(the batch to learn from, metrics): the batch itself where all rows are taken."""
    if algorithm.shared_rows == "all":
        return batch, {}
    q = state.nets["critic"](nets.flatten(batch.observation, batch.context), batch.action).min(0)
    threshold = losses.tasks.own_quantile(q, batch.context, batch.shared, algorithm.share_quantile)
    weight = losses.tasks.shared_weight(q - threshold, batch.shared, algorithm.shared_rows == "weighted")
    # The algorithm draws from the key itself.
    key = jax.random.fold_in(key, 0xCD5)
    chosen = jax.random.categorical(key, jnp.log(weight), shape=(algorithm.batch_size,))
    batch = jax.tree.map(lambda leaf: jnp.take(leaf, chosen, axis=0), batch)
    return batch, {"shared_rate": batch.shared.mean()}

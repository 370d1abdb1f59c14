"""From rows to batches: the one place that decides what reward, discount and goal a row stands for."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import numpy as np

from headstart.algorithm import View
from headstart.batch import Batch
from headstart.data import index
from headstart.data.dataset import Dataset
from headstart.data.goals import relabelled
from headstart.data.normalize import Normalizer
from headstart.data.returns import pessimistic_tail, returns_to_go
from headstart.errors import UsageError


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Table:
    """The columns of a `Dataset` that `gather` reads, R rows each, in the units of the data.

    `rows`: (steps,) int32, the rows that have a successor. `next_actions`: (R, d) or (R,) what somebody else would do
    at each row's observation, such as a policy that is evaluated; None: what the data did. Fields that no view asked
    for are None. `task_vectors`: (K, c) what `tasks` are known by. `ranges`: (2, B) positions among
    `rows` from which each row of a batch is drawn (`with_share`); None: from all. Holds NumPy arrays on the host or JAX
    arrays on the device.
    """

    observations: Any
    actions: Any
    rewards: Any
    terminations: Any
    episode_end: Any
    mc_returns: Any
    rows: Any
    next_actions: Any = None
    tasks: Any = None
    task_vectors: Any = None
    shared: Any = None
    ranges: Any = None
    # Recorded data names no goal that was commanded; a replay buffer may.
    contexts: ClassVar[None] = None

    @property
    def nbytes(self) -> int:
        return sum(leaf.nbytes for leaf in jax.tree.leaves(self))

    def remaining(self, rows: Any) -> Any:
        """Steps from each row to its episode's end."""
        return self.episode_end[rows] - rows

    def successor(self, rows: Any, steps: Any) -> Any:
        """The row `steps` further on in the same episode."""
        return rows + steps

    def task_vector(self, rows: Any) -> Any:
        """(B, c) vectors of the rows' tasks."""
        return self.task_vectors[self.tasks[rows]]

    def is_shared(self, rows: Any) -> Any:
        """(B,) whether they were relabelled from another task."""
        return self.shared[rows]


def table(data: Dataset, view: View) -> Table:
    """The columns of `data` that a view needs.

    Raises `UsageError` where the data lacks actions, rewards or tasks that the view needs.
    """
    lacking = [name for name in ("actions", "rewards") if getattr(view, name) and getattr(data, name) is None]
    if lacking:
        hint = "use data that has them" + ("" if "actions" in lacking else ", or an algorithm that imitates")
        raise UsageError(
            f"{data.provenance.source} holds no {' and no '.join(lacking)}, which this algorithm learns from; {hint}"
        )
    if view.tasks and data.tasks is None:
        raise UsageError(
            f"{data.provenance.source} names no tasks, which this algorithm acts on; name its task (task, or "
            "`headstart data convert --task NAME`)"
        )
    tasks = data.tasks if view.tasks else None
    if tasks is not None and (view.mc_return or view.n_step > 1 or view.chunk > 1):
        _require_whole_episodes(data)
    rewards = data.rewards if view.rewards else None
    mc_returns = None
    if view.mc_return:
        tail = pessimistic_tail(float(rewards[data.transitions].min()), view.discount)
        mc_returns = returns_to_go(
            rewards, data.terminations, data.episode_start, data.episode_end, view.discount, tail
        )
    return Table(
        observations=data.observations,
        actions=data.actions if view.actions else None,
        rewards=rewards,
        terminations=data.terminations,
        episode_end=data.episode_end,
        mc_returns=mc_returns,
        rows=data.transitions,
        tasks=tasks,
        task_vectors=None if tasks is None else data.task_table.array,
        shared=_shared(data) if view.shared else None,
    )


def _shared(data: Dataset) -> np.ndarray:
    return np.zeros(len(data), bool) if data.shared is None else data.shared


def with_share(table: Table, first: int, share: float, batch_size: int) -> Table:
    """The same rows, drawn so that a fixed share of every batch is among the first `first` of the transitions.

    Those rows are spread evenly over the batch, so that the share also holds in any part of it, as in the offline part
    of a batch that is mixed online. Raises `UsageError` where one of the two sides would have no row.
    """
    taken = np.floor(np.arange(batch_size + 1) * share + 0.5)
    chosen = np.diff(taken) > 0
    if not 0 < chosen.sum() < batch_size:
        raise UsageError(
            f"a share of {1.0 - share:g} of {batch_size} rows leaves one of the two data sets out (prior_share); "
            "choose one between 0 and 1"
        )
    ranges = np.where(chosen, [[0], [first]], [[first], [len(table.rows)]]).astype(np.int32)
    return dataclasses.replace(table, ranges=ranges)


def _require_whole_episodes(data: Dataset) -> None:
    """Raise `UsageError` where the task changes within an episode, whose rewards then do not add up."""
    changes = np.flatnonzero(data.tasks != data.tasks[data.episode_start])
    if len(changes):
        episode = int(np.searchsorted(data.starts, changes[0], side="right")) - 1
        raise UsageError(
            f"{data.provenance.source}: the task changes within episode {episode} (from 0), so rewards cannot be "
            "summed over its steps; use single steps and no returns (n_step 1, iql or cql), or an episode for each task"
        )


def gather(
    table: Any, rows: Any, view: View, normalizer: Normalizer, draws: dict[str, index.Draw] | None = None
) -> Batch:
    """The normalised batch of a table's rows (B,): the same arithmetic for NumPy and, under `jit`, for JAX arrays.

    draws: the goals of these rows (`index.hindsight`, `index.placed`), where the view has goals.
    """
    remaining = table.remaining(rows)
    reward, discount, ahead = None, None, 1
    if view.rewards:
        reward, discount, ahead = _n_step(table, rows, remaining, view)
    after = table.successor(rows, ahead)
    next_action = None
    if view.next_action and table.next_actions is not None:
        next_action = normalizer.action(table.next_actions[after])
    elif view.next_action:
        # At an episode's end there is no next action: what stands here then is multiplied by a zero discount or, after
        # a cut-off, the last action is the best guess.
        at = table.successor(rows, ahead - 1 * (remaining == ahead))
        next_action = normalizer.action(table.actions[at])
    acted, valid = rows, None
    if view.chunk > 1:
        steps, valid = index.chunk(remaining, view.chunk)
        acted = table.successor(rows[..., None], steps)

    def seen(rows: Any) -> Any:
        return normalizer.observation(jax.tree.map(lambda column: column[rows], table.observations))

    batch = Batch(
        observation=seen(rows),
        action=normalizer.action(table.actions[acted]) if view.actions else None,
        reward=reward,
        discount=discount,
        next_observation=seen(after),
        next_action=next_action,
        mc_return=table.mc_returns[rows] if view.mc_return else None,
        valid=valid,
        chunk_observation=seen(acted) if view.chunk_observations else None,
        context=table.task_vector(rows) if view.tasks else None,
        shared=table.is_shared(rows) if view.shared else None,
    )
    if view.goals is None:
        return batch
    return dataclasses.replace(batch, **relabelled(table, rows, view, normalizer, draws))


def one_batch(table: Any, view: View, normalizer: Normalizer) -> Batch:
    """A batch of nothing but a table's first row, for the shapes and types of its fields."""
    first = np.zeros(view.batch_size, np.int32)
    draws = jax.eval_shape(lambda: index.hindsight(jax.random.key(0), view, 1))
    return gather(table, first, view, normalizer, jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), draws))


def _n_step(table: Any, rows: Any, remaining: Any, view: View) -> tuple[Any, Any, Any]:
    """Sum of discounted rewards, gamma**steps * (1 - terminated), and steps: min(n, steps left)."""
    reward = table.rewards[rows]
    ended = table.terminations[rows]
    factor = np.float32(view.discount)
    ahead = remaining * 0 + 1
    total_factor = reward * 0 + factor
    for k in range(1, view.n_step):
        inside = remaining > k
        at = table.successor(rows, k * inside)
        # The product with `inside` stands outermost: a compiler that fuses it with the sum then rounds as NumPy does.
        reward = reward + inside * (total_factor * table.rewards[at])
        ended = ended | (inside & table.terminations[at])
        total_factor = total_factor * (1 + inside * (factor - 1))
        ahead = ahead + inside
    return reward, total_factor * ~ended, ahead

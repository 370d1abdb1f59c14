"""The replay buffer of online training, and how offline and online rows are mixed into batches."""

from __future__ import annotations

import dataclasses
import functools
from itertools import accumulate
from typing import Any, ClassVar, Literal

import jax
import numpy as np

from headstart.algorithm import View
from headstart.batch import Batch
from headstart.data import index
from headstart.data.normalize import Normalizer
from headstart.data.returns import pessimistic_tail
from headstart.data.views import Table, gather
from headstart.spec import Spec


class Replay:
    """A ring buffer with the columns of a `Dataset`: one row per time step, final observations included.

    Every lane (an environment that plays one episode after the other) has a ring of its own, so that a row's successor
    is the next row of its ring. Rows count up for ever in each lane; `transitions` are those with a successor that
    are still there. An episode that is still running counts as cut off at the present: its returns-to-go end in the
    pessimistic tail and grow truer with every `settle`.

    It reads like a `Table` (`gather` takes either), except that rows are given as (lane, count) pairs packed into
    one integer, lane * capacity + count % capacity.
    """

    # Nobody else's actions are known here; see `Table`.
    next_actions: ClassVar[None] = None

    def __init__(
        self,
        spec: Spec,
        lanes: int,
        capacity: int,
        discount: float,
        lowest_reward: float = 0.0,
        mc_return: bool = True,
    ):
        """capacity: rows of each lane. lowest_reward: of the offline data, for the pessimistic tail. mc_return: whether
        returns-to-go are kept; where the view needs none, rewards without discount need no tail either."""
        self.capacity, self.discount, self.lowest_reward = capacity, discount, lowest_reward
        self.mc_return = mc_return
        rows = lanes * capacity
        named = {name: np.zeros((rows, *part.shape), part.dtype) for name, part in spec.observation}
        self.observations = named[""] if list(named) == [""] else named
        self.actions = np.zeros((rows, *spec.action.shape), spec.action.dtype)
        self.rewards = np.zeros(rows, np.float32)
        self.terminations = np.zeros(rows, bool)
        self.mc_returns = np.zeros(rows, np.float32)
        self.successes = np.zeros(rows, bool)
        # The goal that the environment had set or the vector of the task, as policies see it; None where the spec has
        # no context.
        self.contexts = None if spec.context is None else np.zeros((rows, *spec.context.shape), spec.context.dtype)
        self._end = np.zeros(rows, np.int64)
        self._transitions = np.zeros((lanes, capacity), np.int64)
        self._head = np.zeros(lanes, np.int64)  # rows written
        self._start = np.zeros(lanes, np.int64)  # first row of the present episode
        self._oldest = np.zeros(lanes, np.int64)  # transitions dropped
        self._newest = np.zeros(lanes, np.int64)  # transitions written

    # -- writing ----------------------------------------------------------------------------------------------

    def start(self, lane: int, observation: Any) -> None:
        """Begin an episode."""
        self._start[lane] = self._head[lane]
        self._write(lane, observation)

    def add(
        self,
        lane: int,
        action: Any,
        reward: float,
        terminated: bool,
        observation: Any,
        success: bool = False,
        context: Any = None,
    ) -> None:
        """One step of the present episode and the observation that it led to; `context`: what it was taken for."""
        count = self._head[lane] - 1
        row = self._row(lane, count)
        self.actions[row], self.rewards[row], self.terminations[row] = action, reward, terminated
        self.successes[row] = success
        if self.contexts is not None:
            self.contexts[row] = context
        self.lowest_reward = min(self.lowest_reward, float(reward))
        self._transitions[lane, self._newest[lane] % self.capacity] = count
        self._newest[lane] += 1
        self._write(lane, observation)

    def settle(self, lane: int) -> None:
        """Bring ends and returns-to-go of the present episode up to date; needed before rows are drawn.

        Raises `UsageError` where returns-to-go have no lower bound: rewards below zero that are not discounted.
        """
        last = self._head[lane] - 1
        first = max(self._start[lane], self._head[lane] - self.capacity)
        rows = self._row(lane, np.arange(first, last + 1))
        self._end[rows] = last
        if last == first or not self.mc_return:
            return
        terminated = self.terminations[rows[-2]]
        tail = 0.0 if terminated else pessimistic_tail(self.lowest_reward, self.discount)
        backwards = accumulate(
            self.rewards[rows[:-1]][::-1].tolist(), lambda after, reward: reward + self.discount * after, initial=tail
        )
        self.mc_returns[rows] = list(backwards)[::-1]

    def _write(self, lane: int, observation: Any) -> None:
        head = self._head[lane]
        row = self._row(lane, head)
        if isinstance(self.observations, dict):
            for name, column in self.observations.items():
                column[row] = observation[name]
        else:
            self.observations[row] = observation
        self.terminations[row] = False
        self._head[lane] = head + 1
        # A transition whose row has just been written over is gone.
        oldest = self._oldest[lane]
        if oldest < self._newest[lane] and self._transitions[lane, oldest % self.capacity] <= head - self.capacity:
            self._oldest[lane] = oldest + 1

    def _row(self, lane: int, count: Any) -> Any:
        return lane * self.capacity + count % self.capacity

    # -- reading ----------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """Number of transitions."""
        return int((self._newest - self._oldest).sum())

    def rows(self, positions: np.ndarray) -> np.ndarray:
        """The rows of transitions number 0 <= position < len(self), lane by lane, oldest first."""
        ends = np.cumsum(self._newest - self._oldest)
        lane = np.searchsorted(ends, positions, side="right")
        offset = positions - np.concatenate([[0], ends[:-1]])[lane]
        count = self._transitions[lane, (self._oldest[lane] + offset) % self.capacity]
        return lane * self.capacity + count % self.capacity

    def remaining(self, rows: np.ndarray) -> np.ndarray:
        """Steps from each row to its episode's end."""
        return (self._end[rows] - rows % self.capacity) % self.capacity

    def successor(self, rows: np.ndarray, steps: Any) -> np.ndarray:
        """The row `steps` further on in the same episode."""
        lane = rows // self.capacity
        return lane * self.capacity + (rows + steps) % self.capacity

    def task_vector(self, rows: np.ndarray) -> np.ndarray:
        """(B, c) what the rows' steps were taken for."""
        return self.contexts[rows]

    def is_shared(self, rows: np.ndarray) -> np.ndarray:
        """(B,) False: what is met is met for the task itself."""
        return np.zeros(rows.shape, bool)

    def latest(self, lane: int) -> Any:
        """The newest observation of a lane."""
        row = self._row(lane, self._head[lane] - 1)
        return jax.tree.map(lambda column: column[row], self.observations)

    # -- keeping ----------------------------------------------------------------------------------------------

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything that `from_arrays` needs; rows that were never written are left out."""
        used = int(min(self._head.max(initial=0), self.capacity))
        lanes = len(self._head)

        def cut(column: np.ndarray) -> np.ndarray:
            return np.ascontiguousarray(column.reshape(lanes, self.capacity, *column.shape[1:])[:, :used])

        arrays = {name: cut(column) for name, column in self._columns()}
        arrays |= {
            "transitions": self._transitions[:, :used].copy(),
            "counters": np.stack([self._head, self._start, self._oldest, self._newest]),
            "lowest_reward": np.float64(self.lowest_reward),
        }
        return arrays

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """The inverse of `to_arrays`, into a buffer of the same shape."""
        lanes = len(self._head)
        for name, column in self._columns():
            used = arrays[name].shape[1]
            column.reshape(lanes, self.capacity, *column.shape[1:])[:, :used] = arrays[name]
        self._transitions[:, : arrays["transitions"].shape[1]] = arrays["transitions"]
        self._head, self._start, self._oldest, self._newest = (row.copy() for row in np.asarray(arrays["counters"]))
        self.lowest_reward = float(arrays["lowest_reward"])

    def _columns(self) -> list[tuple[str, np.ndarray]]:
        observations = self.observations if isinstance(self.observations, dict) else {"": self.observations}
        named = [(f"observations:{name}", column) for name, column in observations.items()]
        names = ["actions", "rewards", "terminations", "successes", "mc_returns", "_end"]
        names += ["contexts"] * (self.contexts is not None)
        return named + [(name.strip("_"), getattr(self, name)) for name in names]


@dataclasses.dataclass(frozen=True)
class Mixture:
    """How offline and online rows share a batch.

    kind: share: a fixed part of every batch is offline. append: one pool of all rows, drawn uniformly.
    share, final_share: the offline part at the start and at the end of the run, linear between (share only).
    """

    kind: Literal["share", "append"] = "share"
    share: float = 0.5
    final_share: float | None = None

    def offline_rows(self, batch_size: int, progress: float) -> int:
        """Offline rows of a batch when `progress` of the run is done: 0 to 1, or a little more where the last round of
        several lanes went beyond the end."""
        final = self.share if self.final_share is None else self.final_share
        return round(batch_size * (self.share + (final - self.share) * min(progress, 1.0)))


def draw_batches(
    offline: Table | None,
    online: Replay | None,
    mixture: Mixture,
    progress: float,
    view: View,
    normalizer: Normalizer,
    key: jax.Array,
    start: int,
    count: int,
    room: int,
) -> Batch:
    """`count` batches for the updates `start`, `start + 1`, ...: leaves (count, batch_size, ...) on the host.

    The same integers as on the device: each update draws with the key `fold_in(key, update)`. room: as many or more;
    integers are drawn for so many updates, so that one compiled program serves every count.
    """
    sizes = (0 if offline is None else len(offline.rows)), (0 if online is None else len(online))
    ranges = None if offline is None else offline.ranges
    pooled = mixture.kind == "append" and all(sizes)
    drawn = _draws(key, start, np.arange(room), *(size or None for size in sizes), ranges, view, pooled)
    positions, *draws = jax.tree.map(lambda leaf: np.asarray(leaf)[:count], drawn)
    everything, nothing = np.s_[:, :], np.s_[:, :0]
    if sizes[1] == 0:
        places = everything, nothing
    elif sizes[0] == 0:
        places = nothing, everything
    elif pooled:
        is_offline = positions[2] < sizes[0]
        places = is_offline, ~is_offline
        positions = positions[2], positions[2] - sizes[0]
    else:
        rows = mixture.offline_rows(view.batch_size, progress)
        places = np.s_[:, :rows], np.s_[:, rows:]
    parts = []
    # Goals of a row are drawn from where the row is from.
    for place, mine, goals, source in zip(places, positions, draws, (offline, online), strict=False):
        chosen = () if mine is None else mine[place].ravel()
        if len(chosen):
            rows_at = source.rows if isinstance(source, Replay) else source.rows.__getitem__
            goals = index.placed(jax.tree.map(lambda leaf, place=place: leaf[place].ravel(), goals), rows_at)
            parts.append((place, gather(source, rows_at(chosen), view, normalizer, goals)))
    shape = count, view.batch_size
    return jax.tree.map(lambda *leaves: _merged(shape, [place for place, _ in parts], leaves), *[p for _, p in parts])


def _merged(shape: tuple[int, int], places: list[Any], leaves: tuple[np.ndarray, ...]) -> np.ndarray:
    """(count, B, ...) of which each place holds the rows of one leaf (n, ...)."""
    result = np.empty((*shape, *leaves[0].shape[1:]), leaves[0].dtype)
    for place, leaf in zip(places, leaves, strict=True):
        result[place] = leaf.reshape(result[place].shape)
    return result


@functools.partial(jax.jit, static_argnames=("view", "pooled"))
def _draws(
    key: jax.Array, start: Any, ahead: Any, offline: Any, online: Any, ranges: Any, view: View, pooled: bool
) -> tuple[Any, Any, Any]:
    """Positions in the offline rows (within their `ranges`, where they have such) and in the online rows, or (pooled)
    in both together, each (len(ahead), B) int32; and draws of goals among the offline and among the online rows, leaves
    (len(ahead), B). offline, online: how many there are; None: no such rows, and none of what is drawn from them."""

    def one(step):
        draw_key = jax.random.split(jax.random.fold_in(key, step))[0]
        online_key, pool_key = jax.random.split(jax.random.fold_in(draw_key, 1))
        first, second, pool = None, None, None
        if pooled:
            pool = index.uniform(pool_key, offline + online, view.batch_size)
        if not pooled and offline is not None:
            first = (
                index.uniform(draw_key, offline, view.batch_size) if ranges is None else index.within(draw_key, ranges)
            )
        if not pooled and online is not None:
            second = index.uniform(online_key, online, view.batch_size)
        goals = (
            None if offline is None else index.hindsight(draw_key, view, offline),
            None if online is None else index.hindsight(online_key, view, online),
        )
        return (first, second, pool), *goals

    return jax.vmap(one)(start + ahead)

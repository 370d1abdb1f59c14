"""The replay buffer against plain lists that never forget, and the mixing of offline and online rows."""

from __future__ import annotations

import contextlib
from collections import Counter

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from linear import Linear

from headstart.algorithm import View
from headstart.data.dataset import Dataset
from headstart.data.normalize import Normalizer
from headstart.data.replay import Mixture, Replay, draw_batches
from headstart.data.views import gather, table
from headstart.errors import UsageError
from headstart.spec import ArraySpec, Spec
from headstart.train import updates

pytestmark = pytest.mark.usefixtures("quick_compilation")

SPEC = Spec((("", ArraySpec((2,))),), ArraySpec((1,)))
NAMED = Spec((("a", ArraySpec((2,))), ("b", ArraySpec((), "uint8"))), ArraySpec((), "int32", categories=3))
DISCOUNT, LOWEST = 0.9, -2.0
TAIL = LOWEST / (1.0 - DISCOUNT)
VIEW = View(batch_size=8, discount=DISCOUNT, n_step=3, mc_return=True, next_action=True)


class Lists:
    """Every row ever written, lane by lane: (observation, step from it or None, episode)."""

    def __init__(self, lanes, capacity):
        self.rows, self.capacity, self.episodes = [[] for _ in range(lanes)], capacity, 0

    def start(self, lane, observation):
        self.episodes += 1
        self.rows[lane].append([observation, None, self.episodes])

    def add(self, lane, action, reward, terminated, observation):
        row = self.rows[lane][-1]
        row[1] = (action, reward, terminated)
        self.rows[lane].append([observation, None, row[2]])

    def transitions(self):
        """(lane, number) of the rows with a successor that a ring of this capacity still holds."""
        return [
            (lane, i)
            for lane, rows in enumerate(self.rows)
            for i in range(max(0, len(rows) - self.capacity), len(rows))
            if rows[i][1] is not None
        ]

    def ahead(self, lane, i):
        """The steps from row i to the end of its episode."""
        steps, rows = [], self.rows[lane]
        while rows[i][1] is not None:
            steps.append(rows[i][1])
            i += 1
        return steps


def play(buffers, events, first=0):
    """Lane by lane: 0 goes on, 1 terminates, 2 cuts off; every number that is written tells where it came from."""
    for number, (lane, ending, reward) in enumerate(events, first):
        observation = np.array([lane, number + 1], np.float32)
        for buffer in buffers:
            buffer.add(lane, np.array([number + 0.5], np.float32), reward, ending == 1, observation)
            if ending:
                if isinstance(buffer, Replay):
                    buffer.settle(lane)
                buffer.start(lane, np.array([lane, -number - 1], np.float32))


def opened(lanes, capacity):
    replay, lists = Replay(SPEC, lanes, capacity, DISCOUNT, LOWEST), Lists(lanes, capacity)
    for buffer in (replay, lists):
        for lane in range(lanes):
            buffer.start(lane, np.array([lane, 0], np.float32))
    return replay, lists


def settled(replay, lanes):
    for lane in range(lanes):
        replay.settle(lane)
    return replay


@st.composite
def histories(draw):
    lanes, capacity = draw(st.integers(1, 3)), draw(st.integers(3, 9))
    event = st.tuples(
        st.integers(0, lanes - 1), st.sampled_from([0, 0, 0, 0, 1, 2]), st.sampled_from([-2.0, 0.0, 0.5, 1.0])
    )
    return lanes, capacity, draw(st.lists(event, min_size=1, max_size=60))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(histories())
def test_a_ring_holds_what_lists_hold(history):
    lanes, capacity, events = history
    replay, lists = opened(lanes, capacity)
    play([replay, lists], events)
    settled(replay, lanes)
    kept = lists.transitions()
    assert len(replay) == len(kept)
    if not kept:
        return
    rows = replay.rows(np.arange(len(replay)))
    assert rows.tolist() == [lane * capacity + i % capacity for lane, i in kept]
    ahead = [lists.ahead(lane, i) for lane, i in kept]
    assert replay.remaining(rows).tolist() == [len(steps) for steps in ahead]
    for row, (lane, i), steps in zip(rows, kept, ahead, strict=True):
        for k in range(len(steps) + 1):
            expected = lists.rows[lane][i + k][0]
            np.testing.assert_array_equal(replay.observations[replay.successor(row, k)], expected)

    batch = gather(replay, rows, VIEW, Normalizer())
    for j, ((lane, i), steps) in enumerate(zip(kept, ahead, strict=True)):
        used = steps[: VIEW.n_step]
        reward = sum(DISCOUNT**k * step[1] for k, step in enumerate(used))
        discount = DISCOUNT ** len(used) * (1 - used[-1][2])
        tail = 0.0 if steps[-1][2] else TAIL
        total = sum(DISCOUNT**k * step[1] for k, step in enumerate(steps)) + DISCOUNT ** len(steps) * tail
        after = steps[len(used)] if len(steps) > len(used) else steps[-1]
        np.testing.assert_array_equal(batch.observation[j], lists.rows[lane][i][0])
        np.testing.assert_array_equal(batch.next_observation[j], lists.rows[lane][i + len(used)][0])
        np.testing.assert_array_equal(batch.action[j], steps[0][0])
        np.testing.assert_array_equal(batch.next_action[j], after[0])
        np.testing.assert_allclose(batch.reward[j], reward, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(batch.discount[j], discount, rtol=1e-6)
        np.testing.assert_allclose(batch.mc_return[j], total, rtol=1e-5, atol=1e-5)

    chunks = gather(replay, rows, View(chunk=3), Normalizer())
    for j, steps in enumerate(ahead):
        expected = [steps[min(k, len(steps) - 1)][0] for k in range(3)]
        np.testing.assert_array_equal(chunks.action[j], expected)
        np.testing.assert_array_equal(chunks.valid[j], np.arange(3) < len(steps))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(histories(), st.integers(0, 60))
def test_what_is_kept_on_disk_comes_back_and_goes_on(history, cut):
    lanes, capacity, events = history
    replay, _ = opened(lanes, capacity)
    play([replay], events[:cut])
    kept = {name: array.copy() for name, array in settled(replay, lanes).to_arrays().items()}
    again = Replay(SPEC, lanes, capacity, DISCOUNT, LOWEST)
    again.restore(kept)
    play([replay, again], events[cut:], first=cut)
    rows = replay.rows(np.arange(len(replay)))
    np.testing.assert_array_equal(settled(again, lanes).rows(np.arange(len(again))), rows)
    settled(replay, lanes)
    for lane in range(lanes):
        np.testing.assert_array_equal(again.latest(lane), replay.latest(lane))
    if len(rows):
        first, second = (gather(buffer, rows, VIEW, Normalizer()) for buffer in (replay, again))
        jax.tree.map(np.testing.assert_array_equal, first, second)


def test_rows_that_were_never_written_are_not_kept_on_disk():
    replay, _ = opened(2, 1000)
    play([replay], [(0, 0, 1.0), (0, 0, 1.0), (1, 0, 1.0)])
    arrays = replay.to_arrays()
    assert arrays["observations:"].shape == (2, 3, 2)
    assert sum(array.nbytes for array in arrays.values()) < 1000


def test_named_observations_and_discrete_actions():
    replay = Replay(NAMED, 1, 4, DISCOUNT)
    replay.start(0, {"a": np.zeros(2), "b": 7})
    replay.add(0, 2, 1.0, False, {"a": np.ones(2), "b": 200})
    replay.settle(0)
    batch = gather(replay, replay.rows(np.arange(1)), View(), Normalizer())
    assert batch.observation["b"].tolist() == [7]
    assert batch.next_observation["b"].tolist() == [200]
    assert batch.next_observation["b"].dtype == np.uint8
    assert batch.action.tolist() == [2]
    assert batch.action.dtype == np.int32
    assert replay.latest(0)["a"].tolist() == [1.0, 1.0]


def test_a_running_episode_ends_in_the_pessimistic_tail_and_grows_truer():
    replay = Replay(SPEC, 1, 10, 0.5)
    replay.start(0, np.zeros(2))
    replay.add(0, 0.0, 1.0, False, np.zeros(2))
    replay.settle(0)
    assert replay.mc_returns[0] == 1.0  # no reward below zero was seen: the tail is zero
    replay.add(0, 0.0, -3.0, False, np.zeros(2))
    replay.settle(0)
    # Now it is -3 / (1 - 0.5) = -6.
    assert replay.mc_returns[:2].tolist() == [1.0 + 0.5 * (-3.0 + 0.5 * -6.0), -3.0 + 0.5 * -6.0]
    replay.add(0, 0.0, 4.0, True, np.zeros(2))
    replay.settle(0)
    assert replay.mc_returns[:3].tolist() == [1.0 + 0.5 * (-3.0 + 0.5 * 4.0), -3.0 + 0.5 * 4.0, 4.0]


def test_returns_without_discount_need_a_bound_only_where_they_are_kept():
    for kept in (True, False):
        replay = Replay(SPEC, 1, 10, 1.0, mc_return=kept)
        replay.start(0, np.zeros(2))
        replay.add(0, 0.0, -1.0, False, np.zeros(2))
        with pytest.raises(UsageError, match="set discount below 1") if kept else contextlib.nullcontext():
            replay.settle(0)
        assert replay.remaining(np.array([0])).tolist() == [1]


# -- mixtures -----------------------------------------------------------------------------------------------------


def offline_table(steps=(5, 3, 4)):
    """Observations (episode, -100 - number); actions and rewards that differ from row to row."""
    rng = np.random.default_rng(0)
    episodes = [
        {
            "observations": np.stack([np.full(n + 1, i), -100.0 - np.arange(n + 1)], 1),
            "actions": rng.uniform(-1, 1, (n, 1)),
            "rewards": rng.normal(size=n),
            "terminated": i == 0,
        }
        for i, n in enumerate(steps)
    ]
    return table(Dataset.from_episodes(episodes, SPEC), VIEW)


def online_replay(steps=20, capacity=100):
    replay, _ = opened(2, capacity)
    play([replay], [(i % 2, 2 if i in (7, 12) else 0, 1.0) for i in range(steps)])
    return settled(replay, 2)


ROOM = 50


def drawn(offline, online, mixture, progress=0.0, count=5, start=0):
    return draw_batches(offline, online, mixture, progress, VIEW, Normalizer(), jax.random.key(3), start, count, ROOM)


def is_offline(batch):
    return np.asarray(batch.observation)[..., 1] <= -100


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (0.25, 2), (0.5, 4), (1.0, 8)])
def test_a_share_is_exact_in_every_batch(share, expected):
    batch = drawn(offline_table(), online_replay(), Mixture(share=share))
    assert is_offline(batch).sum(1).tolist() == [expected] * 5


@pytest.mark.parametrize(("progress", "expected"), [(0.0, 8), (0.25, 6), (0.5, 4), (1.0, 0), (1.2, 0)])
def test_a_share_moves_in_a_line_with_progress(progress, expected):
    batch = drawn(offline_table(), online_replay(), Mixture(share=1.0, final_share=0.0), progress)
    assert is_offline(batch).sum(1).tolist() == [expected] * 5


def test_append_draws_uniformly_from_both_together():
    offline, online = offline_table(), online_replay()
    rows = len(offline.rows) + len(online)
    batches = [drawn(offline, online, Mixture("append"), count=ROOM, start=start) for start in range(0, 500, ROOM)]
    counts = Counter(tuple(row) for batch in batches for row in batch.observation.reshape(-1, 2).tolist())
    assert len(counts) == rows
    expected = 500 * VIEW.batch_size / rows
    # A count is binomial: its standard deviation is below the root of its mean.
    assert all(abs(count - expected) < 4.5 * expected**0.5 for count in counts.values())


def test_one_source_alone_fills_the_batch():
    assert is_offline(drawn(offline_table(), None, Mixture())).all()
    assert not is_offline(drawn(None, online_replay(), Mixture())).any()
    # Nothing was played yet.
    assert is_offline(drawn(offline_table(), Replay(SPEC, 1, 5, DISCOUNT), Mixture())).all()


def test_mixed_rows_are_whole():
    """Every field of a mixed batch comes from the same row as its observation."""
    offline, online = offline_table(), online_replay()
    batch = drawn(offline, online, Mixture("append"), count=ROOM)
    alone = {
        True: gather(offline, offline.rows, VIEW, Normalizer()),
        False: gather(online, online.rows(np.arange(len(online))), VIEW, Normalizer()),
    }
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), batch)
    for j, from_offline in enumerate(is_offline(flat)):
        whole = alone[bool(from_offline)]
        (k,) = np.flatnonzero((whole.observation == flat.observation[j]).all(1))
        jax.tree.map(lambda mine, theirs, j=j, k=k: np.testing.assert_array_equal(mine[j], theirs[k]), flat, whole)


def test_a_batch_is_a_function_of_its_update_only():
    offline, online = offline_table(), online_replay()
    together = drawn(offline, online, Mixture(), count=6)
    first, second = drawn(offline, online, Mixture(), count=2), drawn(offline, online, Mixture(), count=4, start=2)
    jax.tree.map(lambda a, b, c: np.testing.assert_array_equal(a, np.concatenate([b, c])), together, first, second)


@pytest.mark.parametrize("n_step", [1, 3])
def test_host_and_device_learn_the_same_bit_for_bit(n_step):
    algorithm = Linear(n_step=n_step)
    view, offline = algorithm.view(), offline_table()
    mean = np.array([1.0, -103.0], np.float32)
    normalizer = Normalizer(mean, np.array([0.7, 1.3], np.float32), np.full(1, 0.1, "f4"), np.full(1, 1.7, "f4"))
    keys = jax.random.split(jax.random.key(0), 2)

    def fresh():
        states = jax.vmap(lambda key: algorithm.init(key, SPEC))(keys)
        one = gather(offline, offline.rows[np.zeros(8, int)], view, normalizer)
        return updates.learner(states, algorithm, one)

    none = frozenset()
    device = updates.from_table(algorithm, none, fresh(), keys, 0, 3, offline, normalizer)
    device = updates.from_table(algorithm, none, device, keys, 3, 8, offline, normalizer)
    host = fresh()
    for first, count in ((0, 4), (4, 4), (8, 3)):
        batches = updates.stacked(
            [draw_batches(offline, None, Mixture(), 0.0, view, normalizer, key, first, count, ROOM) for key in keys], 4
        )
        host = updates.from_batches(algorithm, none, host, keys, first, count, batches)
    jax.tree.map(np.testing.assert_array_equal, device, host)
    assert device.state.step.tolist() == [11, 11]
    assert device.count.tolist() == [11, 11]
    assert np.ptp(device.state.nets["critic"], axis=0).min() > 0

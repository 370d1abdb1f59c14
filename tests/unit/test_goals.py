"""Hindsight goals against a loop over every row: from tables on the host and the device, and from replay buffers."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from data_examples import make_episodes
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.algorithm import GoalPart, Goals, View
from headstart.batch import Batch
from headstart.data import index
from headstart.data.dataset import Dataset
from headstart.data.normalize import Normalizer
from headstart.data.replay import Mixture, Replay, draw_batches
from headstart.data.views import gather, one_batch, table
from headstart.errors import UsageError
from headstart.spec import ArraySpec, Spec

pytestmark = pytest.mark.usefixtures("quick_compilation")

B, GAMMA, K = 32, 0.9, 3
SPEC = Spec((("", ArraySpec((2,))),), ArraySpec((1,)))
VIEW = View(
    B, GAMMA, rewards=False, goals=Goals(0.2, 0.5, 0.3, geometric=True), actor_goals=Goals(0.1, 0.7, 0.2),
    subgoal_steps=K,
)  # fmt: skip
hindsight = jax.jit(index.hindsight, static_argnums=1)
KEYS = st.integers(0, 2**31 - 1).map(jax.random.key)


def numbered(lengths, ends):
    """Episodes without rewards whose observations say (episode, step)."""
    return Dataset.from_episodes(
        [
            {
                "observations": np.stack([np.full(n + 1, i), np.arange(n + 1)], 1).astype(np.float32),
                "actions": np.zeros((n, 1), np.float32),
                "terminated": end,
            }
            for i, (n, end) in enumerate(zip(lengths, ends, strict=True))
        ],
        SPEC,
    )


def draws_of(steps, view, key, count=None):
    draws = jax.tree.map(np.asarray, hindsight(key, view, count or len(steps.rows)))
    return index.placed(draws, steps.rows.__getitem__)


EPISODES = st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(EPISODES, KEYS)
def test_goals_rewards_and_subgoals_are_those_of_the_definition(episodes, key):
    data = numbered(*zip(*episodes, strict=True))
    steps = table(data, VIEW)
    rows = np.random.default_rng(0).choice(steps.rows, B)
    draws = draws_of(steps, VIEW, key)
    batch = gather(steps, rows, VIEW, Normalizer(), draws)
    ends = data.episode_end
    for i, row in enumerate(rows):
        value, actor = (jax.tree.map(lambda leaf, i=i: leaf[i], draws[name]) for name in ("goals", "actor_goals"))
        ahead = min(int(value.ahead), ends[row] - row)
        goal = {index.CURRENT: row, index.FUTURE: row + ahead, index.RANDOM: value.other}[int(value.kind)]
        assert goal == value.other or data.episode_start[row] <= goal <= ends[row]
        np.testing.assert_array_equal(batch.context[i], data.observations[goal])
        assert batch.reward[i] == (0.0 if goal == row else -1.0)
        assert batch.discount[i] == (0.0 if goal in (row, row + 1) else np.float32(GAMMA))

        left = ends[row] - row
        low = min(K, left)
        if actor.kind == index.RANDOM:
            far, high = int(actor.other), low
        else:
            to_goal = 0 if actor.kind == index.CURRENT else 1 + int(actor.ahead * np.float32(left))
            far, high = row + to_goal, min(low, to_goal)
            assert data.episode_start[row] <= far <= ends[row]
        np.testing.assert_array_equal(batch.actor_context[i], data.observations[far])
        np.testing.assert_array_equal(batch.low_goal[i], data.observations[row + low])
        np.testing.assert_array_equal(batch.high_target[i], data.observations[row + high])


def test_an_end_and_a_time_limit_lead_on_alike_whatever_rewards_there_are():
    """Ends are those of the data's task: another goal may lie beyond."""
    view = dataclasses.replace(VIEW, goals=Goals(0, 0, 1), actor_goals=None, subgoal_steps=0)
    found = []
    for end in (True, False):
        steps = table(numbered([3, 3], [end, end]), view)
        rows = np.array([2, 2, 2], np.int32)
        draws = {"goals": index.Draw(np.full(3, 2), np.zeros(3), np.array([3, 2, 5]), np.zeros(3, bool))}
        found.append(gather(steps, rows, view, Normalizer(), draws))
    jax.tree.map(np.testing.assert_array_equal, *found)
    assert found[0].reward.tolist() == [-1.0, 0.0, -1.0]
    np.testing.assert_array_equal(found[0].discount, np.float32([0.0, 0.0, GAMMA]))


@pytest.mark.parametrize("kind", ["array", "dict"])
def test_host_and_device_agree_bit_for_bit(kind):
    data = Dataset.from_episodes(make_episodes((7, 3, 9, 1), (True, False, False, True), kind))
    part = GoalPart(entries=(2, 0)) if kind == "array" else GoalPart("arm/angle", (1,))
    view = dataclasses.replace(VIEW, batch_size=64, goal=part)
    normalizer = Normalizer.of(data.spec, data)
    host = table(data, view)
    rows = np.random.default_rng(0).choice(host.rows, 64)
    device = jax.tree.map(jax.numpy.asarray, host)

    @jax.jit
    def on_device(device, rows, normalizer):
        draws = index.hindsight(jax.random.key(1), view, len(host.rows))
        return gather(device, rows, view, normalizer, index.placed(draws, device.rows.__getitem__))

    found = on_device(device, rows, normalizer)
    expected = gather(host, rows, view, normalizer, draws_of(host, view, jax.random.key(1)))
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    assert expected.context.shape == (64, len(part.entries))
    shapes = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), one_batch(host, view, normalizer))
    assert shapes == jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), expected)


def test_goals_are_parts_of_observations():
    named = Spec((("arm", ArraySpec((3,), low=(0.0,) * 3, high=(1.0,) * 3)), ("eye", ArraySpec((2, 2), "uint8"))), None)
    assert GoalPart("arm").context(named) == ArraySpec((3,))
    assert GoalPart("arm", (2, 1)).context(named) == ArraySpec((2,))
    assert GoalPart("eye").context(named) == ArraySpec((2, 2), "uint8")
    np.testing.assert_array_equal(GoalPart("arm", (2, 0)).of({"arm": np.arange(6).reshape(2, 3)}), [[2, 0], [5, 3]])
    with pytest.raises(UsageError, match=r"say which by its name \(goal_array\): arm, eye"):
        GoalPart().context(named)
    with pytest.raises(UsageError, match="unknown array of observations .goal_array. 'amr'; did you mean 'arm'"):
        GoalPart("amr").context(named)
    for part in (GoalPart("arm", (3,)), GoalPart("eye", (0,))):
        with pytest.raises(UsageError, match=r"goals of entries .* \(goal_entries\) do not fit"):
            part.context(named)


# -- experience of one's own ------------------------------------------------------------------------------------------

GOAL = dataclasses.replace(SPEC, context=ArraySpec((2,)))


def played(lengths, lanes=1, capacity=100, success=False):
    """A buffer of the same episodes as `numbered`, lane after lane; the goal that was set is (-1, episode)."""
    replay = Replay(GOAL, lanes, capacity, GAMMA)
    for i, n in enumerate(lengths):
        lane = i % lanes
        replay.start(lane, np.array([i, 0], np.float32))
        for step in range(1, n + 1):
            last = success and step == n
            replay.add(lane, np.zeros(1), -1.0, last, np.array([i, step], np.float32), last, np.array([-1, i]))
        replay.settle(lane)
    return replay


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(1, 2), st.integers(4, 12), KEYS)
def test_a_ring_relabels_inside_its_episodes(lengths, lanes, capacity, key):
    replay = played(lengths, lanes, capacity)
    if not len(replay):
        return
    rows = replay.rows(np.random.default_rng(0).integers(0, len(replay), B))
    draws = jax.tree.map(np.asarray, hindsight(key, VIEW, len(replay)))
    batch = gather(replay, rows, VIEW, Normalizer(), index.placed(draws, replay.rows))
    episode, step = batch.observation.T
    length = np.asarray(lengths)[episode.astype(int)]
    for context, draw in ((batch.context, draws["goals"]), (batch.actor_context, draws["actor_goals"])):
        own = draw.kind != index.RANDOM
        np.testing.assert_array_equal(context[own, 0], episode[own])
        assert (context[own, 1] >= step[own]).all()
        assert (context[own, 1] <= length[own]).all()
    np.testing.assert_array_equal(batch.low_goal, np.stack([episode, np.minimum(step + K, length)], 1))
    np.testing.assert_array_equal(batch.high_target[:, 0], episode)
    nearer = np.where(draws["actor_goals"].kind == index.RANDOM, np.inf, batch.actor_context[:, 1])
    np.testing.assert_array_equal(batch.high_target[:, 1], np.minimum(nearer, batch.low_goal[:, 1]))
    same = (batch.context == batch.observation).all(1)
    np.testing.assert_array_equal(batch.reward, np.where(same, 0.0, -1.0))
    np.testing.assert_array_equal(batch.discount == 0.0, same | (batch.context == batch.next_observation).all(1))


def test_some_rows_learn_on_the_goal_that_was_set():
    replay = played([4, 4], success=True)
    law = Goals(0.0, 0.5, 0.5, commanded=0.5)
    view = dataclasses.replace(VIEW, batch_size=400, goals=law, actor_goals=law)
    batch = jax.tree.map(
        lambda leaf: leaf[0],
        draw_batches(None, replay, Mixture(), 0.0, view, Normalizer(), jax.random.key(0), 0, 1, 1),
    )
    set_goal = batch.context[:, 0] == -1
    assert 150 < set_goal.sum() < 250
    assert 150 < (batch.actor_context[:, 0] == -1).sum() < 250
    np.testing.assert_array_equal(batch.context[set_goal, 1], batch.observation[set_goal, 0])
    assert (batch.reward[set_goal] == -1.0).all()
    # The step that solved the task has no future, all others have.
    np.testing.assert_array_equal(batch.discount[set_goal] == 0.0, batch.observation[set_goal, 1] == 3)
    # Where the far goal is one that was set, nothing is known of its place: the target is the low level's.
    far = batch.actor_context[:, 0] == -1
    np.testing.assert_array_equal(batch.high_target[far], batch.low_goal[far])


def test_mixed_batches_draw_goals_where_their_rows_are_from():
    offline = table(numbered([5, 5, 5], [False] * 3), VIEW)
    view = dataclasses.replace(VIEW, goals=Goals(0, 0, 1), actor_goals=Goals(0, 0.5, 0.5))
    online = played([4, 4])
    online.observations += np.where(np.arange(100)[:, None] < 10, 100, 0).astype(np.float32)
    for mixture in (Mixture(share=0.5), Mixture("append")):
        batch = draw_batches(offline, online, mixture, 0.0, view, Normalizer(), jax.random.key(1), 0, 20, 20)
        assert isinstance(batch, Batch)
        from_online = batch.observation[..., 0] >= 100
        assert 0.2 < from_online.mean() < 0.8
        np.testing.assert_array_equal(batch.context[..., 0] >= 100, from_online)
        np.testing.assert_array_equal(batch.actor_context[..., 0] >= 100, from_online)

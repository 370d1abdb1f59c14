"""Batches against a loop over every row, on the host and, compiled, on the device."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from data_examples import make_episodes
from hypothesis import given
from hypothesis import strategies as st

from headstart.algorithm import View
from headstart.data.dataset import Dataset
from headstart.data.normalize import Normalizer
from headstart.data.views import gather, table
from headstart.errors import UsageError
from headstart.spec import ArraySpec, Spec

PLAIN = Normalizer()


def assert_same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def loop_batch(episodes, view):
    """(reward, discount, next observation, next action) of every step, by the definition."""
    rows = []
    for episode in episodes:
        steps = len(episode["rewards"])
        for start in range(steps):
            reward, factor, t = 0.0, 1.0, start
            while t < min(start + view.n_step, steps):
                reward += factor * float(episode["rewards"][t])
                factor *= view.discount
                t += 1
            if t == steps and episode["terminated"]:
                factor = 0.0
            # After the last step there is no action; the last one stands in.
            rows.append((reward, factor, episode["observations"][t], episode["actions"][min(t, steps - 1)]))
    return tuple(np.stack(column) for column in zip(*rows, strict=True))


@given(
    st.lists(st.tuples(st.integers(1, 6), st.booleans()), min_size=1, max_size=5),
    st.integers(1, 4),
    st.sampled_from([0.0, 0.3, 0.9, 0.99, 1.0]),
)
def test_batches_are_those_of_a_loop(episodes, n_step, discount):
    lengths, ends = zip(*episodes, strict=True)
    episodes = make_episodes(lengths, ends)
    view = View(discount=discount, n_step=n_step, next_action=True)
    steps = table(Dataset.from_episodes(episodes), view)
    batch = gather(steps, steps.rows, view, PLAIN)
    reward, factor, following, next_action = loop_batch(episodes, view)
    assert batch.size == sum(lengths)
    np.testing.assert_array_equal(batch.observation, np.concatenate([e["observations"][:-1] for e in episodes]))
    np.testing.assert_array_equal(batch.action, np.concatenate([e["actions"] for e in episodes]))
    np.testing.assert_allclose(batch.reward, reward, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(batch.discount, factor, rtol=1e-5)
    np.testing.assert_array_equal(batch.next_observation, following)
    np.testing.assert_array_equal(batch.next_action, next_action)
    assert batch.mc_return is None
    assert batch.context is None


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(2, 4))
def test_chunks_are_the_actions_that_follow_inside_the_episode(lengths, chunk):
    episodes = make_episodes(lengths, [True] * len(lengths))
    view = View(chunk=chunk)
    steps = table(Dataset.from_episodes(episodes), view)
    batch = gather(steps, steps.rows, view, PLAIN)
    row = 0
    for episode, length in zip(episodes, lengths, strict=True):
        for start in range(length):
            inside = min(chunk, length - start)
            np.testing.assert_array_equal(batch.valid[row], np.arange(chunk) < inside)
            np.testing.assert_array_equal(batch.action[row, :inside], episode["actions"][start : start + inside])
            # Beyond the end the last action stands in.
            assert (batch.action[row, inside:] == episode["actions"][-1]).all()
            row += 1
    assert batch.action.shape == (row, chunk, *episodes[0]["actions"].shape[1:])


def test_a_time_limit_bootstraps_and_an_end_does_not():
    episodes = make_episodes((2, 2), (True, False))
    view = View(discount=0.9, n_step=3)
    steps = table(Dataset.from_episodes(episodes), view)
    batch = gather(steps, steps.rows, view, PLAIN)
    # Of three steps asked for two or one are left; only the second episode has a value to come.
    np.testing.assert_allclose(batch.discount, [0.0, 0.0, 0.81, 0.9], rtol=1e-6)
    np.testing.assert_array_equal(batch.next_observation[2], episodes[1]["observations"][-1])


@pytest.mark.parametrize("kind", ["array", "dict"])
@pytest.mark.parametrize("actions", ["box", "discrete"])
def test_host_and_device_agree_bit_for_bit(kind, actions):
    data = Dataset.from_episodes(make_episodes((7, 3, 9, 1), (True, False, False, True), kind, actions))
    view = View(discount=0.97, n_step=3, mc_return=True, next_action=True, chunk=4)
    normalizer = Normalizer.of(data.spec, data)
    host = table(data, view)
    rows = np.random.default_rng(0).choice(host.rows, 64)
    device = jax.tree.map(jax.numpy.asarray, host)
    on_device = jax.jit(lambda *args: gather(*args[:2], view, args[2]))(device, rows, normalizer)
    on_host = gather(host, rows, view, normalizer)
    assert all(type(leaf) is np.ndarray for leaf in jax.tree.leaves(on_host))
    assert all(leaf.dtype in (np.float32, np.int32, np.uint8, bool) for leaf in jax.tree.leaves(on_host))
    assert_same(on_device, on_host)


def test_named_observations_keep_their_names_and_bytes_stay_bytes():
    episodes = make_episodes((3, 2), (True, False), "dict")
    data = Dataset.from_episodes(episodes)
    view = View()
    steps = table(data, view)
    batch = gather(steps, np.asarray([0, 4], np.int32), view, Normalizer.of(data.spec, data))
    assert set(batch.observation) == {"arm/angle", "arm/speed", "camera"}
    np.testing.assert_array_equal(batch.observation["camera"][1], episodes[1]["observations"]["camera"][0])
    np.testing.assert_array_equal(batch.next_observation["camera"][1], episodes[1]["observations"]["camera"][1])
    assert batch.next_observation["camera"].dtype == np.uint8
    everything = np.concatenate([e["observations"]["arm/speed"] for e in episodes])
    expected = (everything - everything.mean(0)) / everything.std(0)
    np.testing.assert_allclose(batch.observation["arm/speed"], expected[[0, 4]], rtol=1e-4, atol=1e-5)


def test_returns_come_with_their_row():
    data = Dataset.from_episodes(make_episodes((3, 4), (True, True)))
    view = View(mc_return=True, discount=0.5)
    steps = table(data, view)
    rewards = data.rewards[4:8]
    batch = gather(steps, np.asarray([4, 2], np.int32), view, PLAIN)
    expected = rewards[0] + rewards[1] / 2 + rewards[2] / 4 + rewards[3] / 8
    np.testing.assert_allclose(batch.mc_return, [expected, data.rewards[2]], rtol=1e-5)


def test_actions_are_scaled_to_the_unit_box_and_back():
    spec = Spec((("", ArraySpec((3,))),), ArraySpec((2,), low=(0.0, -4.0), high=(2.0, 4.0)))
    normalizer = Normalizer.of(spec)
    raw = np.array([[0.0, 4.0], [1.5, -1.0]], np.float32)
    np.testing.assert_allclose(normalizer.action(raw), [[-1.0, 1.0], [0.5, -0.25]])
    np.testing.assert_allclose(normalizer.raw_action(normalizer.action(raw)), raw)
    # Beyond the bounds: cut, since no policy of ours reaches there.
    np.testing.assert_allclose(normalizer.action(np.array([[9.0, -9.0]], np.float32)), [[1.0, -1.0]])
    discrete = Normalizer.of(Spec(spec.observation, ArraySpec((), "int32", categories=3)))
    np.testing.assert_array_equal(discrete.action(np.array([2, 0])), [2, 0])


def test_features_that_never_move_are_not_blown_up():
    observations = np.tile(np.array([[7.0, 0.0]], np.float32), (5, 1))
    observations[:, 1] = np.arange(5)
    data = Dataset.from_episodes([{"observations": observations, "rewards": np.zeros(4)}])
    found = Normalizer.of(data.spec, data).observation(observations + np.float32(1.0))
    np.testing.assert_allclose(found[:, 0], 1.0)
    np.testing.assert_allclose(found[:, 1], (np.arange(5) - 1) / np.sqrt(2), rtol=1e-6)


def test_data_without_what_a_view_needs_is_refused():
    passive = Dataset.from_episodes(make_episodes(actions=None, rewards=False))
    with pytest.raises(UsageError, match="memory holds no actions and no rewards, which this algorithm learns from"):
        table(passive, View())
    with pytest.raises(UsageError, match="memory holds no rewards, which .* use data that has them, or an algorithm"):
        table(passive, View(actions=False))
    view = View(actions=False, rewards=False)
    steps = table(passive, view)
    batch = gather(steps, steps.rows, view, PLAIN)
    assert (batch.action, batch.reward, batch.discount) == (None, None, None)
    np.testing.assert_array_equal(batch.next_observation, passive.observations[steps.rows + 1])

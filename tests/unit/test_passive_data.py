"""Goals for intentions, steps drawn at random, and rewards shaped by a learned value."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from data_examples import make_episodes
from models import model

from headstart.algorithm import Goals, View
from headstart.algos.icvf import ICVF
from headstart.data import index, transform
from headstart.data.dataset import Dataset
from headstart.data.normalize import Normalizer
from headstart.data.views import gather, table
from headstart.errors import UsageError
from headstart.labels.label import label

pytestmark = pytest.mark.usefixtures("quick_compilation")

B, GAMMA = 512, 0.9
LAW = Goals(0.2, 0.5, 0.3)
VIEW = View(B, GAMMA, actions=False, rewards=False, goals=LAW, intentions=LAW, same_goal=0.5)
hindsight = jax.jit(index.hindsight, static_argnums=1)


@pytest.fixture(scope="module")
def data():
    return Dataset.from_episodes(make_episodes((7, 3, 9, 1), (True, False, False, True), "array"))


def batch_of(data, key):
    rows = table(data, VIEW)
    draws = index.placed(jax.tree.map(np.asarray, hindsight(key, VIEW, len(rows.rows))), rows.rows.__getitem__)
    drawn = np.random.default_rng(0).choice(rows.rows, B)
    return gather(rows, drawn, VIEW, Normalizer(), draws), rows, drawn, draws


def test_half_of_the_outcomes_are_what_is_intended_and_both_have_rewards_of_their_own(data):
    batch, rows, drawn, draws = batch_of(data, jax.random.key(0))
    assert batch.action is None
    same = (batch.context == batch.intention).all(-1)
    assert 0.4 < same.mean() < 0.75
    np.testing.assert_array_equal(batch.reward[same], batch.intention_reward[same])
    np.testing.assert_array_equal(batch.discount[same], batch.intention_discount[same])
    draw = draws["intentions"]
    goal = np.where(draw.kind == index.RANDOM, draw.other, drawn + index.steps_to_goal(draw, rows.remaining(drawn)))
    np.testing.assert_array_equal(batch.intention, data.observations[goal])
    np.testing.assert_array_equal(batch.intention_reward, np.where(goal == drawn, 0.0, -1.0))
    arrived = (goal == drawn) | (goal == drawn + 1)
    np.testing.assert_array_equal(batch.intention_discount, np.where(arrived, 0.0, np.float32(GAMMA)))


def test_host_and_device_agree_on_intentions(data):
    expected, host, drawn, _ = batch_of(data, jax.random.key(1))
    device = jax.tree.map(jax.numpy.asarray, host)

    @jax.jit
    def on_device(device, drawn):
        draws = index.hindsight(jax.random.key(1), VIEW, len(host.rows))
        return gather(device, drawn, VIEW, Normalizer(), index.placed(draws, device.rows.__getitem__))

    jax.tree.map(np.testing.assert_array_equal, on_device(device, drawn), expected)


def test_goals_are_drawn_as_ever_where_nobody_intends():
    plain = dataclasses.replace(VIEW, intentions=None, same_goal=0.0)
    alone = dataclasses.replace(VIEW, same_goal=0.0)
    key = jax.random.key(3)
    jax.tree.map(np.testing.assert_array_equal, hindsight(key, plain, 9)["goals"], hindsight(key, alone, 9)["goals"])
    with pytest.raises(UsageError, match=r"must be drawn by the same law \(geometric\)"):
        dataclasses.replace(VIEW, intentions=dataclasses.replace(LAW, geometric=True))


def test_steps_drawn_at_random_are_episodes_of_their_own(data):
    drawn = transform.sample_steps(data, 0.5, seed=1)
    assert (drawn.episodes, drawn.steps) == (10, 10)
    assert "10 of 20 steps drawn at random (seed 1)" in drawn.provenance.transforms[-1]
    for row, after in zip(drawn.starts, drawn.ends, strict=True):
        (found,) = np.flatnonzero((data.observations == drawn.observations[row]).all(-1))
        np.testing.assert_array_equal(drawn.observations[after], data.observations[found + 1])
        np.testing.assert_array_equal(drawn.actions[row], data.actions[found])
        assert drawn.rewards[row] == data.rewards[found]
        assert drawn.terminations[row] == data.terminations[found]
    assert transform.sample_steps(data, 1e-9).steps == 1
    with pytest.raises(UsageError, match="fraction is 1.5; expected more than 0 and at most 1"):
        transform.sample_steps(data, 1.5)


def test_shaped_rewards_add_the_change_of_the_value_and_end_at_zero(data):
    algorithm = ICVF(critic_widths=(8, 8))
    source = model(algorithm, algorithm.view().with_context(data.spec))
    goal = data.observations[5]
    found = label(data, "distance", artifact=source, goal=goal, reward="shaped", discount=0.8).data
    values = source.goal_values(data.observations, np.broadcast_to(goal, data.observations.shape)).mean(0)
    steps = data.transitions
    ahead = np.where(data.terminations[steps], 0.0, 0.8 * values[steps + 1])
    np.testing.assert_allclose(found.rewards[steps], data.rewards[steps] + ahead - values[steps], atol=1e-4)
    assert "distance shaped, of icvf" in found.provenance.transforms[-1]
    with pytest.raises(UsageError, match=r"holds no rewards to be shaped; use difference \(reward\)"):
        label(transform.drop_rewards(data), "distance", artifact=source, goal=goal, reward="shaped")

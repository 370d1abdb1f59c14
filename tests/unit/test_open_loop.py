"""Chunks of actions are executed to their end, each lane at its own pace, and never beyond an episode."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from headstart.envs.collect import collect
from headstart.envs.lanes import Lanes
from headstart.envs.open_loop import OpenLoop
from headstart.errors import UsageError
from headstart.train.evaluate import evaluate

ENV = "tests/Clock-v0"
H = 3


class Clock(gymnasium.Env):
    """An episode lasts seed % 5 + 2 steps; the observation is (seed, time), the reward the action's first number."""

    observation_space = spaces.Box(0.0, np.inf, (2,), np.float32)
    action_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        self.number, self.time = seed, 0
        return np.array([seed, 0.0], np.float32), {}

    def step(self, action):
        self.time += 1
        ended = self.time == self.number % 5 + 2
        return np.array([self.number, self.time], np.float32), float(action[0]), ended, False, {}


@pytest.fixture(autouse=True)
def registered():
    gymnasium.register(ENV, Clock)
    yield
    del gymnasium.registry[ENV]


def plan(observations):
    """Action k of the chunk that is decided on at (seed, time): (100 seed + 10 time + k, seed)."""
    seed, time = observations[..., :1], observations[..., 1:]
    first = 100 * seed + 10 * time + np.arange(H)
    return np.stack([first, np.broadcast_to(seed, first.shape)], axis=-1)


def executed(seed):
    """The first numbers of the actions of an episode, by the definition: decisions at times 0, H, 2 H, ..."""
    return [100 * seed + 10 * (t - t % H) + t % H for t in range(seed % 5 + 2)]


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_evaluation_executes_whole_chunks(lanes):
    members = evaluate(plan, ENV, episodes=9, seed=3, members=2, lanes=lanes)
    for episodes in members:
        assert [episode.return_ for episode in episodes] == [sum(executed(seed)) for seed in range(3, 12)]


@pytest.mark.parametrize("lanes", [1, 3])
def test_collected_actions_are_those_executed(lanes):
    for seed, episode in enumerate(collect(plan, ENV, episodes=8, seed=0, lanes=lanes)):
        np.testing.assert_array_equal(episode["actions"][:, 0], executed(seed))
        assert (episode["actions"][:, 1] == seed).all()


def test_it_asks_no_more_than_it_must():
    asked = []

    def ask(lanes):
        asked.append(lanes.elapsed.copy())
        return plan(lanes.observations)

    act = OpenLoop(ask)
    with Lanes(ENV, 2) as lanes:
        lanes.reset(0, 4)
        lanes.reset(1, 9)
        while lanes.running.any():
            lanes.step(act(lanes))
    assert [elapsed.tolist() for elapsed in asked] == [[0, 0], [3, 3]]


def test_an_actor_goes_on_with_the_chunks_of_another():
    def ask(lanes):
        assert not lanes.elapsed.any(), "asked in the middle of a chunk"
        return plan(lanes.observations)

    first, second = OpenLoop(ask), OpenLoop(ask)
    with Lanes(ENV, 1) as lanes:
        lanes.reset(0, 9)
        lanes.step(first(lanes))
        second.chunks = first.chunks
        np.testing.assert_array_equal(second(lanes), first(lanes))
        np.testing.assert_array_equal(second(lanes)[0], [901.0, 9.0])


def test_single_actions_are_asked_for_at_every_step():
    (episode,) = collect(lambda observations: plan(observations)[:, 0], ENV, episodes=1, seed=4)
    np.testing.assert_array_equal(episode["actions"][:, 0], [400 + 10 * t for t in range(6)])


def test_wrong_shapes_are_named():
    with pytest.raises(UsageError, match=r"actions have shape \(1, 1, 3, 1\), expected \(1, 1, 2\)"):
        evaluate(lambda observations: plan(observations)[..., :1], ENV, episodes=1, seed=0)

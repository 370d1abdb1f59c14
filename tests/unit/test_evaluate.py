"""Evaluation: the same episodes however many lanes and members, and intervals of means."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from headstart.envs.lanes import Lanes
from headstart.errors import TrainingError, UsageError
from headstart.train.evaluate import Episode, Evaluation, evaluate, interval

SLIPPERY = "headstart/chain?n=4&slip=0.3&steps=9"


def rightwards(observations: np.ndarray) -> np.ndarray:
    """Right everywhere, left in state 1."""
    return np.where(observations[..., 1] == 1.0, 0, 1)


class Lengths(gymnasium.Env):
    """An episode lasts seed % 5 + 1 steps of reward `seed`; its dict observation repeats the seed. Says no success."""

    observation_space = spaces.Dict({"seed": spaces.Box(0, np.inf, (1,), np.float64)})
    action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
    steps = 0
    open = 0

    def __init__(self):
        Lengths.open += 1

    def reset(self, *, seed=None, options=None):
        self.seed, self.left = seed, seed % 5 + 1
        return {"seed": np.array([seed])}, {}

    def step(self, action):
        assert self.left > 0, "a finished environment was stepped"
        Lengths.steps += 1
        self.left -= 1
        # Termination or time limit, by parity.
        ended = self.left == 0
        return (
            {"seed": np.array([self.seed])},
            self.seed,
            ended and self.seed % 2 == 0,
            ended and self.seed % 2 == 1,
            {},
        )

    def close(self):
        Lengths.open -= 1


@pytest.fixture(autouse=True)
def registered():
    gymnasium.register("tests/Lengths-v0", Lengths)
    Lengths.steps = Lengths.open = 0
    yield
    del gymnasium.registry["tests/Lengths-v0"]


@pytest.mark.parametrize("lanes", [1, 3, 10, 50])
def test_lanes_do_not_change_the_episodes(lanes):
    (episodes,) = evaluate(rightwards, SLIPPERY, episodes=25, seed=100, lanes=lanes)
    (one_by_one,) = evaluate(rightwards, SLIPPERY, episodes=25, seed=100, lanes=1)
    assert episodes == one_by_one
    assert [episode.seed for episode in episodes] == list(range(100, 125))
    assert {episode.success for episode in episodes} == {True, False}


def test_other_seeds_are_other_episodes():
    assert evaluate(rightwards, SLIPPERY, episodes=25, seed=0) != evaluate(rightwards, SLIPPERY, episodes=25, seed=50)


def test_ends_and_time_limits():
    (ended,) = evaluate(lambda o: np.ones(o.shape[:2], int), "headstart/chain?n=4&steps=3", episodes=2, seed=7)
    assert ended == [Episode(7, 1.0, 3, True), Episode(8, 1.0, 3, True)]
    (cut,) = evaluate(lambda o: np.ones(o.shape[:2], int), "headstart/chain?n=4&steps=2", episodes=1, seed=7)
    assert cut == [Episode(7, 0.0, 2, False)]
    assert cut[0].to_json() == {"seed": 7, "return": 0.0, "length": 2, "success": False}


def test_members_act_apart_on_the_same_seeds():
    def act(observations):
        assert observations.shape == (3, 2, 4)
        actions = np.stack([np.zeros((2,), int), np.ones((2,), int), np.ones((2,), int)])
        # The third turns back in state 1.
        actions[2] = rightwards(observations[2])
        return actions

    left, right, back = evaluate(act, SLIPPERY, episodes=8, seed=0, members=3, lanes=2)
    assert [e.seed for e in left] == [e.seed for e in right] == [e.seed for e in back] == list(range(8))
    (alone,) = evaluate(lambda o: np.ones(o.shape[:2], int), SLIPPERY, episodes=8, seed=0, lanes=2)
    assert right == alone
    (alone,) = evaluate(rightwards, SLIPPERY, episodes=8, seed=0, lanes=5)
    assert back == alone
    assert np.mean([e.return_ for e in left]) < np.mean([e.return_ for e in right])


def test_finished_lanes_idle_and_environments_are_closed():
    def act(observations):
        assert observations["seed"].shape == (2, 3, 1)
        assert observations["seed"].dtype == np.float32
        return np.zeros((2, 3, 2), np.float32)

    results = evaluate(act, "tests/Lengths-v0", episodes=7, seed=0, members=2, lanes=3)
    expected = [Episode(s, float(s * (s % 5 + 1)), s % 5 + 1, None) for s in range(7)]
    assert results == [expected, expected]
    # Not a step beyond those of the episodes.
    assert Lengths.steps == 2 * sum(e.length for e in expected)
    assert Lengths.open == 0


def test_environments_are_closed_after_an_error():
    with pytest.raises(TrainingError, match="action is not finite in step 0 of the episode with seed 3"):
        evaluate(lambda o: np.full((1, 2, 2), np.nan), "tests/Lengths-v0", episodes=2, seed=3)
    with pytest.raises(UsageError, match=r"actions have shape \(1, 2\), expected \(1, 2, 2\)"):
        evaluate(lambda o: np.zeros((1, 2)), "tests/Lengths-v0", episodes=2, seed=3)
    assert Lengths.open == 0


def test_open_lanes_serve_many_evaluations():
    with Lanes("tests/Lengths-v0", 4) as lanes:
        act = lambda o: np.zeros((2, 2, 2), np.float32)  # noqa: E731
        first = evaluate(act, lanes, episodes=5, seed=0, members=2)
        # Fewer episodes than lanes: some lanes have nothing to do.
        again = evaluate(act, lanes, episodes=1, seed=0, members=2)
        assert again == [first[0][:1], first[1][:1]]
        assert Lengths.open == 4
        with pytest.raises(UsageError, match="4 lanes cannot be shared evenly by 3 members"):
            evaluate(act, lanes, episodes=1, seed=0, members=3)
    assert Lengths.open == 0


# -- intervals ------------------------------------------------------------------------------------------------------


def test_the_interval_of_many_values_is_that_of_a_normal_mean():
    values = np.random.default_rng(0).normal(3.0, 2.0, size=900)
    mean, low, high = interval(values)
    assert mean == pytest.approx(values.mean())
    half = 1.96 * values.std() / 30
    assert (low, high) == (pytest.approx(mean - half, abs=0.1 * half), pytest.approx(mean + half, abs=0.1 * half))
    assert interval(values) == interval(values)
    narrow = interval(values, confidence=0.5)
    assert low < narrow[1] < narrow[2] < high


def test_strata_leave_the_difference_between_members_out():
    values = np.array([[0.0] * 20, [1.0] * 20])
    assert interval(values) == (0.5, 0.5, 0.5)
    # Drawing members: both the worse one, both the better one, or one of each (probability 1/4, 1/4, 1/2).
    assert interval(values, sample_members=True) == (0.5, 0.0, 1.0)
    pooled = interval(values.ravel())
    assert pooled[1] < 0.5 < pooled[2]


def test_interval_of_nothing():
    with pytest.raises(UsageError, match="an interval needs values"):
        interval([])


def evaluation(env, returns, solved=None):
    solved = solved or [[None] * len(member) for member in returns]
    episodes = [
        [Episode(seed, value, 10, success) for seed, (value, success) in enumerate(zip(*member, strict=True))]
        for member in zip(returns, solved, strict=True)
    ]
    return Evaluation(env, tuple(range(len(returns))), episodes)


def test_scores_are_normalised_where_the_task_has_references():
    door = evaluation("AdroitHandDoor-v1", [[-56.512833, 2880.5693087298737]])
    assert door.normalized[0] == pytest.approx(50.0)
    assert door.normalized[1:] == pytest.approx((0.0, 100.0))
    assert "normalised 50.0 [0.0, 100.0]" in door.describe()
    assert door.to_json()["normalized"][0] == pytest.approx(50.0)
    assert evaluation("HalfCheetah-v4", [[12135.0]]).normalized[0] == pytest.approx(100.0)
    # Options change what a return is.
    for env in ("AdroitHandDoor-v1?sparse=1", "AdroitHandDoor-v1?steps=100", "AdroitHandPen-v1", "CartPole-v1"):
        assert evaluation(env, [[1.0]]).normalized is None
        assert "normalised" not in evaluation(env, [[1.0]]).describe()


def test_extremes_are_by_success_then_by_return():
    found = evaluation("CartPole-v1", [[5.0, 1.0, 9.0], [4.0, 8.0, 2.0]], [[True, False, False], [True, False, False]])
    assert {name: (index, episode.seed) for name, (index, episode) in found.extremes.items()} == {
        "best": (0, 0), "median": (1, 1), "worst": (0, 1)
    }  # fmt: skip
    assert list(evaluation("CartPole-v1", [[1.0, 2.0]]).extremes) == ["best", "worst"]
    assert list(evaluation("CartPole-v1", [[1.0]]).extremes) == ["best"]


def test_the_tape_holds_every_episodes_actions():
    tape = {}
    episodes = evaluate(lambda o: np.stack([rightwards(o[0]), 1 - rightwards(o[1])]), SLIPPERY,
                        episodes=3, seed=5, members=2, lanes=2, tape=tape)  # fmt: skip
    assert sorted(tape) == [(member, seed) for member in range(2) for seed in (5, 6, 7)]
    for member, played in enumerate(episodes):
        for episode in played:
            assert len(tape[member, episode.seed]) == episode.length


def test_across_seeds_training_seeds_are_drawn_too():
    """Two seeds that always and one that never succeeds: sure of these three models, not of the method."""
    episodes = [[Episode(i, -1.0, 1, success) for i in range(20)] for success in (True, True, False)]
    evaluation = Evaluation("somewhere", (0, 1, 2), episodes)
    assert evaluation.success == (pytest.approx(2 / 3),) * 3
    mean, low, high = evaluation.across_seeds("success")
    assert mean == pytest.approx(2 / 3)
    assert low < 0.3
    assert high == 1.0
    assert evaluation.across_seeds("return") == (-1.0, -1.0, -1.0)
    unsaid = Evaluation("somewhere", (0,), [[Episode(0, -1.0, 1, None)]])
    with pytest.raises(UsageError, match="does not say whether an episode solved"):
        unsaid.across_seeds("success")

"""Environments from strings: wrappers, time limits, seeds, errors."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from headstart.envs import factory, names, wrappers
from headstart.envs.seeding import global_random
from headstart.errors import UsageError


class Counter(gymnasium.Env):
    """Counts its steps: reward 1 each, success in step `target` only, termination in step `end`, if any.

    The observation is (count, a number from NumPy's global generator), in float64.
    """

    def __init__(self, target: int = 4, end: int = 0, tell: bool = True):
        self.target, self.end, self.tell = target, end, tell
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.action_space = spaces.Box(-1.0, 3.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return np.array([0.0, np.random.uniform()]), {}  # noqa: NPY002

    def step(self, action):
        self.count += 1
        info = {"is_success": self.count == self.target} if self.tell else {}
        observation = np.array([self.count, np.random.uniform()])  # noqa: NPY002
        return observation, 1.0, self.count == self.end, False, info


class Named(gymnasium.Env):
    """A dict observation with a discrete part."""

    observation_space = spaces.Dict({"image": spaces.Box(0, 255, (2, 2), np.uint8), "room": spaces.Discrete(3)})
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return {"image": np.full((2, 2), 7, np.uint8), "room": 2}, {}


@pytest.fixture(autouse=True)
def registered():
    """The environments above under names that Gymnasium knows."""
    gymnasium.register("tests/Counter-v0", Counter, max_episode_steps=10)
    gymnasium.register("tests/Named-v0", Named)
    yield
    for name in ("tests/Counter-v0", "tests/Named-v0"):
        del gymnasium.registry[name]


def play(env: gymnasium.Env, decisions: int = 100) -> list[tuple[float, bool, bool, bool | None]]:
    """(reward, terminated, truncated, success) of every decision of an episode."""
    env.reset(seed=0)
    steps = []
    for _ in range(decisions):
        _, reward, terminated, truncated, info = env.step(env.action_space.sample())
        steps.append((reward, terminated, truncated, wrappers.success_in(info)))
        if terminated or truncated:
            break
    return steps


# -- what the keys do -----------------------------------------------------------------------------------------------


def test_without_keys_the_environment_is_as_it_came():
    steps = play(factory.make("tests/Counter-v0"))
    assert [s[0] for s in steps] == [1.0] * 10
    assert [s[2] for s in steps] == [False] * 9 + [True]
    assert [s[3] for s in steps] == [False, False, False, True] + [False] * 6


def test_other_keys_are_arguments_of_the_environment():
    steps = play(factory.make("tests/Counter-v0?target=2&end=3"))
    assert [s[1] for s in steps] == [False, False, True]
    assert [s[3] for s in steps] == [False, True, False]


def test_an_argument_that_an_environment_of_a_module_does_not_take():
    pytest.importorskip("ogbench")
    with pytest.raises(UsageError, match="unknown argument .*'distanse'; did you mean 'distance'"):
        factory.make("headstart.recipes.maze:PlaceMaze-v0?distanse=3")


def test_sparse_ends_at_success_with_reward_zero():
    steps = play(factory.make("tests/Counter-v0?sparse=1"))
    assert [s[0] for s in steps] == [-1.0, -1.0, -1.0, 0.0]
    assert [s[1] for s in steps] == [False, False, False, True]
    assert not any(s[2] for s in steps)


def test_sparse_pays_minus_one_where_the_task_fails():
    steps = play(factory.make("tests/Counter-v0?sparse=1&target=9&end=3"))
    assert [s[:2] for s in steps] == [(-1.0, False), (-1.0, False), (-1.0, True)]


def test_repeat_sums_rewards_and_goes_on_after_a_success():
    # Steps 1-3, 4-6 (with the success in step 4), 7-9, and 10, where the environment's own limit stops it.
    steps = play(factory.make("tests/Counter-v0?repeat=3"))
    assert steps == [(3.0, False, False, False), (3.0, False, False, True), (3.0, False, False, False),
                     (1.0, False, True, False)]  # fmt: skip


def test_repeat_stops_where_the_episode_ends():
    assert play(factory.make("tests/Counter-v0?repeat=4&end=6&target=6"))[-1] == (2.0, True, False, True)


def test_sparse_with_repeat_counts_decisions_and_stops_at_the_success_inside():
    env = factory.make("tests/Counter-v0?sparse=1&repeat=3&target=5")
    assert play(env) == [(-1.0, False, False, False), (0.0, True, False, True)]
    assert env.unwrapped.count == 5


def test_steps_replaces_the_own_limit_and_counts_decisions():
    longer = play(factory.make("tests/Counter-v0?steps=12&target=50"))
    assert len(longer) == 12
    assert longer[-1] == (1.0, False, True, False)
    env = factory.make("tests/Counter-v0?steps=7&repeat=3&target=50&sparse=1")
    steps = play(env)
    assert len(steps) == 7
    assert steps[-1] == (-1.0, False, True, False)
    assert env.unwrapped.count == 21


def test_a_success_in_the_last_decision_is_a_termination():
    assert play(factory.make("tests/Counter-v0?steps=4&sparse=1"))[-1][:2] == (0.0, True)


# -- observations and seeds -----------------------------------------------------------------------------------------


def test_observations_become_float32():
    env = factory.make("tests/Counter-v0")
    observation, _ = env.reset(seed=0)
    assert observation.dtype == np.float32
    assert env.observation_space.dtype == np.float32
    assert env.observation_space.contains(observation)


def test_named_observations_keep_bytes_and_make_rooms_one_hot():
    env = factory.make("tests/Named-v0")
    observation, _ = env.reset(seed=0)
    assert observation["image"].dtype == np.uint8
    np.testing.assert_array_equal(observation["room"], np.array([0.0, 0.0, 1.0], np.float32))
    assert factory.spec("tests/Named-v0").describe() == (
        "observation image uint8[2,2], observation room float32[3], action 2 choices"
    )


def test_a_seed_decides_what_comes_from_the_global_generator():
    def numbers(env):
        first, _ = env.reset(seed=3)
        return [float(first[1]), float(env.step(np.zeros(1, np.float32))[0][1])]

    one, other = factory.make("tests/Counter-v0"), factory.make("tests/Counter-v0")
    alone = numbers(one)
    # Interleaved with another environment and with other draws, nothing changes.
    first, _ = one.reset(seed=3)
    other.reset(seed=4)
    np.random.uniform()  # noqa: NPY002
    other.step(np.zeros(1, np.float32))
    assert [float(first[1]), float(one.step(np.zeros(1, np.float32))[0][1])] == alone
    assert numbers(other) == alone
    assert alone[0] != alone[1]


def test_the_global_generator_goes_on_as_if_nothing_happened():
    np.random.seed(5)  # noqa: NPY002
    expected = np.random.uniform(size=2)  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    got = [np.random.uniform()]  # noqa: NPY002
    with global_random(np.random.MT19937(0)):
        np.random.uniform(size=10)  # noqa: NPY002
    with pytest.raises(ZeroDivisionError), global_random(np.random.MT19937(0)):
        1 / 0  # noqa: B018
    got.append(np.random.uniform())  # noqa: NPY002
    np.testing.assert_array_equal(got, expected)


# -- tasks and goals ------------------------------------------------------------------------------------------------


def test_seeds_in_a_row_take_the_tasks_in_turn_and_goals_are_observations():
    env = factory.make("headstart/chain?n=4&goals=1")
    for seed in range(6):
        observation, info = env.reset(seed=seed)
        assert info["task"] == 1 + seed % 3
        np.testing.assert_array_equal(info["goal"], np.eye(4)[info["task"]])
        assert info["goal"].dtype == observation.dtype == np.float32
    chosen = factory.make("headstart/chain?n=4&goals=1&task=2")
    assert [chosen.reset(seed=seed)[1]["task"] for seed in range(3)] == [2, 2, 2]
    steps = play(chosen)
    assert all(step[:2] == (0.0, False) and step[3] is False for step in steps[:-1])
    assert steps[-1] in [(1.0, True, False, True), (0.0, False, True, False)]


def test_only_some_environments_set_goals():
    assert factory.sets_goals("headstart/chain?goals=1")
    assert not factory.sets_goals("headstart/chain")


def test_ogbench_hands_out_its_five_goals():
    pytest.importorskip("ogbench", reason="OGBench is not installed")
    env = factory.make("pointmaze-medium-v0")
    for task in range(1, 6):
        observation, info = env.reset(seed=task - 1)
        assert (info["task"], env.unwrapped.cur_task_id) == (task, task)
        assert (info["goal"].shape, info["goal"].dtype) == (observation.shape, np.float32)
        np.testing.assert_allclose(info["goal"], env.unwrapped.cur_goal_xy, rtol=1e-6)
    alone = factory.make("pointmaze-medium-singletask-task2-v0")
    assert "task" not in alone.reset(seed=0)[1]


# -- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ("CartPole-v9", "unknown environment 'CartPole-v9'; did you mean 'CartPole-v1'"),
        ("headstart/chian", "did you mean 'headstart/chain'"),
        ("headstart/chain?slp=0.1", "unknown argument of headstart/chain 'slp'; did you mean 'slip'"),
        ("tests/Counter-v0?taget=3", "unknown argument of tests/Counter-v0 'taget'; did you mean 'target'"),
        ("tests/Counter-v0?repeat=0", "repeat must be a whole number of at least 1, found 0"),
        ("tests/Counter-v0?steps=many", "steps must be a whole number of at least 1, found 'many'"),
        ("tests/Counter-v0?sparse=2", "sparse must be 0 or 1, found 2"),
        ("tests/Counter-v0?task=1", "there is no choice of tasks here; leave task out"),
        ("headstart/chain?n=4&goals=1&task=4", "task must be a whole number from 1 to 3, found 4"),
        ("tests/Counter-v0?repeat", "expected key=value after the question mark, found 'repeat'"),
        ("tests/Counter-v0?steps=2&steps=3", "steps is given twice"),
        ("Blackjack-v1", "spaces of type Tuple are not supported"),
        ("no_such_module:Env-v0", "No module named 'no_such_module'"),
    ],
)
def test_errors_name_the_culprit(env, message):
    with pytest.raises(UsageError) as error:
        factory.make(env)
    assert message in str(error.value)


def test_a_missing_package_is_named_with_what_installs_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    with pytest.raises(UsageError, match=r"ogbench and gymnasium_robotics need .* `pip install \S*\[mujoco\]'?`"):
        factory.make("Nowhere-v0")


def test_a_library_that_an_environment_misses_is_named():
    def needy():
        raise gymnasium.error.DependencyNotInstalled("MuJoCo is not installed")

    gymnasium.register("tests/Needy-v0", needy)
    with pytest.raises(UsageError, match=r"tests/Needy-v0 needs a package that is missing \(MuJoCo is not installed\)"):
        factory.make("tests/Needy-v0")
    del gymnasium.registry["tests/Needy-v0"]


def test_sparse_needs_an_environment_that_tells_success():
    env = factory.make("tests/Counter-v0?sparse=1&tell=false")
    env.reset(seed=0)
    with pytest.raises(UsageError, match="sparse=1 needs an environment whose step info holds one of success"):
        env.step(np.zeros(1, np.float32))


def test_values_are_json_where_they_parse():
    assert names.parse("A-v0?a=1&b=0.5&c=true&d=word&e=%5B1%2C2%5D&f=null&g=a=b") == (
        "A-v0", {"a": 1, "b": 0.5, "c": True, "d": "word", "e": [1, 2], "f": None, "g": "a=b"},
    )  # fmt: skip
    assert names.parse("A-v0") == ("A-v0", {})


# -- real ones ------------------------------------------------------------------------------------------------------


def test_adroit_door():
    pytest.importorskip("gymnasium_robotics", reason="gymnasium-robotics is not installed")
    pytest.importorskip("mujoco", reason="MuJoCo is not installed")
    spec = factory.spec("AdroitHandDoor-v1?sparse=1&steps=5")
    assert spec.observation_size == 39
    assert spec.action.shape == (28,)
    assert spec.action.low == (-1.0,) * 28
    env = factory.make("AdroitHandDoor-v1?sparse=1&steps=5")
    assert play(env) == [(-1.0, False, False, False)] * 4 + [(-1.0, False, True, False)]
    # Opening the door past the angle that the environment calls success ends the episode.
    env.reset(seed=0)
    door = env.unwrapped
    door.data.qpos[door.door_hinge_addrs] = 1.5
    _, reward, terminated, _, info = env.step(np.zeros(28, np.float32))
    assert (reward, terminated, bool(info["success"])) == (0.0, True, True)
    env.close()


def test_point_maze():
    pytest.importorskip("ogbench", reason="OGBench is not installed")
    env = factory.make("pointmaze-medium-v0?task=1&repeat=5&steps=3&sparse=1")
    first, info = env.reset(seed=1)
    moved = env.step(np.ones(2, np.float32))[0]
    again, info_again = env.reset(seed=1)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(info["goal"], info_again["goal"])
    np.testing.assert_array_equal(moved, env.step(np.ones(2, np.float32))[0])
    assert not np.array_equal(first, env.reset(seed=2)[0])
    # Five steps of 0.2 in both directions, in the open.
    np.testing.assert_allclose(moved - first, [1.0, 1.0], atol=0.05)
    env.close()


def test_mazes_leave_no_files_behind(tmp_path, monkeypatch):
    pytest.importorskip("ogbench", reason="OGBench is not installed")
    if not Path("/dev/fd").is_dir():
        pytest.skip("open files cannot be counted here")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = len(os.listdir("/dev/fd"))
    env = factory.make("pointmaze-medium-v0")
    assert len(os.listdir("/dev/fd")) == before
    assert list(tmp_path.iterdir()) == []
    env.reset(seed=0)
    env.close()


def test_a_manipulation_scene_follows_from_its_seed():
    """OGBench's scenes settle by actions from a space that is made anew, unseeded, at every look."""
    pytest.importorskip("ogbench", reason="OGBench is not installed")
    env = factory.make("cube-single-v0")
    assert env.action_space is env.action_space

    def roll_out():
        observations = [env.reset(seed=3)[0]]
        rng = np.random.default_rng(0)
        for _ in range(20):
            observations.append(env.step(rng.uniform(-1, 1, 5).astype(np.float32))[0])
        return np.stack(observations)

    first = roll_out()
    env.reset(seed=4)
    np.testing.assert_array_equal(roll_out(), first)
    env.close()

"""Collecting data with policies and controllers."""

from __future__ import annotations

import sys
import types

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from headstart.cli import collect as command
from headstart.data import sources
from headstart.data.dataset import Dataset
from headstart.envs import controllers, factory
from headstart.envs.collect import collect, sampling
from headstart.envs.controllers import Scripted
from headstart.errors import DataError, UsageError

SLIPPERY = "headstart/chain?n=4&slip=0.4&steps=8"


class Drift(gymnasium.Env):
    """A number moved by actions between -1 and 3, from a random start; ends beyond 10. Rewards its action."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = spaces.Box(-1.0, 3.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = self.np_random.uniform(size=1)
        return self.place, {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.place += action  # In place: observations must be copied.
        return self.place, float(action[0]), bool(self.place[0] > 10), False, {}


@pytest.fixture(autouse=True)
def registered():
    gymnasium.register("tests/Drift-v0", Drift, max_episode_steps=20)
    yield
    del gymnasium.registry["tests/Drift-v0"]


def same(one: list[dict], two: list[dict]) -> bool:
    return len(one) == len(two) and all(
        a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a) for a, b in zip(one, two, strict=True)
    )


def right(observations: np.ndarray) -> np.ndarray:
    return np.ones(len(observations), int)


def test_what_an_episode_holds():
    (episode,) = collect(right, "headstart/chain?n=4", episodes=1, seed=0)
    np.testing.assert_array_equal(episode["observations"], np.eye(4))
    np.testing.assert_array_equal(episode["actions"], [1, 1, 1])
    np.testing.assert_array_equal(episode["rewards"], [0, 0, 1])
    np.testing.assert_array_equal(episode["successes"], [False, False, True])
    assert episode["terminated"] is True
    (cut,) = collect(right, "headstart/chain?n=4&steps=2", episodes=1, seed=0)
    assert cut["terminated"] is False
    assert len(cut["observations"]) == 3
    data = Dataset.from_episodes([episode, cut], factory.spec("headstart/chain?n=4"))
    assert data.steps == 5


def test_actions_are_kept_as_executed():
    act = lambda observations: np.full((len(observations), 1), 0.2)  # noqa: E731
    episodes = collect(act, "tests/Drift-v0", episodes=40, seed=0, noise=0.25, lanes=3)
    actions = np.concatenate([episode["actions"] for episode in episodes])
    assert actions.dtype == np.float32
    # Half the range is 2, so the noise has a standard deviation of 0.5; some of it is clipped at -1.
    assert actions.min() == -1.0
    assert np.median(actions) == pytest.approx(0.2, abs=0.06)
    assert np.quantile(actions, 0.8413) == pytest.approx(0.7, abs=0.08)
    for episode in episodes:
        # Replaying what was written gives what was seen, to the final observation.
        moved = episode["observations"][0] + np.concatenate([[[0.0]], np.cumsum(episode["actions"], axis=0)])
        np.testing.assert_allclose(episode["observations"], moved, atol=1e-5)
        np.testing.assert_array_equal(episode["rewards"], episode["actions"][:, 0])
        assert episode["terminated"] == (episode["observations"][-1, 0] > 10)
        assert "successes" not in episode


@pytest.mark.parametrize("act", [right, Scripted("random")])
@pytest.mark.parametrize("only_successes", [False, True])
def test_lanes_do_not_change_the_episodes(act, only_successes):
    def run(lanes, seed=5):
        return collect(
            act, SLIPPERY, episodes=9, seed=seed, noise=0.2, lanes=lanes, only_successes=only_successes, tries=200
        )

    assert same(run(1), run(4))
    assert not same(run(1), run(1, seed=300))


def test_only_successes_are_the_first_ones_in_order():
    everything = collect(right, SLIPPERY, episodes=40, seed=0, lanes=2)
    successes = [episode for episode in everything if episode["successes"].any()]
    assert 5 < len(successes) < 40
    assert same(collect(right, SLIPPERY, episodes=5, seed=0, lanes=3, only_successes=True), successes[:5])


def test_too_few_successes():
    left = lambda observations: np.zeros(len(observations), int)  # noqa: E731
    with pytest.raises(DataError, match="0 of 12 episodes succeeded, 2 were asked for; allow more tries"):
        collect(left, "headstart/chain?n=3&steps=2", episodes=2, seed=0, only_successes=True, tries=12, lanes=2)


def test_success_must_be_told():
    with pytest.raises(UsageError, match="tests/Drift-v0 does not tell success"):
        collect(Scripted("random"), "tests/Drift-v0", episodes=2, seed=0, only_successes=True)


def test_discrete_noise_is_the_probability_of_a_random_action():
    episodes = collect(right, "headstart/random?actions=2&steps=500", episodes=4, seed=0, noise=0.5)
    share = np.mean([episode["actions"] for episode in episodes])
    assert share == pytest.approx(0.75, abs=0.04)


def test_shapes_of_actions_are_checked():
    with pytest.raises(UsageError, match=r"actions have shape \(1,\), expected \(1, 1\)"):
        collect(right, "tests/Drift-v0", episodes=1, seed=0)


# -- controllers ----------------------------------------------------------------------------------------------------


def test_random_is_uniform_between_the_bounds():
    episodes = collect(Scripted("random"), "tests/Drift-v0", episodes=60, seed=0)
    actions = np.concatenate([episode["actions"] for episode in episodes])
    assert actions.min() >= -1
    assert actions.max() <= 3
    np.testing.assert_allclose(np.quantile(actions, [0.25, 0.5, 0.75]), [0, 1, 2], atol=0.3)


def test_a_controller_of_the_users_own(tmp_path, monkeypatch):
    (tmp_path / "my_controllers.py").write_text(
        "class Steady:\n"
        "    def __init__(self, env, speed=1.0):\n"
        "        self.speed = speed\n"
        "    def reset(self, observation, info, rng):\n"
        "        self.last = observation\n"
        "    def act(self, observation, info):\n"
        "        return [self.speed]\n"
    )
    monkeypatch.chdir(tmp_path)
    # The current folder is looked at although it is not on the path (a copy, so that it is not there afterwards).
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if folder])
    (episode,) = collect(Scripted("my_controllers:Steady?speed=2.5"), "tests/Drift-v0", episodes=1, seed=0)
    np.testing.assert_array_equal(episode["actions"], [[2.5]] * 4)
    with pytest.raises(UsageError, match="module my_controllers has no 'Stedy'"):
        controllers.load("my_controllers:Stedy")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("randm", "unknown controller 'randm'; did you mean 'random'"),
        ("random?speed=1", "controller random takes no arguments, found 'speed'"),
        ("ogbench-maze?tsk=1", "unknown argument of controller ogbench-maze 'tsk'; did you mean 'task'"),
        ("no_such_module:It", "No module named 'no_such_module'"),
    ],
)
def test_unknown_controllers(name, message):
    with pytest.raises(UsageError) as error:
        controllers.load(name)
    assert message in str(error.value)


@pytest.mark.parametrize("name", ["ogbench-maze", "ogbench-plan", "ogbench-cube"])
def test_controllers_refuse_environments_that_are_not_theirs(name):
    with pytest.raises(UsageError, match=f"controller '{name}' needs an OGBench"):
        collect(Scripted(name), "tests/Drift-v0", episodes=1, seed=0)


def test_the_maze_controller_walks_to_the_goal():
    pytest.importorskip("ogbench", reason="OGBench is not installed")
    env = "pointmaze-medium-singletask-v0?repeat=5&steps=60&sparse=1"
    episodes = collect(Scripted("ogbench-maze?task=1"), env, episodes=3, seed=0, lanes=2)
    assert all(episode["successes"][-1] and episode["terminated"] for episode in episodes)
    # A decision moves at most 5 times 0.2. The way along the cells is 40 units, less the corners it cuts; as the crow
    # flies it is 28, less the two units by which start and goal give way.
    assert all(26 <= len(episode["actions"]) <= 40 for episode in episodes)
    assert all(np.linalg.norm(episode["actions"], axis=1).max() <= 1.0 for episode in episodes)
    wandering = collect(Scripted("ogbench-maze"), env, episodes=3, seed=0, lanes=2, noise=0.2)
    assert same(wandering, collect(Scripted("ogbench-maze"), env, episodes=3, seed=0, noise=0.2))
    # Different goals from one start.
    assert not np.allclose(wandering[0]["observations"][30], wandering[1]["observations"][30], atol=2.0)


def test_the_planned_oracle_moves_the_cube():
    pytest.importorskip("ogbench", reason="OGBench is not installed")
    with pytest.raises(UsageError, match="mode=data_collection"):
        collect(Scripted("ogbench-plan"), "cube-single-v0", episodes=1, seed=0)
    env = "cube-single-v0?mode=data_collection&terminate_at_goal=false&steps=100"
    (episode,) = collect(Scripted("ogbench-plan"), env, episodes=1, seed=0)
    assert episode["actions"].shape == (100, 5)
    assert episode["successes"].any()


def test_the_cube_is_carried_to_the_goal_or_elsewhere():
    pytest.importorskip("ogbench", reason="OGBench is not installed")
    with pytest.raises(UsageError, match="scene of one cube"):
        collect(Scripted("ogbench-cube"), "cube-double-v0", episodes=1, seed=0)
    env = "cube-single-singletask-task3-v0"
    (solved,) = collect(Scripted("ogbench-cube?task=1"), env, episodes=1, seed=0)
    assert solved["terminated"]
    assert len(solved["actions"]) < 100
    np.testing.assert_array_equal(solved["rewards"][:-1], -1.0)
    assert solved["rewards"][-1] == 0.0
    (elsewhere,) = collect(Scripted("ogbench-cube"), f"{env}?steps=120", episodes=1, seed=0)
    assert len(elsewhere["actions"]) == 120
    assert not elsewhere["successes"].any()
    # Entries 19 and 20: where the cube is on the table, in tenths of a metre.
    assert np.linalg.norm(np.ptp(elsewhere["observations"][:, 19:21], axis=0)) > 1.0
    assert same([elsewhere], collect(Scripted("ogbench-cube"), f"{env}?steps=120", episodes=1, seed=0))


# -- the command ----------------------------------------------------------------------------------------------------


def test_the_command_writes_a_minari_data_set(tmp_path, capsys):
    out = tmp_path / "chain"
    command.collect(SLIPPERY, str(out), controller="random", episodes=6, seed=3, only_successes=True)
    assert f"6 episodes (6 solved), {sources.load(f'minari:{out}').steps:,} steps written to {out}" in (
        capsys.readouterr().out
    )
    data = sources.load(f"minari:{out}")
    expected = collect(Scripted("random"), SLIPPERY, episodes=6, seed=3, only_successes=True)
    for i, episode in enumerate(expected):
        for key, column in episode.items():
            np.testing.assert_array_equal(data.episode(i)[key], column)
    assert data.spec == factory.spec(SLIPPERY)
    assert data.provenance.environment == SLIPPERY
    assert data.provenance.transforms == ("controller random, noise 0, seeds from 3", "only successes")


def test_the_command_refuses_before_it_works(tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(UsageError, match="there exists; choose another --out or give --overwrite"):
        command.collect(SLIPPERY, str(tmp_path / "there"), controller="random")
    for actors in ({}, {"controller": "random", "artifact": tmp_path}):
        with pytest.raises(UsageError, match="either --controller NAME or --artifact FOLDER"):
            command.collect(SLIPPERY, str(tmp_path / "new"), **actors)
    assert not (tmp_path / "new").exists()


def test_the_command_rolls_out_an_artifact(tmp_path, monkeypatch):
    """With a stand-in for the artifact: greedily right, otherwise left or right by the key."""
    import jax

    class Artifact:
        env_spec, skills = factory.spec(SLIPPERY), None

        @staticmethod
        def load(path):
            assert path == tmp_path / "run"
            return Artifact()

        def chunk(self, observations, key=None):
            likely = jax.numpy.ones((len(observations), 1), int)
            return likely if key is None else jax.random.bernoulli(key, 0.5, likely.shape).astype(int)

    monkeypatch.setitem(sys.modules, "headstart.artifact", types.SimpleNamespace(Artifact=Artifact))

    def actions(name, **options):
        command.collect(SLIPPERY, str(tmp_path / name), artifact=tmp_path / "run", episodes=4, lanes=2, **options)
        data = sources.load(f"minari:{tmp_path / name}")
        return data.actions[data.transitions], data.provenance.transforms[0]

    greedy, how = actions("greedy", greedy=True)
    assert (greedy == 1).all()
    assert how == f"policy of {tmp_path / 'run'}, greedy, noise 0, seeds from 0"
    sampled, how = actions("sampled")
    assert 0 < sampled.mean() < 1
    assert "sampled" in how
    np.testing.assert_array_equal(actions("again")[0], sampled)
    Artifact.env_spec = factory.spec("headstart/chain?n=9")
    with pytest.raises(UsageError, match=r"observation differs: .*run has shape \(9,\), .* has shape \(4,\)"):
        actions("other")


def test_sampling_draws_a_new_key_every_step():
    import jax

    def policy(observations, key):
        return jax.random.bernoulli(key, 0.5, observations.shape[:1]).astype(int)

    def run(seed):
        return collect(sampling(policy, seed), "headstart/random?actions=2&steps=40", episodes=2, seed=0, lanes=2)

    assert same(run(0), run(0))
    assert not same(run(0), run(1))
    actions = run(0)[0]["actions"]
    assert 0 < actions.mean() < 1

"""Observations that say where to go, as Gymnasium-Robotics has them: seen by some methods, the goal of others."""

from __future__ import annotations

import importlib.util

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from headstart import api
from headstart.algos import registry
from headstart.data import transform
from headstart.data.columns import map_arrays
from headstart.envs import factory
from headstart.envs.collect import collect, to_dataset
from headstart.envs.controllers import Scripted
from headstart.errors import UsageError

pytestmark = pytest.mark.usefixtures("quick_compilation")

ENV = "tests/Reach-v0"
TOWARDS = f"{ENV}?goal=1"


class Reach(gymnasium.Env):
    """A point on [-2, 2] moves by up to 0.5; solved within 0.3 of where it is to go. Ten steps."""

    observation_space = spaces.Dict(
        {
            "observation": spaces.Box(-2.0, 2.0, (2,), np.float64),
            "achieved_goal": spaces.Box(-2.0, 2.0, (1,), np.float64),
            "desired_goal": spaces.Box(-2.0, 2.0, (1,), np.float64),
        }
    )
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.goal = self.np_random.uniform(-2.0, 2.0, 2)
        self.move, self.time = 0.0, 0
        return self._look(), {}

    def step(self, action):
        self.move = 0.5 * float(np.clip(action[0], -1.0, 1.0))
        self.place, self.time = float(np.clip(self.place + self.move, -2.0, 2.0)), self.time + 1
        success = abs(self.place - self.goal) < 0.3
        return self._look(), -1.0 + success, False, self.time == 10, {"is_success": success}

    def _look(self):
        return {
            "observation": np.array([self.place, self.move]),
            "achieved_goal": np.array([self.place]),
            "desired_goal": np.array([self.goal]),
        }


@pytest.fixture(autouse=True)
def registered():
    gymnasium.register(ENV, Reach)
    yield
    del gymnasium.registry[ENV]
    factory.spec.cache_clear()
    factory.sets_goals.cache_clear()


def test_where_to_go_is_handed_out_instead_of_seen():
    plain, towards = factory.make(ENV), factory.make(TOWARDS)
    seen, _ = plain.reset(seed=3)
    observation, info = towards.reset(seed=3)
    assert observation.keys() == {"observation", "achieved_goal"} == towards.observation_space.spaces.keys()
    np.testing.assert_array_equal(observation["observation"], seen["observation"])
    np.testing.assert_array_equal(info["goal"]["achieved_goal"], seen["desired_goal"])
    assert info["goal"].keys() == observation.keys()
    after, reward, *_ = towards.step(np.float32([0.5]))
    expected, same, *_ = plain.step(np.float32([0.5]))
    assert reward == same
    assert after.keys() == observation.keys()
    np.testing.assert_array_equal(after["achieved_goal"], expected["achieved_goal"])
    assert factory.sets_goals(TOWARDS)
    assert not factory.sets_goals(ENV)


def test_environments_that_do_not_say_where_to_go_are_refused():
    with pytest.raises(UsageError, match="goal=1 is for observations with achieved_goal and desired_goal"):
        factory.make("headstart/chain?goal=1")
    with pytest.raises(UsageError, match="goal must be 0 or 1, found 'x'"):
        factory.make(f"{ENV}?goal=x")


def walks(env=ENV):
    return to_dataset(collect(Scripted("random"), env, episodes=40, seed=0), env, ())


def small(name, **changes):
    found = registry.algorithm(name)
    widths, rates = (
        dict.fromkeys(["actor_widths", "critic_widths"], (16, 16)),
        dict.fromkeys(["actor_lr", "critic_lr"], 3e-3),
    )
    settings = (
        widths | rates | {"goal_array": "achieved_goal", "batch_size": 64, "discount": 0.9, "tau": 0.05} | changes
    )
    return registry.algorithm(name, **{field: value for field, value in settings.items() if hasattr(found, field)})


def test_hindsight_goals_do_not_go_with_goals_that_are_seen():
    data = walks()
    with pytest.raises(
        UsageError, match="observations hold desired_goal, where the data was going.* --without desired_goal"
    ):
        api.pretrain(small("gcbc"), data, steps=1)
    left = transform.without(data, ["desired_goal"])
    assert dict(left.spec.observation).keys() == left.observations.keys() == {"achieved_goal", "observation"}
    assert left.provenance.transforms[-1] == "observations without desired_goal"
    with pytest.raises(UsageError, match="unknown array of observations 'desired'; did you mean 'desired_goal'"):
        transform.without(data, ["desired"])
    with pytest.raises(UsageError, match="no observations are left"):
        transform.without(data, list(data.observations))
    with pytest.raises(UsageError, match="observations are one array, of which no part has a name"):
        transform.without(data.replace("", observations=data.observations["observation"]), ["desired"])


@pytest.mark.parametrize(("name", "steps"), [("gciql", 600), ("qrl", 300)])
def test_goal_methods_reach_desired_goals(name, steps):
    """Also a quasimetric, of places alone; and online, on the goals that the environment sets."""
    data = transform.without(walks(), ["desired_goal"])
    quiet = {"log_every": 100, "eval_episodes": 0}
    model = api.pretrain(small(name, latent_size=8, alpha=0.03), data, steps=steps, env=TOWARDS, **quiet)
    assert model.spec.context.shape == (1,)
    reached = api.evaluate(model, env=TOWARDS, episodes=20)
    assert reached.success[0] > 0.7
    seen, goal = (
        map_arrays(np.asarray, {"observation": np.float32([[x, 0.0]]), "achieved_goal": np.float32([[x]])})
        for x in (-1.0, 1.0)
    )
    assert model.policy(seen, context=goal) > 0.3 > -0.3 > model.policy(goal, context=seen)
    if name == "gciql":
        after = api.finetune(model, env=TOWARDS, steps=20, collect=20, **quiet)
        assert after.steps == steps + 20


@pytest.mark.skipif(importlib.util.find_spec("gymnasium_robotics") is None, reason="needs gymnasium-robotics")
def test_point_mazes_of_gymnasium_robotics_set_goals():
    env = "PointMaze_UMaze-v3?goal=1"
    assert factory.sets_goals(env)
    assert dict(factory.spec(env).observation).keys() == {"achieved_goal", "observation"}

"""Skills as actions: data in decisions, and environments in which a decision is carried out step by step."""

from __future__ import annotations

import dataclasses
import functools

import gymnasium
import jax
import numpy as np
import pytest
from data_examples import make_episodes
from gymnasium import spaces

from headstart import api
from headstart.algos import registry
from headstart.artifact import Artifact, Skills
from headstart.data.dataset import Dataset
from headstart.data.normalize import Normalizer
from headstart.diagnostics.diagnose import diagnose
from headstart.envs.collect import collect
from headstart.envs.lanes import Lanes
from headstart.envs.skills import Held, SkillLanes
from headstart.errors import ArtifactError, UsageError
from headstart.spec import ArraySpec, Spec
from headstart.train.evaluate import evaluate

pytestmark = pytest.mark.usefixtures("quick_compilation")

ENV = "tests/Walk-v0"
GAMMA = 0.8
"""Per decision."""
C = 3


class Walk(gymnasium.Env):
    """On a line; the action is a move. The task ends at 5, which pays 10, or time runs out after `limit` steps. Each
    step costs its number. Beyond 4 the task counts as solved."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = spaces.Box(-2.0, 2.0, (1,), np.float32)

    def __init__(self, limit: int = 100):
        self.limit = limit

    def reset(self, *, seed=None, options=None):
        self.place, self.time = 0.0, 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.place += float(action[0])
        self.time += 1
        ended = self.place >= 5.0
        reward = 10.0 if ended else -float(self.time)
        info = {"success": self.place > 4.0}
        return np.float32([self.place]), reward, ended, self.time >= self.limit and not ended, info


@pytest.fixture(autouse=True)
def registered():
    gymnasium.register(ENV, Walk)
    yield
    del gymnasium.registry[ENV]


class Steady:
    """A low level that moves by its skill, and half as fast beyond 2, which only who sees every state can."""

    steps, size = C, 1

    def act(self, observations, skills):
        return np.where(observations > 2.0, 0.5, 1.0) * skills


# -- environments of decisions ----------------------------------------------------------------------------------------


def test_a_decision_is_carried_out_in_sight_of_every_state_and_pays_its_discounted_rewards():
    factor = GAMMA ** (1 / C)
    with SkillLanes(ENV, 2, Steady(), GAMMA) as lanes:
        assert lanes.action_space.shape == (1,)
        lanes.reset(0, 0)
        lanes.reset(1, 1)
        (lane, reward, terminated, success), (other, *_) = lanes.step(np.float32([[1.0], [-1.0]]))
        assert (lane, other, terminated, success) == (0, 1, False, False)
        np.testing.assert_allclose(reward, -(1 + 2 * factor + 3 * factor**2))
        # 1, 2, 3: then half a step at a time, though the skill is the same.
        np.testing.assert_allclose(lanes.observations, [[3.0], [-3.0]])
        lanes.step(np.float32([[1.0], [-1.0]]))
        np.testing.assert_allclose(lanes.observations, [[4.5], [-6.0]])
        assert lanes.elapsed.tolist() == [6, 6]


def test_a_task_that_ends_in_the_middle_of_a_decision_ends_it_there():
    factor = GAMMA ** (1 / C)
    with SkillLanes(ENV, 2, Steady(), GAMMA) as lanes:
        for lane in range(2):
            lanes.reset(lane, lane)
        lanes.step(np.float32([[1.0], [0.0]]))
        lanes.step(np.float32([[1.0], [0.0]]))
        (_, reward, terminated, success), (_, others, still, unsolved) = lanes.step(np.float32([[1.0], [0.0]]))
        # One step to 5.0 and no more; the other lane goes on to the end of its decision.
        assert (terminated, success, still, unsolved) == (True, True, False, False)
        assert reward == 10.0
        np.testing.assert_allclose(others, -(7 + 8 * factor + 9 * factor**2))
        assert lanes.running.tolist() == [False, True]
        assert lanes.elapsed.tolist() == [7, 9]
        assert not lanes.cut.any()


@pytest.mark.parametrize(("limit", "cut"), [(4, True), (6, False)])
def test_a_time_limit_is_no_end_and_says_where_it_cut_a_decision_short(limit, cut):
    with SkillLanes(f"{ENV}?limit={limit}", 1, Steady(), GAMMA) as lanes:
        lanes.reset(0, 0)
        lanes.step(np.float32([[0.5]]))
        ((_, reward, terminated, _),) = lanes.step(np.float32([[0.5]]))
        assert not terminated
        assert not lanes.running[0]
        assert lanes.cut.tolist() == [cut]
        steps = GAMMA ** (np.arange(C) / C) * np.arange(4, 7)
        np.testing.assert_allclose(reward, -steps[: limit - C].sum())
        lanes.reset(0, 1)
        lanes.step(np.float32([[0.5]]))
        assert not lanes.cut[0]


def test_a_lane_alone_is_carried_out_as_among_others():
    with SkillLanes(ENV, 2, Steady(), GAMMA) as together, SkillLanes(ENV, 2, Steady(), GAMMA) as alone:
        for lanes in (together, alone):
            lanes.reset(0, 0)
            lanes.reset(1, 1)
        skills = np.float32([[0.7], [0.3]])
        expected = together.step(skills)
        assert [(lane, *alone.step_lane(lane, skills[lane])) for lane in range(2)] == expected
        np.testing.assert_array_equal(alone.observations, together.observations)


def test_evaluation_plays_the_real_steps_and_holds_each_skill():
    asked = []

    def decide(observations):
        asked.append(observations[..., 0].tolist())
        return np.full((*observations.shape[:-1], 1), 1.0, np.float32)

    ((episode,),) = evaluate(decide, ENV, episodes=1, seed=0, low=Steady())
    # 1, 2, 3, 3.5, 4, 4.5, 5.
    assert (episode.length, episode.return_, episode.success) == (7, 10.0 - sum(range(1, 7)), True)
    assert asked == [[[0.0]], [[3.0]], [[4.5]]]


def test_collected_actions_are_those_of_the_environment():
    (episode,) = collect(lambda observations: np.ones((len(observations), 1, 1)), ENV, episodes=1, seed=0, low=Steady())
    np.testing.assert_array_equal(episode["actions"][:, 0], [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5])


def test_lanes_at_different_times_hold_their_own_skills():
    held = Held(lambda lanes: np.float32(lanes.observations) * 0 + lanes.elapsed[:, None] / 10, Steady())
    with Lanes(ENV, 2) as lanes:
        lanes.reset(0, 0)
        for _ in range(2):
            lanes.step(held(lanes))
        lanes.reset(1, 1)
        found = []
        for _ in range(4):
            found.append(held(lanes)[:, 0].tolist())
            lanes.step(held(lanes))
    np.testing.assert_allclose(found, [[0.0, 0.0], [0.3, 0.0], [0.3, 0.0], [0.3, 0.3]], atol=1e-7)


# -- models whose skills are actions ----------------------------------------------------------------------------------

SPEC = Spec((("", ArraySpec((3,))),), ArraySpec((2,), low=(-2.0, 0.0), high=(2.0, 1.0)))
SMALL = {"actor_widths": (8,), "critic_widths": (8,), "posterior_widths": (8,), "skill_size": 4, "chunk": C}


@functools.cache
def model(name="opal", seeds=(0,), spec=SPEC, **changes):
    """Of random weights."""
    algorithm = registry.algorithm(name)
    fields = {field.name for field in dataclasses.fields(algorithm)}
    settings = {field: value for field, value in SMALL.items() if field in fields} | changes
    algorithm = registry.algorithm(name, **settings)
    spec = algorithm.view().with_context(spec)
    rng = np.random.default_rng(seeds)
    shapes = jax.eval_shape(lambda key: algorithm.init(key, spec), jax.random.key(0))
    state = jax.tree.map(lambda leaf: rng.normal(size=(len(seeds), *leaf.shape)).astype(leaf.dtype), shapes)
    return Artifact(algorithm, spec, state, Normalizer.of(spec), seeds)


def data(lengths=(7, 3, 2, 6), ends=(True, False, True, False)):
    return Dataset.from_episodes(make_episodes(lengths, ends), SPEC)


@pytest.mark.parametrize(("name", "steps"), [("opal", None), ("hilp", 2), ("hiql", 4)])
def test_decisions_in_data_are_those_of_the_definition(name, steps):
    skills, raw = Skills(model(name), steps), data()
    c, factor = skills.steps, GAMMA ** (1 / skills.steps)
    found = skills.relabelled(raw, GAMMA)
    assert found.spec.action == ArraySpec((skills.size,), low=(-1.0,) * skills.size, high=(1.0,) * skills.size)
    assert f"decisions of {c} steps, by skills of {name}" in found.provenance.transforms[-1]
    episodes = iter(map(found.episode, range(found.episodes)))
    algorithm, normalizer = skills.artifact.algorithm, skills.artifact.normalizer
    state = jax.tree.map(lambda leaf: leaf[0], skills.artifact.state)
    for number in range(raw.episodes):
        whole = raw.episode(number)
        steps_of_it = len(whole["actions"])
        for offset in range(min(c, steps_of_it)):
            starts = list(range(offset, steps_of_it, c))
            # What a time limit cuts short is left out.
            if not whole["terminated"] and starts[-1] + c > steps_of_it:
                starts.pop()
            if not starts:
                continue
            episode = next(episodes)
            assert episode["terminated"] == whole["terminated"]
            places = [*starts, min(starts[-1] + c, steps_of_it)]
            np.testing.assert_array_equal(episode["observations"], whole["observations"][places])
            for i, start in enumerate(starts):
                at = np.minimum(np.arange(start, start + c), steps_of_it - 1)
                inside = np.arange(start, min(start + c, steps_of_it))
                reward = sum(factor**k * whole["rewards"][t] for k, t in enumerate(inside))
                np.testing.assert_allclose(episode["rewards"][i], reward, rtol=1e-5)
                skill = algorithm.skill_of(
                    state, whole["observations"][at][None], normalizer.action(whole["actions"][at])[None],
                    whole["observations"][[inside[-1] + 1]],
                )  # fmt: skip
                np.testing.assert_allclose(episode["actions"][i], skill[0], atol=1e-5)
    assert next(episodes, None) is None


def test_data_that_does_not_fit_is_refused():
    skills = Skills(model())
    with pytest.raises(UsageError, match="no episode lasts 3 steps, one skill"):
        skills.relabelled(data((2, 1), (False, False)), GAMMA)
    passive = dataclasses.replace(data(), actions=None, spec=dataclasses.replace(SPEC, action=None))
    with pytest.raises(UsageError, match="holds no actions, which skills are seen in"):
        skills.relabelled(passive, GAMMA)
    other = dataclasses.replace(SPEC, action=ArraySpec((3,)))
    with pytest.raises(UsageError, match=r"actions differ: the model of skills has float32\[2\], .* has float32\[3\]"):
        skills.relabelled(dataclasses.replace(data(), spec=other), GAMMA)


def test_skills_that_cannot_serve_are_refused():
    with pytest.raises(UsageError, match="iql has no low level whose skills could be actions"):
        Skills(model("iql"))
    with pytest.raises(UsageError, match="hilp does not say how long its skills last"):
        Skills(model("hilp"))
    with pytest.raises(UsageError, match="skills of this opal last 3 steps, not 4"):
        Skills(model(), 4)
    with pytest.raises(UsageError, match="trained without actions, and has no low level"):
        Skills(model("hilp", action_free=True), 4)
    pair = model(seeds=(3, 5))
    with pytest.raises(UsageError, match=r"skills are of 2 training seeds, 3, 5; choose one \(skill_seed\)"):
        Skills(pair)
    assert Skills.of(pair, seed=5).artifact.seeds == (5,)
    with pytest.raises(UsageError, match="training seed 4 is not among those of these skills: 3, 5"):
        Skills.of(pair, seed=4)
    for name, reason in (("hilp", "learns skills of its own"), ("qc", "decides on chunks of 5 actions")):
        with pytest.raises(UsageError, match=reason):
            Skills(model()).require(registry.algorithm(name))


@pytest.fixture(scope="module")
def above():
    """A model that decides on skills of OPAL."""
    quiet = {"eval_episodes": 0}
    return api.pretrain(registry.algorithm("iql", actor_widths=(8,), critic_widths=(8,), batch_size=16), data(),
                        skills=model(), steps=5, seeds=2, **quiet)  # fmt: skip


def test_a_model_above_acts_in_the_environment_through_its_skills(above):
    observations = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    skills = above.chunk(observations, member=1)[:, 0]
    assert skills.shape == (5, 4)
    actions = above.policy(observations, member=1)
    np.testing.assert_allclose(actions, above.skills.policy(observations, skills), atol=1e-6)
    assert (actions >= [-2.0, 0.0]).all()
    assert (actions <= [2.0, 1.0]).all()
    one = above.policy(observations[2], member=1)
    np.testing.assert_allclose(one, actions[2], atol=1e-5)
    assert above.act(np.stack([observations, observations])).shape == (2, 5, 4)
    assert above.env_spec == SPEC
    with pytest.raises(UsageError, match=r"skill has shape \(3,\), expected \(4,\)"):
        above.skills.policy(observations[0], np.zeros(3))


def test_few_and_many_observations_are_acted_on_alike(above):
    observations = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    skills = np.random.default_rng(1).uniform(-1, 1, (40, 4)).astype(np.float32)
    many = above.skills.act(observations, skills)
    few = np.concatenate([above.skills.act(observations[i : i + 8], skills[i : i + 8]) for i in range(0, 40, 8)])
    np.testing.assert_allclose(few, many, atol=1e-5)


def test_the_low_level_is_kept_with_the_model_and_checked(above, tmp_path):
    above.save(tmp_path / "high")
    read = Artifact.load(tmp_path / "high")
    assert read.digest == above.digest
    assert read.skills.to_json() == above.skills.to_json()
    assert read.digest != dataclasses.replace(above, skills=None).digest
    # The low level is an artifact of its own.
    assert Artifact.load(tmp_path / "high" / "skills").digest == model().digest
    other = model(spec=SPEC, seeds=(1,))
    other.save(tmp_path / "high" / "skills", overwrite=True)
    with pytest.raises(ArtifactError, match=r"skills/artifact.json was changed or damaged"):
        Artifact.load(tmp_path / "high")


def test_going_on_keeps_the_skills(above, capsys):
    quiet = {"eval_episodes": 0, "steps": 3}
    on = api.finetune(above, data=data(), **quiet)
    assert on.skills is above.skills
    assert "skills of opal, 3 steps each, frozen" in capsys.readouterr().err
    bc = registry.algorithm("bc", actor_widths=(8,), policy_kind="gaussian")
    clone = api.finetune(above, data=data(), algorithm=bc, **quiet)
    assert clone.skills is above.skills
    assert clone.spec.action.shape == (4,)
    with pytest.raises(UsageError, match="the artifact acts by skills of its own, which stay"):
        api.finetune(above, data=data(), skills=model("hilp"), **quiet)
    with pytest.raises(UsageError, match="the nets of opal are made for the environment's actions, not for skills"):
        api.finetune(model(), algorithm="bc", data=data(), skills=model(), **quiet)


def test_a_model_above_is_not_diagnosed_by_values_of_actions(above):
    with pytest.raises(UsageError, match="decides on skills.*judge this one by `headstart evaluate`"):
        diagnose(above, data())


def test_a_prior_over_skills_starts_the_actor_that_decides_on_them():
    sac = registry.algorithm("sac", actor_widths=(8,), critic_widths=(8,))
    started = api.finetune(
        model(), algorithm=sac, skills=model(), components={"actor": "prior"}, freeze=["actor"], data=data(), steps=2,
        eval_episodes=0,
    )  # fmt: skip
    observations = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    np.testing.assert_allclose(started.policy(observations), model().policy(observations), atol=1e-5)

"""The contract of `SkillAlgorithm`, held by everything in the registry that learns skills."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from problems import DIMENSIONS, ROWS, make_batch
from test_algorithms import made, same

from headstart.algos import registry

pytestmark = pytest.mark.usefixtures("quick_compilation")

NAMES = [name for name, make in registry.ALGORITHMS.items() if make().view().skill]


@pytest.fixture(params=NAMES)
def run(request):
    return made(request.param)


def test_skills_towards_goals_are_inputs_of_the_policy(run):
    algorithm, state = run.algorithm, run.states[-1]
    goal = run.batch.next_observation
    skills = jax.jit(algorithm.towards)(state, run.batch.observation, goal)
    assert skills.shape == (ROWS, *run.spec.context.shape)
    # Unit vectors, or of length sqrt(k), all of them.
    np.testing.assert_allclose(np.linalg.norm(skills, axis=-1), np.linalg.norm(skills[0]), rtol=1e-4)
    assert np.abs(skills - skills[0]).max() > 1e-3
    act = algorithm.policy(state)
    assert not same(act(run.batch.observation, None, skills), act(run.batch.observation, None, -skills))


def test_the_skill_of_rewards_is_one_vector_that_turns_with_them(run):
    algorithm, state = run.algorithm, run.states[-1]
    features = np.asarray(jax.jit(algorithm.features)(state, run.batch.observation), np.float64)
    rewards = np.random.default_rng(0).normal(size=ROWS)
    skill, other = algorithm.skill(features, rewards), algorithm.skill(features, -3.0 * rewards)
    assert skill.shape == run.spec.context.shape
    np.testing.assert_allclose(skill, -other, atol=1e-9)
    length = np.linalg.norm(jax.jit(algorithm.towards)(state, run.batch.observation, run.batch.observation[::-1])[0])
    np.testing.assert_allclose(np.linalg.norm(skill), length, rtol=1e-4)


def test_nets_told_a_skill_are_those_of_the_learner_and_do_the_same(run):
    algorithm, state = run.algorithm, run.states[-1]
    learner, spec = algorithm.learner(), dataclasses.replace(run.spec, context=None)
    nets_, targets = algorithm.at_skill(state, np.full(run.spec.context.shape, 0.5, np.float32))
    fresh = jax.eval_shape(lambda key: learner.init(key, spec), jax.random.key(0))
    form = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)  # noqa: E731
    assert form((nets_, targets)) == form((fresh.nets, fresh.targets))
    told = learner.policy(dataclasses.replace(state, nets=nets_))(run.batch.observation)
    skills = np.full((ROWS, *run.spec.context.shape), 0.5, np.float32)
    np.testing.assert_allclose(told, algorithm.policy(state)(run.batch.observation, None, skills), atol=1e-5)


# -- low levels, whose skills are the actions of others ---------------------------------------------------------------

LOW_LEVELS = [name for name, make in registry.ALGORITHMS.items() if hasattr(make(), "low_level")]


@pytest.fixture(params=LOW_LEVELS)
def low(request):
    return made(request.param)


def stretches(run, length=3):
    """(along, action, reached) of as many steps as the algorithm's chunk, or three."""
    chunk = run.algorithm.view().chunk
    batch = run.batch if chunk > 1 else make_batch(run.spec, chunk=length)
    return batch.chunk_observation, batch.action, batch.next_observation


def test_skills_of_stretches_lie_between_the_bounds_of_actions_and_are_inputs_of_the_low_level(low):
    algorithm, state = low.algorithm, low.states[-1]
    skills = jax.jit(algorithm.skill_of)(state, *stretches(low))
    assert skills.shape[:-1] == (ROWS,)
    assert np.abs(skills).max() <= 1.0
    assert np.abs(skills - skills[0]).max() > 1e-3
    act = algorithm.low_level(state)
    observation = low.batch.observation
    actions = act(observation, None, skills)
    assert actions.shape == (ROWS, DIMENSIONS)
    assert np.abs(actions).max() <= 1.0
    assert not same(actions, act(observation, None, -skills))
    assert np.isfinite(act(observation, None, np.zeros_like(skills))).all()


@pytest.mark.parametrize("name", ["fb", "hilp"])
def test_low_levels_that_go_by_directions_do_what_the_skill_does(name):
    run = made(name)
    skills = np.asarray(run.algorithm.towards(run.states[-1], run.batch.observation, run.batch.next_observation))
    act, low = run.algorithm.policy(run.states[-1]), run.algorithm.low_level(run.states[-1])
    told = act(run.batch.observation, None, skills)
    for scale in (0.1, 1.0):
        short = scale * skills / np.linalg.norm(skills, axis=-1, keepdims=True)
        np.testing.assert_allclose(low(run.batch.observation, None, short), told, atol=1e-4)


def test_hiqls_low_level_does_what_hiql_does_towards_the_subgoal_of_its_high_level():
    run = made("hiql")
    state, observation = run.states[-1], run.batch.observation
    goals = run.batch.context
    subgoal = state.nets["high_actor"].mean(np.concatenate([observation, goals], -1))
    found = run.algorithm.low_level(state)(observation, None, subgoal)
    np.testing.assert_allclose(found, run.algorithm.policy(state)(observation, None, goals), atol=1e-5)

"""The contract of `SkillAlgorithm`, held by everything in the registry that learns skills."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from problems import ROWS
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

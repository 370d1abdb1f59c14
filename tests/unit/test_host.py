"""Policies in NumPy: the same actions as the compiled ones."""

import dataclasses

import jax
import numpy as np
import pytest
from models import ALGORITHMS, DISCRETE, HIGH, LOW, NAMED, SPEC, model

from headstart import nets
from headstart.algos import registry
from headstart.algos.iql import IQL
from headstart.algos.td3bc import TD3BC
from headstart.data.normalize import Normalizer
from headstart.errors import UsageError
from headstart.nets.host import on_host
from headstart.train import acting

KINDS = {
    "tanh_gaussian": ALGORITHMS["sac"],
    "gaussian": IQL(actor_widths=(16,)),
    "norm": ALGORITHMS["bc"],
    "deterministic": TD3BC(actor_widths=(8, 8)),
    "unit_gaussian": registry.algorithm("gcbc", actor_widths=(8, 8)),
}


def two(name):
    """Two members, and observations and contexts for them, (2, 3, ...)."""
    algorithm = KINDS[name]
    normalizer = Normalizer(
        np.array([1.0, 0.0, -1.0], np.float32), np.array([2.0, 1.0, 0.5], np.float32),
        np.array([0.0, 0.5], np.float32), np.array([2.0, 0.5], np.float32),
    )  # fmt: skip
    spec = algorithm.view().with_context(SPEC)
    artifact = model(algorithm, spec, seeds=(0, 1), normalizer=normalizer)
    rng = np.random.default_rng(3)
    observations = rng.normal(size=(2, 3, 3)).astype(np.float32)
    context = None if spec.context is None else rng.normal(size=(2, 3, 3)).astype(np.float32)
    return artifact, observations, context


@pytest.mark.parametrize("name", KINDS)
def test_samples_and_likeliest_actions_are_those_of_the_compiled_policy(name):
    artifact, observations, context = two(name)
    policies = acting.policies(artifact.algorithm, artifact.state)
    keys = acting.keys_at(jax.random.split(jax.random.key(5), 2), 9)
    host = on_host(policies)
    noises = np.asarray(acting.noise_along(jax.random.split(jax.random.key(5), 2), np.array([8, 9]), (3, host[0].size)))
    for drawn in (None, keys):
        expected = acting.act(policies, artifact.normalizer, observations, keys=drawn, context=context)
        for i, policy in enumerate(host):
            noise = None if drawn is None else noises[1, i]
            told = None if context is None else context[i]
            actions = acting.act_on_host(policy, artifact.normalizer, observations[i], noise, told)
            np.testing.assert_allclose(actions, expected[i], atol=2e-6)
            assert actions.dtype == np.float32


@pytest.mark.parametrize("name", ["tanh_gaussian", "unit_gaussian"])
def test_a_sampler_gives_the_same_for_few_and_for_many(name, monkeypatch):
    artifact, observations, context = two(name)
    policies = acting.policies(artifact.algorithm, artifact.state)
    keys = jax.random.split(jax.random.key(5), 2)
    found = {}
    for few in (16, 0):
        monkeypatch.setattr(acting, "FEW", few)
        sampler = acting.Sampler(artifact.normalizer, keys, rows=3)
        sampler.follow(policies, np.array([40, 43, 46]))
        found[few] = np.stack([sampler(step, observations, context) for step in (40, 46)])
    np.testing.assert_allclose(found[16], found[0], atol=2e-6)
    assert (found[16][0] != found[16][1]).any(-1).all()


@pytest.mark.parametrize("name", ["tanh_gaussian", "gaussian", "deterministic"])
def test_an_artifact_samples_the_same_for_few_and_for_many(name, monkeypatch):
    artifact, observations, _ = two(name)
    found = {}
    for few in (16, 0):
        monkeypatch.setattr(acting, "FEW", few)
        found[few] = artifact.policy(observations[0], jax.random.key(7), member=1)
    np.testing.assert_allclose(found[16], found[0], atol=2e-6)


def test_an_artifact_samples_by_a_numpy_generator():
    artifact, observations, _ = two("gaussian")
    found = artifact.policy(observations[0], np.random.default_rng(7), member=1)
    noise = np.random.default_rng(7).standard_normal(found.shape, np.float32)
    policy = on_host(acting.policies(artifact.algorithm, artifact.state))[1]
    np.testing.assert_array_equal(found, acting.act_on_host(policy, artifact.normalizer, observations[0], noise))
    rng = np.random.default_rng(7)
    draws = [artifact.policy(observations[0], rng, member=1) for _ in range(2)]
    np.testing.assert_array_equal(draws[0], found)
    assert (draws[1] != found).any(-1).all()


@pytest.mark.parametrize("name", ["gaussian", "flow"])
def test_many_observations_and_compiled_policies_take_a_generator_too(name):
    rows = 20 if name == "gaussian" else 3
    artifact = model(ALGORITHMS["fql"]) if name == "flow" else two(name)[0]
    observations = np.zeros((rows, 3), np.float32)
    first, again = (artifact.policy(observations, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (first != artifact.policy(observations, np.random.default_rng(8))).any()


@pytest.mark.parametrize("key", [0, "seed", np.random])
def test_what_is_neither_key_nor_generator_is_refused(key):
    artifact, observations, _ = two("gaussian")
    with pytest.raises(UsageError, match=r"give a PRNG key \(jax.random.key\), a NumPy generator or None"):
        artifact.policy(observations[0], key)


def test_what_a_step_draws_does_not_depend_on_the_round_it_is_in():
    artifact, observations, _ = two("gaussian")
    policies = acting.policies(artifact.algorithm, artifact.state)
    sampler = acting.Sampler(artifact.normalizer, jax.random.split(jax.random.key(5), 2), rows=3)
    found = []
    for steps in ([4, 5, 6], [6, 7, 8]):
        sampler.follow(policies, np.array(steps))
        found.append(sampler(6, observations))
    np.testing.assert_array_equal(*found)


def test_named_observations_and_bytes_are_joined_like_the_compiled_policy_does():
    artifact = model(dataclasses.replace(ALGORITHMS["iql"], critic_widths=(8,)), NAMED)
    rng = np.random.default_rng(0)
    observation = {"achieved": rng.normal(size=(2, 2)), "pixels": rng.integers(0, 256, (2, 4, 4, 1)).astype(np.uint8)}
    observation["achieved"] = observation["achieved"].astype(np.float32)
    trunk = nets.MLP(18, (8,), 2, jax.random.key(0))
    policies = jax.tree.map(lambda leaf: leaf[None], nets.Policy(nets.GaussianActor(trunk, 2)))
    (policy,) = on_host(policies)
    expected = acting.act_one(policies, 0, artifact.normalizer, observation)
    found = acting.act_on_host(policy, artifact.normalizer, observation)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    assert found.min() >= np.min(LOW)
    assert found.max() <= np.max(HIGH)


@pytest.mark.parametrize("name", ["discrete_cql", "qc", "fql"])
def test_policies_of_other_kinds_stay_compiled(name):
    algorithm = ALGORITHMS[name]
    spec = DISCRETE if name == "discrete_cql" else SPEC
    artifact = model(algorithm, spec)
    assert on_host(acting.policies(algorithm, artifact.state)) is None


def test_an_artifact_acts_alike_for_one_observation_and_for_many():
    artifact, observations, _ = two("tanh_gaussian")
    many = np.repeat(observations[0], 10, 0)
    one = artifact.policy(observations[0][0], member=1)
    np.testing.assert_allclose(artifact.policy(many, member=1)[0], one, atol=2e-6)

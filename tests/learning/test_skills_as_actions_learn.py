"""Latent skills of stretches, and what decides on them, on a problem whose answers are known."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from training import SEEDS, train

from headstart.algos.bc import BC
from headstart.algos.iql import IQL
from headstart.algos.opal import OPAL
from headstart.artifact import Artifact, Skills
from headstart.data.dataset import Dataset
from headstart.data.normalize import Normalizer
from headstart.envs.tabular import chain

pytestmark = pytest.mark.usefixtures("quick_compilation")

C, N = 3, 6
CHAIN = dataclasses.replace(chain(N).endless, start=np.full(N, 1.0 / N))
STATES = CHAIN.one_hot(np.arange(N))


def walks(episodes, directions, seed=0):
    """Walks that go C steps to one side and then choose anew, by directions (-1, 1); a step onto the right end pays."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(episodes):
        place, side, places, actions = int(rng.integers(N)), 1, [], []
        for t in range(5 * C):
            if t % C == 0:
                side = rng.choice(directions)
            places.append(place)
            # Any number on that side of zero does it.
            actions.append([side * rng.uniform(0.2, 1.0)])
            place = int(np.clip(place + side, 0, N - 1))
        places.append(place)
        found.append(
            {
                "observations": CHAIN.one_hot(np.array(places)),
                "actions": np.array(actions, np.float32),
                "rewards": (np.array(places[1:]) == N - 1).astype(np.float32),
            }
        )
    return Dataset.from_episodes(found)


def artifact(algorithm, data, steps, skills=None):
    spec = algorithm.view().with_context(data.spec)
    states = train(algorithm, data, steps)
    return Artifact(algorithm, spec, states, Normalizer.of(spec), tuple(range(SEEDS)), skills=skills)


@pytest.fixture(scope="module")
def opal():
    settings = {"actor_widths": (32, 32), "posterior_widths": (32, 32), "batch_size": 64, "actor_lr": 3e-3}
    return artifact(OPAL(skill_size=2, chunk=C, beta=0.05, **settings), walks(60, [-1, 1]), 1500)


@pytest.fixture(scope="module")
def skills(opal):
    return Skills(opal.member(0))


def test_skills_tell_what_was_done_and_do_it_again(opal):
    for seed in range(SEEDS):
        skills = Skills(opal.member(seed))
        for side in (-1, 1):
            done = skills.relabelled(walks(10, [side], seed=1), 0.9)
            rows = done.transitions
            moves = skills.act(done.observations[rows], done.actions[rows])
            assert (np.sign(moves[:, 0]) == side).mean() > 0.95


def test_the_prior_expects_either_way(skills):
    drawn = [skills.artifact.policy(STATES[2:4], key=jax.random.key(i)) for i in range(50)]
    assert 0.2 < (np.concatenate(drawn) > 0).mean() < 0.8


def test_what_decides_on_skills_finds_the_way_and_what_it_is_worth(skills):
    data = skills.relabelled(walks(60, [-1, 1]), 0.8)
    settings = {"actor_widths": (16, 16), "critic_widths": (16, 16), "batch_size": 64, "tau": 0.05}
    iql = IQL(expectile=0.9, inverse_temperature=5.0, discount=0.8, actor_lr=3e-3, critic_lr=3e-3, **settings)
    model = artifact(iql, data, 700, skills)
    # A decision is worth its C discounted rewards and what follows, and the right end pays at every step.
    factor = 0.8 ** (1 / C)
    at_end = sum(factor**t for t in range(C)) / (1.0 - 0.8)
    exact = at_end * factor ** np.maximum(N - 2 - np.arange(N), 0)
    for seed in range(SEEDS):
        assert (model.policy(STATES, member=seed)[:, 0] > 0.0).all()
        value = jax.tree.map(lambda leaf, seed=seed: leaf[seed], model.state.nets["value"])
        np.testing.assert_allclose(value(STATES), exact, rtol=0.3)


def test_few_demonstrations_say_which_skills_to_choose(skills):
    demonstrations = skills.relabelled(walks(3, [1], seed=2), 0.9)
    clone = artifact(BC(actor_widths=(16, 16), batch_size=32, actor_lr=3e-3), demonstrations, 400, skills)
    for seed in range(SEEDS):
        assert (clone.policy(STATES, member=seed)[:, 0] > 0.0).all()

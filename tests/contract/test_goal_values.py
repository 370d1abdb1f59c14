"""The contract of `goal_value`, held by everything in the registry that has values of goals."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from problems import ROWS
from test_algorithms import made

from headstart.algos import registry

pytestmark = pytest.mark.usefixtures("quick_compilation")

NAMES = [name for name, make in registry.ALGORITHMS.items() if hasattr(make(), "goal_value")]


def test_every_algorithm_that_learns_values_of_goals_tells_them():
    assert {"crl", "gciql", "gcivl", "hilp", "hiql", "qrl"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_values_of_goals_are_one_number_a_row_and_depend_on_both(name):
    run = made(name)
    value = jax.jit(run.algorithm.goal_value)
    observations = np.asarray(run.batch.observation)
    goals = run.algorithm.view().goal.of(np.asarray(run.batch.next_observation))
    found = np.asarray(value(run.states[-1], observations, goals))
    assert found.shape == (ROWS,)
    assert np.isfinite(found).all()
    assert np.abs(found - value(run.states[-1], observations, goals[::-1])).max() > 1e-4
    assert np.abs(found - value(run.states[-1], observations[::-1], goals)).max() > 1e-4


@pytest.mark.parametrize("name", ["hilp", "qrl"])
def test_of_distances_the_goal_itself_is_the_nearest(name):
    run = made(name)
    observations = np.asarray(run.batch.observation)
    goals = run.algorithm.view().goal.of(observations)
    value = jax.jit(run.algorithm.goal_value)
    at_goal = value(run.states[-1], observations, goals)
    np.testing.assert_allclose(at_goal, 0.0, atol=2e-3)
    assert (np.asarray(value(run.states[-1], observations, goals[::-1])) < at_goal).all()

"""What is learned from observations alone, on a problem whose distances are known exactly."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from test_reaching_goals import CHAIN, GAMMA, distances, pairs
from training import SEEDS, collect, each, train

from headstart.algos import registry

pytestmark = pytest.mark.usefixtures("quick_compilation")

SETTINGS = {"critic_widths": (32, 32), "batch_size": 128, "critic_lr": 3e-3, "discount": GAMMA, "tau": 0.05}
OWN = {
    "icvf": {"expectile": 0.97},
    "gcivl": {"expectile": 0.97, "action_free": True},
    "hilp": {"expectile": 0.97, "skill_size": 4, "action_free": True},
}
STEPS = 1200


@pytest.mark.parametrize("name", list(OWN))
def test_goal_values_are_discounted_distances(name):
    """From walks that go either way alike, whose actions are not looked at: they are NaN."""
    data = collect(CHAIN, CHAIN.uniform, 200, 12, continuous=True)
    data = dataclasses.replace(data, actions=np.full_like(data.actions, np.nan), rewards=None)
    algorithm = registry.algorithm(name, **SETTINGS | OWN[name])
    states, goals = pairs(CHAIN)
    truth = -(1.0 - GAMMA ** distances(CHAIN)) / (1.0 - GAMMA)
    trained = train(algorithm, data, STEPS)
    found = each(trained, lambda state: algorithm.goal_value(state, states, goals)).reshape(SEEDS, *truth.shape)
    # A product of three small nets bends more than a perceptron of the pair.
    np.testing.assert_allclose(found, np.broadcast_to(truth, found.shape), atol=1.3 if name == "icvf" else 1.0)
    assert all(np.corrcoef(one.ravel(), truth.ravel())[0, 1] > 0.96 for one in found)

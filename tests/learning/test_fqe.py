"""Fitted Q evaluation against dynamic programming, by tables on one-hot observations."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from training import collect

from headstart.algos.bc import BC
from headstart.algos.fqe import FQE
from headstart.artifact import Artifact
from headstart.batch import Batch
from headstart.data.normalize import Normalizer
from headstart.diagnostics.exact import estimated
from headstart.envs.tabular import chain
from headstart.errors import UsageError
from headstart.selection import evaluation
from headstart.selection.evaluation import fitted_values
from headstart.spec import ArraySpec, Spec

pytestmark = pytest.mark.usefixtures("quick_compilation")

TABLE = {"critic_widths": (), "critic_layer_norm": False, "critic_lr": 0.02, "tau": 0.1, "batch_size": 64}


@pytest.fixture
def choosing(monkeypatch):
    """An artifact whose members act by tables of actions (S,) one a state, whatever its networks say."""

    def make(mdp, data, tables):
        algorithm = BC(actor_widths=(4,))
        keys = jax.random.split(jax.random.key(0), len(tables))
        state = jax.vmap(lambda key: algorithm.init(key, data.spec))(keys)
        artifact = Artifact(algorithm, data.spec, state, Normalizer.of(data.spec), tuple(range(len(tables))))

        def act(_, data):
            states = np.asarray(data.observations).argmax(-1)
            taken = np.stack([np.asarray(table)[states] for table in tables])
            if data.spec.action.discrete:
                return taken.astype(np.int32)
            # The middle of the action's part of [-1, 1].
            return ((2 * taken[..., None] + 1) / mdp.actions - 1).astype(np.float32)

        monkeypatch.setattr(evaluation, "chosen_actions", act)
        return artifact

    return make


@pytest.mark.parametrize("continuous", [False, True], ids=["discrete", "continuous"])
def test_values_are_those_of_dynamic_programming(choosing, continuous):
    """Cut-off data of a policy that goes either way; neither of the two that are evaluated is its. The truth is that of
    the problem as the data shows it, so that sampling error does not count."""
    mdp = chain(4, slip=0.1, discount=0.8)
    data = collect(mdp, mdp.uniform, 300, 8, continuous)
    shown, _ = estimated(mdp, data)
    policies = [np.array([1, 1, 1, 1]), np.array([1, 0, 1, 1])]
    # With continuous actions Q is a step in the action, which takes hidden layers.
    settings = TABLE | ({"critic_widths": (16, 16), "critic_lr": 5e-3} if continuous else {})
    found = fitted_values(choosing(mdp, data, policies), data, steps=3000, discount=mdp.discount, **settings)
    assert found.shape == (2, 2, data.episodes)
    for values, policy in zip(found, policies, strict=True):
        truth = mdp.start @ shown.evaluate(np.eye(mdp.actions)[policy])[0]
        np.testing.assert_allclose(values, truth, atol=0.05 if continuous else 0.03)


def test_targets_keep_within_the_returns_that_are_possible():
    spec = Spec((("", ArraySpec((3,))),), ArraySpec((), "int32", categories=2))
    algorithm = FQE(critic_widths=(), critic_layer_norm=False, critic_bias=5.0, highest=0.0, batch_size=4)
    state = algorithm.init(jax.random.key(0), spec)
    ones = np.ones(4, np.float32)
    batch = Batch(
        observation=np.zeros((4, 3), np.float32), action=np.zeros(4, np.int32), reward=ones, discount=ones,
        next_observation=np.zeros((4, 3), np.float32), next_action=np.ones(4, np.int32),
    )  # fmt: skip
    _, metrics = algorithm.update(state, batch, jax.random.key(0))
    # The target is 0, not 1 + 5.
    assert metrics["td_loss"] == pytest.approx(2 * 5.0**2)


def test_what_it_is_not_for():
    with pytest.raises(UsageError, match="has none of its own"):
        FQE().policy(None)
    with pytest.raises(UsageError, match="tau"):
        FQE(tau=1.5)

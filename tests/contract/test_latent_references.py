"""One update of both phases of latent actions against a second implementation in NumPy, as in `test_references`."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from problems import CONTINUOUS, DIMENSIONS, DISCRETE, ROWS, make_batch, small
from scipy import special, stats
from test_goal_references import join
from test_references import _fixed_numbers as _fixed_numbers
from test_references import check_gradients, close, mlp, normal_numbers, updated

pytestmark = pytest.mark.usefixtures("quick_compilation")

LATENT = 8


def normal(net, x):
    """Mean and standard deviation before tanh."""
    mean, raw = np.split(mlp(net.trunk, x), 2, -1)
    return mean, np.exp(np.clip(net.log_std_scale * raw + net.log_std_offset, -20.0, 2.0))


def read(inverse, s, s_next):
    """(B, k) the latent action drawn with the fixed noise."""
    mean, std = normal(inverse, join(s, s_next))
    return np.tanh(mean + std * normal_numbers((ROWS, LATENT)))


def test_latent_actions():
    lapo = small("lapo", beta=0.3)
    state, batch, after, metrics = updated(lapo)
    # What the passive phase must not look at.
    assert np.isnan(batch.action).all()
    s, s_next = batch.observation, batch.next_observation

    def terms(inverse, dynamics):
        expected = s + mlp(dynamics.trunk, join(s, read(inverse, s, s_next)))
        # The likeliest normal: its variance is the mean squared error, but for what counts as noise.
        std = np.sqrt(np.square(s_next - expected).mean(0) + np.exp(-10.0))
        likelihood = stats.norm.logpdf(s_next, expected, std).sum(-1)
        mean, std = normal(inverse, join(s, s_next))
        return likelihood.mean(), (0.5 * (std**2 + mean**2 - 1.0) - np.log(std)).sum(-1).mean()

    nets = {name: state.nets[name] for name in ("inverse", "dynamics")}

    def loss(**changed):
        likelihood, divergence = terms(**nets | changed)
        return 0.3 * divergence - likelihood

    likelihood, divergence = terms(**nets)
    close(metrics["log_likelihood"], likelihood)
    close(metrics["divergence"], divergence)
    close(metrics["model_loss"], loss())
    for name in nets:
        check_gradients(lambda net, name=name: loss(**{name: net}), state, after, name)

    z = np.clip(read(state.nets["inverse"], s, s_next), -1.0 + 1e-3, 1.0 - 1e-3)

    def actor_loss(actor):
        mean, std = normal(actor, s)
        return -(stats.norm.logpdf(np.arctanh(z), mean, std) - np.log(1.0 - z**2)).sum(-1).mean()

    close(metrics["actor_loss"], actor_loss(state.nets["latent_actor"]))
    check_gradients(actor_loss, state, after, "latent_actor")


@pytest.mark.parametrize("spec", [CONTINUOUS, DISCRETE], ids=["continuous", "discrete"])
def test_their_decoder(spec, monkeypatch):
    lapo = small("lapo", decode=True)
    monkeypatch.setattr("test_references.spec_of", lambda _: spec)
    state, batch, after, metrics = updated(lapo)
    # All else stands still.
    assert state.opt_state.keys() == {"decoder"}
    assert after.nets.keys() == {"inverse", "latent_actor", "decoder"}
    s, action = batch.observation, batch.action
    features = join(s, read(state.nets["inverse"], s, batch.next_observation))

    def decoder_loss(net):
        found = mlp(net.trunk, features)
        if spec is CONTINUOUS:
            assert found.shape == (ROWS, DIMENSIONS)
            return np.square(np.tanh(found) - action).mean()
        return -special.log_softmax(found, -1)[np.arange(ROWS), action.astype(int)].mean()

    close(metrics["decoder_loss"], decoder_loss(state.nets["decoder"]))
    check_gradients(decoder_loss, state, after, "decoder")
    for name in ("inverse", "latent_actor"):
        assert all(
            (a == b).all() for a, b in zip(*map(jax.tree.leaves, (state.nets[name], after.nets[name])), strict=True)
        )


def test_passive_batches_may_lack_actions_altogether():
    lapo = small("lapo")
    spec = lapo.view().with_context(CONTINUOUS)
    batch = make_batch(spec)
    state = jax.eval_shape(lambda key: lapo.init(key, spec), jax.random.key(0))
    jax.eval_shape(lapo.update, state, dataclasses.replace(batch, action=None, reward=None), jax.random.key(0))

"""`CQL.gradient_samples`: the mean over draws is the exact gradient, the reported losses are those of all actions."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import CONTINUOUS, ROWS, make_batch, small
from scipy import special

from headstart import nets, optim
from headstart.losses import conservative

pytestmark = pytest.mark.usefixtures("quick_compilation")

KEYS = 400


def close_in_the_mean(found, expected, floor=1e-5):
    """found: (KEYS, ...) draws whose mean is `expected`, within five of its standard errors."""
    error = found.std(0, ddof=1) / np.sqrt(len(found))
    assert (np.abs(found.mean(0) - expected) <= 5.0 * error + floor).all()


# -- one term, against NumPy ------------------------------------------------------------------------------------------


def test_the_mean_gradient_is_the_softmax_of_what_the_bound_leaves():
    """grad log sum exp(max(Q, V) - log density) = sum of softmax_i * [Q_i > V] * grad Q_i, of an output layer."""
    rng = np.random.default_rng(0)
    critic = nets.Ensemble.of(lambda key: nets.Critic(nets.MLP(5, (8,), 1, key)), 2, jax.random.key(0))
    features, actions = rng.normal(size=(6, 3)), rng.uniform(-1.0, 1.0, size=(6, 5, 2))
    reference, log_density = rng.normal(size=6), rng.normal(size=(6, 4))
    features, actions, reference, log_density = (
        jnp.asarray(array, jnp.float32) for array in (features, actions, reference, log_density)
    )

    def gradient(key):
        def loss(critic):
            uniform = jax.random.uniform(key, (6,))
            q = optim.values_with_sampled_gradient(2, critic, features, actions, uniform)[..., 1:]
            return conservative.entropy(conservative.calibrated(q, reference), log_density).sum()

        return jax.grad(loss)(critic).members.trunk.output.weight[..., 0]

    found = np.asarray(jax.jit(jax.vmap(gradient))(jax.random.split(jax.random.key(1), KEYS)), np.float64)
    trunk = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), critic.members.trunk)
    inputs = np.concatenate([np.broadcast_to(features[:, None], (6, 5, 3)), actions], -1)[:, 1:]
    layer = trunk.hidden[0]
    hidden = np.maximum(np.einsum("bni,eio->ebno", inputs, layer.weight) + layer.bias[:, None, None], 0.0)
    q = np.einsum("ebno,eo->ebn", hidden, trunk.output.weight[..., 0]) + trunk.output.bias[:, None]
    softmax = special.softmax(np.maximum(q, reference[:, None]) - log_density, -1)
    left = q > reference[:, None]
    assert 0.2 < left.mean() < 0.8
    assert found.std(0).max() > 0.01
    close_in_the_mean(found, np.einsum("ebn,ebno->eo", softmax * left, hidden))


# -- whole updates, against all actions -------------------------------------------------------------------------------

FAMILY = {
    "Cal-QL": {"calibrated": True},
    "CQL(H) without importance weights, Lagrange": {"importance_weights": False, "lagrange": True},
    "CQL(rho), calibrated": {"regulariser": "kl", "prior": "policy", "calibrated": True},
    "chi-square": {"regulariser": "chi_square"},
}


@pytest.fixture
def updates(monkeypatch):
    """`updates(settings, batch)` -> (first moments of the critic's Adam (KEYS, P), metrics (KEYS,)) after one update of
    one random state, in which the sampled actions are fixed and the draws of the gradient vary."""
    drawn = jax.random.uniform

    def normal(key, shape=()):
        return jnp.asarray(np.random.default_rng(11).normal(size=shape), jnp.float32)

    def uniform(key, shape=(), minval=0.0, maxval=1.0):
        if shape == (ROWS,):
            return drawn(key, shape)
        return jnp.asarray(np.random.default_rng(12).uniform(minval, maxval, size=shape), jnp.float32)

    monkeypatch.setattr(jax.random, "normal", normal)
    monkeypatch.setattr(jax.random, "uniform", uniform)

    def updates(settings, batch):
        algorithm = small("cql", actions=3, **settings)
        state = algorithm.init(jax.random.key(0), CONTINUOUS)
        rng = np.random.default_rng(0)
        shaken = jax.tree.map(lambda leaf: leaf + jnp.asarray(rng.normal(size=leaf.shape), jnp.float32), state.nets)
        state = dataclasses.replace(state, nets=shaken)

        def update(key):
            after, metrics = algorithm.update(state, batch, key)
            moments = jax.tree.leaves(after.opt_state["critic"][0].mu)
            return jnp.concatenate([moment.ravel() for moment in moments]), metrics

        found = jax.jit(jax.vmap(update))(jax.random.split(jax.random.key(3), KEYS))
        return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), found)

    return updates


@pytest.mark.parametrize("variant", list(FAMILY))
def test_the_mean_update_is_that_of_all_actions(variant, updates):
    batch = make_batch(CONTINUOUS)
    exact, exact_metrics = updates(FAMILY[variant], batch)
    few, metrics = updates(FAMILY[variant] | {"gradient_samples": 2}, batch)
    many, _ = updates(FAMILY[variant] | {"gradient_samples": 64}, batch)
    assert metrics.keys() == exact_metrics.keys()
    for name, values in metrics.items():
        np.testing.assert_allclose(values, exact_metrics[name], rtol=1e-4, atol=1e-5, err_msg=name)
    if FAMILY[variant].get("calibrated"):
        assert 0.2 < metrics["bound_rate"].mean() < 0.8
    assert few.std(0).max() > 1e-3
    close_in_the_mean(few, exact[0])
    # 32 times as many draws, spread evenly: nearly all of the noise is gone.
    np.testing.assert_allclose(many, exact, atol=0.2 * few.std(0).max())


def test_values_under_the_bound_have_no_gradient(updates):
    """With returns that no policy action reaches, the uniform actions have no weight beside them either: the draws
    change nothing, and what is left is the gradient of all actions."""
    batch = dataclasses.replace(make_batch(CONTINUOUS), mc_return=np.full(ROWS, 1e3, np.float32))
    settings = {"calibrated": True}
    exact, metrics = updates(settings, batch)
    few, _ = updates(settings | {"gradient_samples": 2}, batch)
    assert (metrics["bound_rate"] == 1.0).all()
    assert (few == few[0]).all()
    np.testing.assert_allclose(few, exact, rtol=1e-4, atol=1e-5)

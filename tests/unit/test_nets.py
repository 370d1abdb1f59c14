"""Layers, encoders and heads against NumPy: initial weights, norms, dropout, shapes, bounds and frequencies."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from headstart import nets
from headstart.errors import UsageError
from headstart.nets.linear import orthogonal, standard
from headstart.spec import ArraySpec, Spec

pytestmark = pytest.mark.usefixtures("quick_compilation")

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
SPEC = Spec((("", ArraySpec((3,))),), ArraySpec((2,), low=(-1.0, -1.0), high=(1.0, 1.0)))


def linear(inputs, outputs, init, **options):
    return nets.Linear(inputs, outputs, standard(KEY, (inputs + 1) * outputs, init), init, **options)


def features(rows=6, size=3):
    return jnp.asarray(RNG.normal(size=(rows, size)), jnp.float32)


# -- layers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("inputs", "outputs"), [(8, 5), (5, 8), (6, 6)])
def test_orthogonal_weights_have_equal_singular_values(inputs, outputs):
    layer = linear(inputs, outputs, "orthogonal", gain=1.7)
    np.testing.assert_allclose(np.linalg.svd(layer.weight, compute_uv=False), 1.7, rtol=1e-5)
    assert (layer.bias == 0).all()


def test_glorot_and_torch_weights_fill_their_bounds():
    inputs, outputs = 40, 30
    glorot = linear(inputs, outputs, "glorot_uniform")
    torch = linear(inputs, outputs, "torch")
    bounds = {"glorot": np.sqrt(6.0 / (inputs + outputs)), "torch": 1.0 / np.sqrt(inputs)}
    for values, bound in [
        (glorot.weight, bounds["glorot"]), (torch.weight, bounds["torch"]), (torch.bias, bounds["torch"])
    ]:  # fmt: skip
        assert stats.kstest(np.ravel(values), stats.uniform(-bound, 2 * bound).cdf).pvalue > 0.01
        assert np.abs(values).max() <= bound
    assert (glorot.bias == 0).all()


def test_edac_starts_with_biases_of_a_tenth_and_small_outputs():
    mlp = nets.MLP(40, (30, 25), 20, KEY, init="edac", output_gain=3e-3)
    for layer, bound in zip(mlp.hidden, (1.0 / np.sqrt(40), 1.0 / np.sqrt(30)), strict=True):
        assert stats.kstest(np.ravel(layer.weight), stats.uniform(-bound, 2 * bound).cdf).pvalue > 0.01
        np.testing.assert_allclose(layer.bias, 0.1)
    for values in (mlp.output.weight, mlp.output.bias):
        assert stats.kstest(np.ravel(values), stats.uniform(-3e-3, 6e-3).cdf).pvalue > 0.01


def test_orthogonal_matrices_are_uniform():
    """Of uniformly distributed 2 x 2 orthogonal matrices half are rotations, and every angle is as likely."""
    drawn = jax.vmap(orthogonal)(jax.random.normal(KEY, (2000, 2, 2)))
    assert abs(np.mean(np.linalg.det(drawn) > 0) - 0.5) < 0.04
    angles = np.arctan2(drawn[:, 1, 0], drawn[:, 0, 0])
    assert stats.kstest(angles, stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 0.01


def test_large_layers_are_initialised_in_one_program():
    """LAPACK's QR, called for several layers by one compiled program, never came back on two cores."""
    critics = jax.jit(lambda key: nets.Ensemble.of(lambda k: nets.MLP(67, (512, 512, 512), 1, k), 2, key))(KEY)
    weight = np.asarray(critics.members.hidden[1].weight[1], np.float64)
    np.testing.assert_allclose(weight.T @ weight, 2.0 * np.eye(512), atol=1e-4)


def test_an_unknown_initialiser_is_refused():
    with pytest.raises(UsageError, match="unknown initialiser 'orthogonl'; did you mean 'orthogonal'?"):
        linear(2, 2, "orthogonl")


def test_layer_norm_is_numpys():
    norm = nets.LayerNorm(5)
    norm = eqx.tree_at(lambda n: (n.scale, n.offset), norm, (jnp.arange(1.0, 6.0), jnp.arange(5.0)))
    x = RNG.normal(size=(4, 5)) * 3.0 + 2.0
    expected = (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True) * np.arange(1, 6) + np.arange(5)
    np.testing.assert_allclose(norm(jnp.asarray(x, jnp.float32)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("layer_norm", "norm_last"), [(False, False), (True, False), (True, True)])
def test_a_perceptron_is_numpys(layer_norm, norm_last):
    mlp = nets.MLP(
        3, (7, 4), 2, KEY, layer_norm=layer_norm, norm_last=norm_last, output_gain=0.5, output_bias=3.0
    )  # fmt: skip
    x = np.asarray(features())
    h = x
    for layer in mlp.hidden:
        h = h @ layer.weight + layer.bias
        if norm_last:
            h = np.maximum(h, 0.0)
        if layer_norm:
            h = (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 1e-6)
        h = h if norm_last else np.maximum(h, 0.0)
    np.testing.assert_allclose(mlp(x), h @ mlp.output.weight + 3.0, rtol=1e-4, atol=1e-5)
    for layer, gain in [*((layer, np.sqrt(2.0)) for layer in mlp.hidden), (mlp.output, 0.5)]:
        np.testing.assert_allclose(np.linalg.svd(layer.weight, compute_uv=False), gain, rtol=1e-5)
    assert (mlp.output.bias == 3.0).all()


@pytest.mark.parametrize("widths", [(), (6,)])
def test_an_input_in_parts_is_their_concatenation(widths):
    mlp = nets.MLP(9, widths, 2, KEY, init="torch")
    state, action, time = RNG.normal(size=(4, 1, 3)), RNG.normal(size=(4, 7, 5)), RNG.normal(size=(1, 1, 1))
    whole = np.concatenate([np.broadcast_to(part, (4, 7, part.shape[-1])) for part in (state, action, time)], -1)
    found = mlp(*(jnp.asarray(part, jnp.float32) for part in (state, action, time)))
    np.testing.assert_allclose(found, mlp(jnp.asarray(whole, jnp.float32)), rtol=1e-4, atol=1e-5)


def test_dropout_acts_only_with_a_key_and_keeps_the_mean():
    mlp = nets.MLP(3, (400,), 1, KEY, dropout=0.25)
    x = features(1)
    call = jax.jit(lambda net, x, key=None: net(x, key=key))
    outputs = np.asarray(jax.jit(jax.vmap(lambda key: mlp(x, key=key)))(jax.random.split(KEY, 500)))
    assert outputs.std() > 0
    error = 4 * outputs.std() / np.sqrt(500)
    assert abs(outputs.mean() - call(mlp, x).item()) < error
    # A quarter of the hidden units is zero, the rest grows by 4 / 3.
    flat = eqx.tree_at(lambda m: (m.hidden[0].weight, m.output.weight), mlp, (jnp.ones((3, 400)), jnp.eye(400)))
    flat = eqx.tree_at(lambda m: m.output.bias, flat, jnp.zeros(400))
    hidden = np.asarray(call(flat, jnp.ones((200, 3)), KEY))
    np.testing.assert_allclose(np.unique(hidden), [0.0, 4.0])
    assert abs((hidden == 0).mean() - 0.25) < 0.01
    # The same key drops the same units; a rate of zero none.
    assert call(mlp, x, KEY) == call(mlp, x, KEY)
    still = nets.MLP(3, (400,), 1, KEY)
    assert call(still, x, KEY) == call(still, x) == call(mlp, x)


# -- encoders ---------------------------------------------------------------------------------------------------------


def test_flatten_concatenates_in_the_order_of_names_with_the_context_last():
    observation = {"b": np.ones((2, 2, 2), np.float32), "a": np.full((2, 1), 2.0, np.float32)}
    context = np.full((2, 2), 3.0, np.float32)
    expected = [[2.0, 1.0, 1.0, 1.0, 1.0, 3.0, 3.0]] * 2
    np.testing.assert_array_equal(nets.flatten(observation, context), expected)


def test_flatten_scales_bytes():
    pixels = np.array([[[0, 51], [255, 102]]], np.uint8)
    found = nets.flatten({"image": pixels, "speed": np.array([[9.0]], np.float32)})
    np.testing.assert_allclose(found, [[0.0, 0.2, 1.0, 0.4, 9.0]], rtol=1e-6)
    assert found.dtype == jnp.float32


def test_flatten_order_agrees_with_the_spec():
    spec = Spec((("a", ArraySpec((1,))), ("b", ArraySpec((2, 2)))), SPEC.action, ArraySpec((3,)))
    assert nets.flatten(spec.zeros(4), np.zeros((4, 3), np.float32)).shape == (4, spec.input_size)


# -- heads ------------------------------------------------------------------------------------------------------------


def loud(actor):
    """The actor with its outputs far outside the bounds."""
    return eqx.tree_at(lambda a: a.trunk.output.weight, actor, actor.trunk.output.weight * 1e4)


def actors():
    trunk = nets.MLP(3, (8,), 2, KEY)
    return {
        "tanh_gaussian": nets.tanh_gaussian_actor(SPEC, (8,), KEY),
        "gaussian": nets.GaussianActor(trunk, 2),
        "deterministic": nets.DeterministicActor(trunk, 0.5),
    }


@pytest.mark.parametrize("name", list(actors()))
def test_continuous_actors_keep_the_bounds(name):
    for actor in (actors()[name], loud(actors()[name])):
        policy = nets.Policy(actor)
        act = jax.jit(lambda x, key=None, policy=policy: policy(x, key))
        for action in (act(features(50)), act(features(50), KEY)):
            assert action.shape == (50, 2)
            assert action.dtype == jnp.float32
            assert np.abs(action).max() <= 1.0
    quiet = jax.jit(nets.Policy(actors()[name]).__call__)
    x = features()
    assert (quiet(x) == quiet(x)).all()
    assert (quiet(x, KEY) == quiet(x, KEY)).all()
    assert (quiet(x, KEY) != quiet(x, jax.random.key(1))).any()


def test_the_tanh_gaussian_actor_starts_as_published():
    """Mean about 0 and log standard deviation about -1, clipped to [-20, 2]."""
    actor = nets.tanh_gaussian_actor(SPEC, (8,), KEY)
    mean, log_std = actor.parameters(features())
    assert np.abs(mean).max() < 0.1
    np.testing.assert_allclose(log_std, -1.0, atol=0.1)
    _, log_std = loud(actor).parameters(features(100))
    assert log_std.min() == -20.0
    assert log_std.max() == 2.0
    assert actor.size == 2


def test_sampled_density_is_that_of_the_action():
    actor = nets.tanh_gaussian_actor(SPEC, (8,), KEY)
    x = features(20)
    action, log_prob = actor.sample_with_log_prob(x, KEY)
    np.testing.assert_allclose(log_prob, actor.log_prob(x, action), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(action, actor.sample(x, KEY))


def test_the_gaussian_actors_density_is_scipys():
    actor = eqx.tree_at(lambda a: a.log_std, actors()["gaussian"], jnp.asarray([-0.5, -9.0]))  # the second is clipped
    x, action = features(), jnp.asarray(RNG.uniform(-1, 1, (6, 2)), jnp.float32)
    expected = stats.norm.logpdf(action, np.tanh(actor.trunk(x)), np.exp([-0.5, -5.0])).sum(-1)
    np.testing.assert_allclose(actor.log_prob(x, action), expected, rtol=1e-4)


def test_the_categorical_actor_samples_its_softmax():
    trunk = eqx.tree_at(lambda m: m.output.bias, nets.MLP(3, (4,), 3, KEY), jnp.asarray([0.0, 1.0, -1.0]))
    actor = nets.CategoricalActor(eqx.tree_at(lambda m: m.output.weight, trunk, jnp.zeros((4, 3))))
    x = features(3000)
    probabilities = np.exp([0.0, 1.0, -1.0]) / np.exp([0.0, 1.0, -1.0]).sum()
    drawn = actor.sample(x, KEY)
    assert drawn.dtype == jnp.int32
    assert stats.chisquare(np.bincount(drawn, minlength=3), 3000 * probabilities).pvalue > 0.01
    assert (actor.mode(x) == 1).all()
    np.testing.assert_allclose(actor.log_prob(x, drawn), np.log(probabilities)[drawn], rtol=1e-5)


def greedy_actor(values, epsilon=0.3):
    """An actor whose critics have the same values (E, A) in every state."""
    values = jnp.asarray(values)
    count = values.shape[1]
    critic = nets.Ensemble.of(lambda key: nets.DiscreteCritic(nets.MLP(3, (4,), count, key)), len(values), KEY)
    zero = jax.tree.map(jnp.zeros_like, critic)
    return nets.GreedyActor(eqx.tree_at(lambda c: c.members.trunk.output.bias, zero, values), epsilon)


def test_the_greedy_actor_takes_the_best_of_the_smallest_values():
    actor = greedy_actor([[5.0, 1.0, 2.0], [0.0, 1.0, 3.0]])
    assert actor.mode(features()).tolist() == [2] * 6  # minima 0, 1, 2
    assert actor.mode(features()).dtype == jnp.int32


def test_the_greedy_actor_explores_with_probability_epsilon():
    actor = greedy_actor([[0.0, 1.0, 0.0]], epsilon=0.3)
    drawn = actor.sample(features(4000), KEY)
    assert drawn.dtype == jnp.int32
    assert stats.chisquare(np.bincount(drawn, minlength=3), 4000 * np.array([0.1, 0.8, 0.1])).pvalue > 0.01


def test_ensemble_members_are_independent():
    ensemble = jax.jit(lambda key: nets.critic_ensemble(SPEC, (8,), 3, key))(KEY)
    x, action = features(), jnp.zeros((6, 2))
    q = np.asarray(jax.jit(lambda *inputs: ensemble(*inputs))(x, action))
    assert q.shape == (3, 6)
    assert ensemble.size == 3
    for i in range(3):
        member = jax.tree.map(lambda leaf, i=i: leaf[i], ensemble.members)
        np.testing.assert_allclose(q[i], member(x, action), rtol=1e-5)
    assert len(np.unique(np.round(q[:, 0], 6))) == 3
    grads = jax.jit(jax.grad(lambda e: e(x, action)[1].sum()))(ensemble)
    for leaf in map(np.asarray, jax.tree.leaves(grads)):
        assert (leaf[0] == 0).all()
        assert (leaf[2] == 0).all()
    assert any((np.asarray(leaf)[1] != 0).any() for leaf in jax.tree.leaves(grads))
    subset = jax.jit(lambda which: ensemble.subset(which)(x, action))(np.array([2, 0]))
    np.testing.assert_allclose(subset, q[[2, 0]], rtol=1e-5)


def test_critics_take_many_actions_a_state():
    ensemble = jax.jit(lambda key: nets.critic_ensemble(SPEC, (8,), 2, key))(KEY)
    x, actions = features(4), jnp.asarray(RNG.uniform(-1, 1, (4, 5, 2)), jnp.float32)
    together = ensemble(jnp.broadcast_to(x[:, None], (4, 5, 3)), actions)
    assert together.shape == (2, 4, 5)
    for n in range(5):
        np.testing.assert_allclose(together[..., n], ensemble(x, actions[:, n]), rtol=1e-5, atol=1e-6)


def test_values_drop_the_last_axis():
    assert nets.Value(nets.MLP(3, (4,), 1, KEY, output_bias=-7.0, output_gain=0.0))(features()).tolist() == [-7.0] * 6

"""Adam, moving averages and gradients in chunks against NumPy and the plain gradient."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from headstart import nets, optim

pytestmark = pytest.mark.usefixtures("quick_compilation")

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("decay_steps", [0, 4])
def test_adam_is_kingma_and_bas(decay_steps):
    optimizer = optim.adam(0.1, decay_steps)
    params = {"w": jnp.asarray([1.0, -2.0, 3.0])}
    opt_state = optimizer.init(params)
    w, m, v = np.array([1.0, -2.0, 3.0]), 0.0, 0.0
    for t in range(1, 6):
        grad = RNG.normal(size=3)
        params, opt_state = optim.step(optimizer, {"w": jnp.asarray(grad, jnp.float32)}, opt_state, params)
        m, v = 0.9 * m + 0.1 * grad, 0.999 * v + 0.001 * grad**2
        # Cosine decay by the number of updates done before, held at zero afterwards.
        rate = 0.1 * (0.5 * (1 + np.cos(np.pi * min(t - 1, decay_steps) / decay_steps)) if decay_steps else 1.0)
        w = w - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        np.testing.assert_allclose(params["w"], w, rtol=1e-5)


def test_polyak_moves_a_share():
    target, online = {"a": jnp.asarray([0.0, 10.0])}, {"a": jnp.asarray([1.0, 0.0])}
    np.testing.assert_allclose(optim.polyak(target, online, 0.25)["a"], [0.25, 7.5])
    np.testing.assert_array_equal(optim.polyak(target, online, 1.0)["a"], online["a"])
    np.testing.assert_array_equal(optim.polyak(target, online, 0.0)["a"], target["a"])


@pytest.mark.parametrize(("rows", "chunks"), [(256, 8), (90, 3), (61, 1), (16, 1)])
def test_chunks_give_the_plain_gradient(rows, chunks):
    per_row = 31
    params = {"w": jnp.asarray(RNG.normal(size=(4, 1)), jnp.float32), "b": jnp.zeros(1)}
    inputs = (
        jnp.asarray(RNG.normal(size=(rows, 4)), jnp.float32),
        {"y": jnp.asarray(RNG.normal(size=rows), jnp.float32)},
    )

    def loss(params, x, named):
        error = jnp.tanh(x @ params["w"] + params["b"])[:, 0] - named["y"]
        return jnp.square(error).mean(), {"positive": (error > 0).mean(), "error": error.mean()}

    in_chunks = optim.value_and_grad_in_chunks(loss, rows, per_row)
    steps = [e.params["length"] for e in jax.make_jaxpr(in_chunks)(params, *inputs).eqns if e.primitive.name == "scan"]
    if jax.default_backend() == "cpu":
        assert steps == ([chunks] if chunks > 1 else [])
    found = jax.jit(in_chunks)(params, *inputs)
    expected = jax.jit(jax.value_and_grad(loss, has_aux=True))(params, *inputs)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert (a.dtype, a.weak_type) == (b.dtype, b.weak_type)
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rows", [256, 61])
def test_rows_in_chunks_give_the_plain_result(rows):
    x, y = RNG.normal(size=(rows, 40, 3)), RNG.normal(size=rows)
    inputs = jnp.asarray(x, jnp.float32), {"y": jnp.asarray(y, jnp.float32)}
    found = jax.jit(optim.in_chunks(lambda x, named: {"z": x.sum(-1) * named["y"][:, None]}, rows, 40))(*inputs)
    np.testing.assert_allclose(found["z"], x.sum(-1) * y[:, None], rtol=1e-4, atol=1e-4)


# -- sampled gradients ------------------------------------------------------------------------------------------------

WEIGHTS = np.array([[0.5, 0.0, 0.25, 0.25], [0.9, 0.05, 0.05, 0.0], [-1.0, 2.0, -3.0, 0.0], [0.0, 0.0, 0.0, 0.0]])


@pytest.mark.parametrize("count", [1, 3, 8])
def test_systematic_samples_weigh_every_position_by_its_weight(count):
    """Over an even grid of the number that draws, the mean weight of each position is its own."""
    points = 4_000
    grid = (np.arange(points) + 0.5) / points
    draw = jax.vmap(lambda u: optim.systematic(jnp.asarray(WEIGHTS, jnp.float32), jnp.full(4, u), count))
    positions, weights = jax.jit(draw)(jnp.asarray(grid, jnp.float32))
    assert positions.shape == weights.shape == (points, 4, count)
    drawn = np.zeros((points, *WEIGHTS.shape))
    for j in range(count):
        np.add.at(drawn, (np.arange(points)[:, None], np.arange(4), positions[..., j]), weights[..., j])
    np.testing.assert_allclose(drawn.mean(0), WEIGHTS, atol=2e-3)
    # What weighs nothing takes no part, not even rarely.
    assert (drawn[:, WEIGHTS == 0] == 0).all()
    # Positions are drawn as often as their weights say, but for rounding.
    total = np.abs(WEIGHTS[:3]).sum(-1, keepdims=True)
    times = np.abs(drawn[:, :3]) * count / total
    assert (np.abs(times - count * np.abs(WEIGHTS[:3]) / total) < 1.0 + 1e-5).all()


def test_sampled_gradients_are_of_the_first_and_the_drawn_actions_only():
    """Where one of the others has all the weight, the estimate is the exact gradient; with none, that of the first."""
    keys = jax.random.split(jax.random.key(0), 2)
    critic = nets.Ensemble.of(lambda key: nets.Critic(nets.MLP(5, (8,), 1, key)), 2, keys[0])
    features = jnp.asarray(RNG.normal(size=(6, 3)), jnp.float32)
    actions = jnp.asarray(RNG.uniform(-1.0, 1.0, size=(6, 5, 2)), jnp.float32)
    uniform = jax.random.uniform(keys[1], (6,))

    def gradients(weights):
        def exact(critic):
            return (weights * critic(features[:, None], actions)).sum()

        def sampled(critic):
            return (weights * optim.values_with_sampled_gradient(2, critic, features, actions, uniform)).sum()

        (value, expected), (same, found) = (jax.value_and_grad(loss)(critic) for loss in (exact, sampled))
        np.testing.assert_allclose(same, value, rtol=1e-6)
        return zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)

    weights = jnp.zeros((2, 6, 5)).at[..., 0].set(-1.0)
    for found, expected in gradients(weights):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    # Each critic draws by its own weights.
    for found, expected in gradients(weights.at[0, :, 2].set(0.7).at[1, :, 4].set(-0.3)):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert not any((leaf != 0).any() for leaf, _ in gradients(jnp.zeros((2, 6, 5))))


@pytest.mark.parametrize("weight", [0.0, 1e-14, 1e-10, 1.0])
@pytest.mark.parametrize("carrying", [0, 1, 12], ids=["none", "one", "all"])
def test_skipped_gradients_are_the_gradient(carrying, weight):
    """4 states with 3 actions that may be skipped; of these 12 so many have that weight."""
    critic = nets.Ensemble.of(lambda key: nets.Critic(nets.MLP(5, (8,), 1, key)), 2, jax.random.key(0))
    features = jnp.asarray(RNG.normal(size=(4, 3)), jnp.float32)
    actions = jnp.asarray(RNG.uniform(-1.0, 1.0, size=(4, 5, 2)), jnp.float32)
    chosen = np.zeros((2, 12), bool)
    for member in chosen:
        member[RNG.permutation(12)[:carrying]] = True
    weights = RNG.normal(size=(2, 4, 5))
    weights[..., 2:] *= weight * chosen.reshape(2, 4, 3)
    weights = jnp.asarray(weights, jnp.float32)

    def exact(critic):
        return (weights * critic(features[:, None], actions)).sum()

    def skipping(critic):
        return (weights * optim.values_with_skipped_gradient(3, critic, features, actions)).sum()

    (value, expected), (same, found) = (jax.jit(jax.value_and_grad(loss))(critic) for loss in (exact, skipping))
    np.testing.assert_allclose(same, value, rtol=1e-6, atol=1e-6)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=5e-6)


@pytest.mark.parametrize(("weight", "skipped"), [(0.0, True), (1e-13, True), (1e-11, False), (np.nan, False)])
def test_actions_without_weight_are_not_in_the_backward_pass(weight, skipped):
    """A gradient that has met a NaN shows it, even times zero."""
    critic = nets.Ensemble.of(lambda key: nets.Critic(nets.MLP(5, (8,), 1, key)), 2, jax.random.key(0))
    features, actions = jnp.ones((4, 3)), jnp.full((4, 5, 2), 0.5).at[2, 3].set(jnp.nan)
    weights = jnp.ones((2, 4, 5)).at[..., 2:].set(0.0).at[1, 3, 4].set(weight)
    _, pull = jax.vjp(lambda critic: optim.values_with_skipped_gradient(3, critic, features, actions), critic)
    found = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(pull(weights))])
    assert np.isfinite(found).all() == skipped

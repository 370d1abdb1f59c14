"""Adam, moving averages and gradients in chunks against NumPy and the plain gradient."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from headstart import optim

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

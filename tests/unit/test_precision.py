"""Products of rounded inputs against NumPy, and where they hold."""

from __future__ import annotations

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from headstart import nets
from headstart.errors import UsageError
from headstart.nets.precision import product

pytestmark = pytest.mark.usefixtures("quick_compilation")

RNG = np.random.default_rng(0)


def arrays(outputs):
    """x (3, 7, 300), a weight (300, outputs), a gradient with respect to their product."""
    shapes = ((3, 7, 300), (300, outputs), (3, 7, outputs))
    return tuple(RNG.normal(size=shape).astype(np.float32) for shape in shapes)


X, WEIGHT, GRAD = arrays(5)


def rounded(array):
    """To the eight leading bits that bfloat16 keeps, as float64."""
    bits = np.asarray(array, np.float32).view(np.uint32).astype(np.uint64)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return bits.astype(np.uint32).view(np.float32).astype(np.float64)


def products(x, weight, grad):
    """The product and its gradients; grad: with respect to the product."""
    found, pull = jax.vjp(product, x, weight)
    return found, *pull(grad)


@pytest.mark.parametrize("outputs", [1, 5, 40])
def test_bfloat16_rounds_inputs_and_sums_in_float32(outputs):
    x, weight, grad = arrays(outputs)
    with nets.multiply_in("bfloat16"):
        found, by_x, by_weight = jax.jit(products)(x, weight, grad)
    assert found.dtype == by_x.dtype == by_weight.dtype == np.float32
    np.testing.assert_allclose(found, rounded(x) @ rounded(weight), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(by_x, rounded(grad) @ rounded(weight).T, rtol=1e-4, atol=1e-4)
    expected = np.einsum("bni,bno->io", rounded(x), rounded(grad))
    np.testing.assert_allclose(by_weight, expected, rtol=1e-4, atol=1e-4)
    # The rounding shows beside the error of the sums.
    assert np.abs(found - x @ weight).max() > 1e-2


def test_float32_is_exact_and_comes_back_after_an_error():
    layer = nets.MLP(300, (), 5, jax.random.key(0))
    with pytest.raises(ZeroDivisionError), nets.multiply_in("bfloat16"):
        1 / 0  # noqa: B018
    exact = np.asarray(layer(X))
    np.testing.assert_array_equal(exact, X @ layer.output.weight + layer.output.bias)
    with nets.multiply_in("bfloat16"):
        assert np.abs(exact - layer(X)).max() > 1e-3
        with nets.multiply_in("float32"):
            np.testing.assert_array_equal(layer(X), exact)
    lowered = nets.multiply_in("bfloat16")(layer)
    assert np.abs(exact - lowered(X)).max() > 1e-3
    np.testing.assert_array_equal(layer(X), exact)


def test_an_unknown_precision_is_refused():
    with (
        pytest.raises(UsageError, match="unknown precision 'bfloat'; did you mean 'bfloat16'?"),
        nets.multiply_in("bfloat"),
    ):
        pass


def test_second_derivatives_and_batches_of_nets():
    """As gradient penalties and seeds side by side need them."""

    def norm(x, weight):
        return jnp.square(jax.grad(lambda x: product(x, weight).sum())(x)).sum()

    with nets.multiply_in("bfloat16"):
        by_weight = jax.grad(norm, argnums=1)(X, WEIGHT)
        batched = jax.vmap(product)(X, jnp.stack([WEIGHT] * 3))
        single = product(X, WEIGHT)
    # norm = rows * |sum over outputs of the weight|^2 by row of the weight
    expected = np.repeat(2 * 21 * rounded(WEIGHT).sum(1, keepdims=True), 5, 1)
    np.testing.assert_allclose(by_weight, expected, rtol=2e-2, atol=1.0)
    np.testing.assert_allclose(batched, single, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="elsewhere matrices are multiplied however they lie")
def test_gradients_are_multiplied_in_bfloat16_where_the_product_is():
    """XLA for CPUs goes back to float32 for a product whose first matrix lies column by column."""
    x, weight = jnp.ones((256, 64)), jnp.ones((64, 64))

    def kinds(function, *inputs):
        with nets.multiply_in("bfloat16"):
            program = jax.jit(function).lower(*inputs).compile().as_text()
        factors = re.findall(r" dot\(%(\S+), %(\S+)\)", program)
        return [re.search(rf"%{re.escape(name)} = (\w+)\[", program)[1] for name in itertools.chain(*factors)]

    if kinds(product, x, weight) != ["bf16"] * 2:
        pytest.skip("this processor has no products of bfloat16")
    assert kinds(products, x, weight, x) == ["bf16"] * 6

"""What nets see of images: the encoder against NumPy, where images stand among features, how often they are seen."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from headstart import nets
from headstart.nets import images
from headstart.spec import ArraySpec, Size, Spec

pytestmark = pytest.mark.usefixtures("quick_compilation")

KEY = jax.random.key(0)
SHAPE = (5, 6, 3)


def pixels(*leading: int, shape: tuple[int, ...] = SHAPE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*leading, *shape)).astype(np.uint8)


def convolved(x, layer):
    """3 x 3 with zeros around: (N, H, W, C) to (N, H, W, F)."""
    height, width = x.shape[1:3]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    result = np.zeros((*x.shape[:3], len(layer.bias))) + layer.bias
    for i in range(3):
        for j in range(3):
            result += padded[:, i : i + height, j : j + width] @ layer.weight[i, j]
    return result


def halved(x):
    """Maxima of 3 x 3 pixels; windows reach one pixel before odd sides and begin at the first of even ones."""
    height, width = x.shape[1:3]
    result = np.zeros((len(x), -(-height // 2), -(-width // 2), x.shape[-1]))
    for i in range(result.shape[1]):
        for j in range(result.shape[2]):
            top, left = 2 * i - height % 2, 2 * j - width % 2
            result[:, i, j] = x[:, max(top, 0) : top + 3, max(left, 0) : left + 3].max((1, 2))
    return result


def test_the_encoder_is_that_of_impala_written_out_in_numpy():
    encoder = images.ImageEncoder(SHAPE, KEY)
    # Biases are zero at first.
    encoder = jax.tree.map(lambda leaf: leaf + 0.1 if leaf.ndim == 1 else leaf, encoder)
    seen = pixels(2) / 255.0
    found = encoder(jnp.asarray(seen, jnp.float32))
    double = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), encoder)
    x = seen
    for stack in double.stacks:
        x = halved(convolved(x, stack.first))
        y = convolved(np.maximum(x, 0.0), stack.block[0])
        x = x + convolved(np.maximum(y, 0.0), stack.block[1])
    x = np.maximum(x, 0.0).reshape(2, -1) @ double.output.weight + double.output.bias
    expected = 0.5 * x * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3)))
    assert found.shape == (2, images.ENCODING)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_initial_weights_are_within_glorots_bounds():
    encoder = images.ImageEncoder((16, 16, 3), KEY)
    for stack in encoder.stacks:
        for layer in (stack.first, *stack.block):
            channels, filters = layer.weight.shape[-2:]
            bound = np.sqrt(6.0 / (9 * channels + 9 * filters))
            assert 0.97 * bound < np.abs(layer.weight).max() <= bound
            assert not layer.bias.any()


def test_sizes_know_where_images_stand():
    image = ArraySpec(SHAPE, "uint8")
    assert image.size.images == ((0, SHAPE),)
    assert (image.size + 2).images == ((0, SHAPE),)
    total = 2 + image.size + 3 + image.size
    assert (total, total.images) == (185, ((2, SHAPE), (95, SHAPE)))
    assert sum([4, image.size]).images == ((4, SHAPE),)
    assert hash(total) == hash(185)
    # Bytes of fewer axes, and floats, are plain features.
    assert type(ArraySpec((5, 6), "uint8").size) is int
    assert type(ArraySpec(SHAPE).size) is int


def test_a_front_encodes_images_and_leaves_the_rest_as_it_is():
    spec = Spec((("camera", ArraySpec(SHAPE, "uint8")), ("state", ArraySpec((2,)))), None, ArraySpec(SHAPE, "uint8"))
    assert spec.images == ("camera",)
    front, size = images.Front.of(spec.input_size, KEY)
    assert size == images.ENCODING + 2
    state = np.array([[0.5, -3.0]], np.float32)
    camera, goal = pixels(1), pixels(1, seed=1)
    seen = front(nets.flatten({"camera": camera, "state": state}, goal))
    np.testing.assert_array_equal(seen[:, images.ENCODING :], state)
    # Of the same size: state and goal are looked at by one encoder.
    (encoder,) = front.encoders
    together = jnp.concatenate([camera, goal], axis=-1) / 255.0
    np.testing.assert_allclose(seen[:, : images.ENCODING], encoder(together), rtol=1e-5, atol=1e-5)


def test_images_of_different_sizes_have_encoders_of_their_own():
    front, size = images.Front.of(1 + Size(48, ((0, (4, 4, 3)),)) + ArraySpec(SHAPE, "uint8").size, KEY)
    assert (len(front.encoders), size) == (2, 2 * images.ENCODING + 1)
    assert front(jnp.zeros((7, 1 + 48 + 90))).shape == (7, size)


def test_without_images_nets_are_what_they_were():
    assert images.Front.of(5, KEY) == (None, 5)
    plain = nets.MLP(5, (8,), 2, KEY)
    assert plain.front is None
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), plain, nets.MLP(Size(5), (8,), 2, KEY)))


def test_a_net_learns_from_an_image_through_its_encoder_alone():
    net = nets.MLP(ArraySpec(SHAPE, "uint8").size + 1, (8,), 1, KEY)
    assert net.inputs == images.ENCODING + 1
    features = nets.flatten({"a": pixels(3), "b": np.ones((3, 1), np.float32)})
    grads = jax.grad(lambda net: jnp.square(net(features)).sum())(net)
    assert all(np.abs(leaf).max() > 0.0 for leaf in jax.tree.leaves(grads.front))


def convolutions(function, *arguments) -> list[int]:
    """Images that each convolution of a traced function sees, in its loops as often as in one round of them."""
    found = []

    def walk(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive.name == "conv_general_dilated":
                found.append(equation.invars[0].aval.shape[0])
            for part in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda part: hasattr(part, "eqns")):
                inner = getattr(part, "jaxpr", part)
                if hasattr(inner, "eqns"):
                    walk(inner)

    walk(jax.make_jaxpr(function)(*arguments).jaxpr)
    return found


LAYERS = 3 * len(images.STACKS)


@pytest.mark.parametrize("critics", [1, 3])
def test_critics_look_at_a_state_once_for_all_of_its_actions_and_all_members(critics):
    spec = Spec((("", ArraySpec(SHAPE, "uint8")),), ArraySpec((2,)))
    critic = nets.critic_ensemble(spec, (8,), critics, KEY)
    features, actions = nets.flatten(pixels(4)), np.zeros((4, 7, 2), np.float32)
    assert critic(features[:, None], actions).shape == (critics, 4, 7)
    assert convolutions(critic, features[:, None], actions) == [4] * LAYERS
    own = np.zeros((critics, 4, 7, 2), np.float32)
    assert convolutions(critic.each, features[:, None], own) == [4] * LAYERS
    subset = critic.subset(jnp.arange(1))
    np.testing.assert_array_equal(subset(features[:, None], actions), critic(features[:, None], actions)[:1])


def test_flows_look_at_a_state_once_for_all_steps_and_draws():
    spec = Spec((("", ArraySpec(SHAPE, "uint8")),), ArraySpec((2,)))
    flow = nets.flow_actor(spec.input_size, 2, (8,), KEY, steps=5)
    best = nets.BestOfActor(flow, nets.critic_ensemble(spec, (8,), 2, KEY), count=6)
    features = nets.flatten(pixels(4))
    assert best.sample(features, KEY).shape == (4, 2)
    assert convolutions(best.sample, features, KEY) == [4] * (2 * LAYERS)

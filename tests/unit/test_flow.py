"""Flow actors against fields whose solution is known, and the choice among draws."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from headstart import nets
from headstart.nets.flow import euler

pytestmark = pytest.mark.usefixtures("quick_compilation")

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
START = jnp.asarray(RNG.normal(size=(5, 2)), jnp.float32)
FEATURES = jnp.asarray(RNG.normal(size=(5, 3)), jnp.float32)


@pytest.mark.parametrize("steps", [1, 7])
def test_a_constant_field_is_integrated_exactly(steps):
    velocity = jnp.asarray([0.25, -3.0])
    np.testing.assert_allclose(euler(lambda x, t: velocity, START, steps), START + velocity, rtol=1e-6)


def test_steps_are_equal_and_look_at_their_beginning():
    """dx/dt = 2 t: Euler's sum is (n - 1) / n. dx/dt = x: (1 + 1/n)^n."""
    np.testing.assert_allclose(euler(lambda x, t: 2.0 * t + 0.0 * x, START, 4) - START, 0.75, rtol=1e-5)
    np.testing.assert_allclose(euler(lambda x, t: x, START, 4), START * 1.25**4, rtol=1e-5)


def flow(steps=3):
    return nets.flow_actor(3, 2, (8,), KEY, steps)


def with_output(net, weight, bias):
    """The same with a scaled output layer."""
    output = net.trunk.output
    changed = output.weight * weight, jnp.asarray(bias, jnp.float32)
    return eqx.tree_at(lambda net: (net.trunk.output.weight, net.trunk.output.bias), net, changed)


def test_a_flow_carries_noise_along_its_field_and_stops_at_the_bounds():
    constant = with_output(flow(), 0.0, [0.5, 9.0])
    moved = constant(FEATURES, START)
    np.testing.assert_allclose(moved[:, 0], np.clip(START[:, 0] + 0.5, -1.0, 1.0), rtol=1e-5)
    assert (moved[:, 1] == 1.0).all()
    np.testing.assert_allclose(constant.mode(FEATURES), [[0.5, 1.0]] * 5, rtol=1e-6)
    # Samples differ by their noise, and by nothing else.
    noise = jax.random.normal(KEY, (5, 2))
    np.testing.assert_allclose(flow().sample(FEATURES, KEY), flow()(FEATURES, noise), rtol=1e-6)


def test_a_one_step_actor_is_cut_to_the_bounds():
    actor = with_output(nets.one_step_actor(3, 2, (8,), KEY), 0.0, [0.5, -9.0])
    assert (actor.unbounded(FEATURES, START)[:, 1] == -9.0).all()
    for action in (actor.mode(FEATURES), actor.sample(FEATURES, KEY)):
        np.testing.assert_allclose(action, [[0.5, -1.0]] * 5)


@pytest.mark.parametrize("over_critics", ["mean", "min"])
def test_the_best_of_several_draws_is_the_one_of_the_highest_value(over_critics):
    critic = nets.Ensemble.of(lambda key: nets.Critic(nets.MLP(5, (8,), 1, key)), 2, KEY)
    best = nets.BestOfActor(flow(), critic, 6, over_critics)
    noise = jax.random.normal(KEY, (5, 6, 2))
    for row in range(5):
        draws = flow()(jnp.tile(FEATURES[row], (6, 1)), noise[row])
        q = critic(jnp.tile(FEATURES[row], (6, 1)), draws)
        q = q.mean(0) if over_critics == "mean" else q.min(0)
        np.testing.assert_allclose(best.sample(FEATURES, KEY)[row], draws[q.argmax()], rtol=1e-5)
    # Without a key a row depends on its state alone.
    np.testing.assert_allclose(best.mode(FEATURES)[3:], best.mode(FEATURES[3:]), rtol=1e-5)


def test_a_chunk_holds_its_actions_in_order():
    policy = nets.ChunkPolicy(nets.one_step_actor(3, 6, (8,), KEY), 3)
    whole = nets.Policy(policy.actor)(FEATURES, KEY)
    np.testing.assert_array_equal(policy.chunk(FEATURES, KEY), whole.reshape(5, 3, 2))
    np.testing.assert_array_equal(policy(FEATURES, KEY), whole[:, :2])

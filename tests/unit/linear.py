"""The smallest learner that keeps the contract of an algorithm, for tests of what stands around algorithms."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from headstart.algorithm import View
from headstart.state import State


@dataclasses.dataclass(frozen=True)
class Linear:
    """Least squares of the reward by stochastic gradient descent, with a little noise from the update's key."""

    batch_size: int = 8
    rate: float = 0.05
    n_step: int = 1

    def view(self):
        return View(self.batch_size, n_step=self.n_step, mc_return=True, next_action=True)

    def init(self, key, spec):
        weights = jax.random.normal(key, (spec.observation_size + spec.action.size,))
        return State({"critic": weights}, {"critic": weights}, {"critic": jnp.zeros(())}, jnp.zeros((), jnp.int32))

    def update(self, state, batch, key):
        inputs = jnp.concatenate([batch.observation, batch.action], -1)

        def loss(weights):
            target = batch.reward + batch.discount * batch.mc_return + batch.next_action[:, 0]
            return jnp.mean(jnp.square(inputs @ weights - target))

        value, gradient = jax.value_and_grad(loss)(state.nets["critic"])
        weights = state.nets["critic"] - self.rate * (gradient + 0.01 * jax.random.normal(key, gradient.shape))
        target = 0.9 * state.targets["critic"] + 0.1 * weights
        return State({"critic": weights}, {"critic": target}, {"critic": value}, state.step + 1), {"loss": value}

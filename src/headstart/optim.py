"""Optimisers, gradients a micro-chunk or a sample at a time, and slowly moving targets."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax


def adam(learning_rate: float, decay_steps: int = 0) -> optax.GradientTransformation:
    """Adam with the usual settings (0.9, 0.999, 1e-8); decay_steps > 0: cosine decay to zero over so many updates."""
    if decay_steps:
        return optax.adam(optax.cosine_decay_schedule(learning_rate, decay_steps))
    return optax.adam(learning_rate)


def step(optimizer: optax.GradientTransformation, grads: Any, opt_state: Any, params: Any) -> tuple[Any, Any]:
    """One optimiser step: (new params, new optimiser state). Without an optimiser state (None) all stays as it is."""
    if opt_state is None:
        return params, None
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state


def polyak(target: Any, online: Any, tau: float) -> Any:
    """(1 - tau) * target + tau * online, leaf by leaf."""
    return jax.tree.map(lambda old, new: (1.0 - tau) * old + tau * new, target, online)


def value_and_grad_in_chunks(loss: Callable, rows: int, per_row: int) -> Callable:
    """`jax.value_and_grad(loss, has_aux=True)`, computed a chunk of the batch at a time and averaged.

    loss(params, *inputs) -> (mean over rows, aux of means over rows); every leaf of `inputs` has the leading
    axis `rows`. On CPUs a critic that evaluates many actions a state is 10-15% faster when its activations
    stay in the cache; elsewhere the whole batch goes at once. The result differs in rounding only.

    per_row: evaluations of the network a row whose activations are kept, which tells whether chunks are worth it.
    """
    # Under jit, so that it is traced once for its shapes and for all chunks.
    whole = jax.jit(jax.value_and_grad(loss, has_aux=True))
    chunks = _chunks(rows, per_row)
    if chunks == 1:
        return whole

    def chunked(params, *inputs):
        parts = _parted(inputs, chunks)
        shape = jax.eval_shape(whole, params, *jax.tree.map(lambda leaf: leaf[0], parts))
        zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shape)

        def add(total, part):
            return jax.tree.map(jnp.add, total, whole(params, *part)), None

        total, _ = jax.lax.scan(add, zero, parts)
        return jax.tree.map(lambda leaf: leaf / chunks, total)

    return chunked


def in_chunks(function: Callable, rows: int, per_row: int) -> Callable:
    """`function(*inputs)`, rows in and rows out, a chunk of the rows at a time where that is faster (as above)."""
    chunks = _chunks(rows, per_row)
    if chunks == 1:
        return function

    def chunked(*inputs):
        outputs = jax.lax.map(lambda part: function(*part), _parted(inputs, chunks))
        return jax.tree.map(lambda leaf: leaf.reshape(rows, *leaf.shape[2:]), outputs)

    return chunked


def _parted(inputs: Any, chunks: int) -> Any:
    return jax.tree.map(lambda leaf: leaf.reshape(chunks, -1, *leaf.shape[1:]), inputs)


def _chunks(rows: int, per_row: int) -> int:
    """About a thousand evaluations a chunk on CPUs."""
    if jax.default_backend() != "cpu" or rows * per_row < 2048:
        return 1
    best = max(1, round(rows * per_row / 1024))
    return max(n for n in range(1, best + 1) if rows % n == 0)


def values_with_skipped_gradient(last: int, critic: Any, features: jax.Array, actions: jax.Array) -> jax.Array:
    """Q (E, B, N) of N actions a state, whose gradient leaves the `last` of them out where they have no part in it.

    critic: an `Ensemble`; features: (B, f); actions: (B, N, d).

    Under a log-sum-exp an action whose value lies far below the others' has next to no weight, and so have in time all
    actions that nobody would take. Where each of the B * `last` actions weighs less than NEGLIGIBLE times the heaviest
    of all, the backward pass does without them; else all are in it. The gradient is the same but for rounding.
    """
    if not last or critic.front is not None or jax.default_backend() != "cpu":
        return critic(features[:, None], actions)
    return _skipping(last, critic, features, actions)


NEGLIGIBLE = 1e-12
"""Far less than float32 keeps of a sum (6e-8 of it), even of thousands."""


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _skipping(last, critic, features, actions):
    return critic(features[:, None], actions)


def _skipping_forward(last, critic, features, actions):
    first, rest = actions[:, :-last], actions[:, -last:]
    (q_first, pull_first), (q_rest, pull_rest) = (
        jax.vjp(lambda critic, part=part: critic(features[:, None], part), critic) for part in (first, rest)
    )
    return jnp.concatenate([q_first, q_rest], -1), (pull_first, pull_rest, critic)


def _skipping_backward(last, residuals, weights):
    pull_first, pull_rest, critic = residuals
    (of_first,) = pull_first(weights[..., :-last])
    of_rest = weights[..., -last:]
    negligible = (jnp.abs(of_rest) <= NEGLIGIBLE * jnp.abs(weights).max()).all()
    of_rest = jax.lax.cond(negligible, lambda: jax.tree.map(jnp.zeros_like, critic), lambda: pull_rest(of_rest)[0])
    return jax.tree.map(jnp.add, of_first, of_rest), None, None


_skipping.defvjp(_skipping_forward, _skipping_backward)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def values_with_sampled_gradient(
    count: int, critic: Any, features: jax.Array, actions: jax.Array, uniform: jax.Array
) -> jax.Array:
    """Q (E, B, 1 + N) of 1 + N actions a state, exact, with a gradient that takes 1 + `count` of them.

    critic: an `Ensemble`; features: (B, f); actions: (B, 1 + N, d); uniform: (B,) numbers in [0, 1).

    The gradient of any loss is a sum over actions of w_i * grad Q_i, where w is the loss's gradient with respect to Q
    (for a log-sum-exp their softmax; zero where a bound cuts Q off). The first action, the data's, is always taken;
    of the others each critic takes those that `systematic` draws in proportion to |w|. The expectation over `uniform`
    is the exact gradient, whatever the loss; actions with w = 0 have no part in it.
    """
    return critic(features[:, None], actions)


def _values_forward(count, critic, features, actions, uniform):
    q = values_with_sampled_gradient(count, critic, features, actions, uniform)
    return q, (critic, features, actions, uniform)


def _values_backward(count, inputs, weights):
    critic, features, actions, uniform = inputs
    drawn, weights_drawn = systematic(weights[..., 1:], uniform, count)
    first = jnp.zeros_like(drawn[..., :1])
    taken = jnp.take_along_axis(actions[None], jnp.concatenate([first, 1 + drawn], -1)[..., None], axis=2)
    _, pull = jax.vjp(lambda critic: critic.each(features[:, None], taken), critic)
    (gradient,) = pull(jnp.concatenate([weights[..., :1], weights_drawn], -1))
    return gradient, None, None, None


values_with_sampled_gradient.defvjp(_values_forward, _values_backward)


def systematic(weights: jax.Array, uniform: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """Positions (..., count), drawn in proportion to |weights| (..., N), and the weight of each draw.

    sum_j weight_j * x[position_j] has the expectation sum_i weights_i * x_i, for uniform (...,) in [0, 1). One number
    gives all draws, spread evenly over the cumulated weights (systematic sampling; Madow 1949), so that position i
    is drawn count * |weights_i| / sum times but for rounding: less variance than independent draws.
    """
    cumulated = jnp.cumsum(jnp.abs(weights), axis=-1)
    total = cumulated[..., -1:]
    points = total * (uniform[..., None] + jnp.arange(count)) / count
    position = (cumulated[..., None, :] <= points[..., None]).sum(-1)
    position = jnp.minimum(position, weights.shape[-1] - 1)  # Where a point is rounded up to the total.
    return position, total / count * jnp.sign(jnp.take_along_axis(weights, position, -1))

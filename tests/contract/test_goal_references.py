"""One update of every goal-conditioned algorithm against a second implementation in NumPy, written from the papers.

As in `test_references`: losses through the metrics, gradients through Adam's first moment.
"""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from problems import ROWS, make_batch, small, spec_of
from test_references import check_gradients, close, members, mlp, updated

pytestmark = pytest.mark.usefixtures("quick_compilation")

HIGH = 100.0


def join(*parts):
    return np.concatenate(parts, -1)


def log_likelihood(actor, features, wanted):
    """Of a normal with standard deviation 1."""
    error = np.square(wanted - mlp(actor.trunk, features)).sum(-1)
    return -0.5 * error - 0.5 * wanted.shape[-1] * np.log(2.0 * np.pi)


def cloning(actor, features, wanted, advantage, alpha):
    return -(np.minimum(np.exp(alpha * advantage), HIGH) * log_likelihood(actor, features, wanted)).mean()


def climbing(actor, features, action, q_of, alpha, scale):
    """scale: mean |Q| before the step, which takes no gradient."""
    q = q_of(np.clip(mlp(actor.trunk, features), -1.0, 1.0))
    return (-q / scale - alpha * log_likelihood(actor, features, action)).mean()


def represented(value, s, g):
    phi = mlp(value.representation, join(s, g))
    return phi / np.linalg.norm(phi, axis=-1, keepdims=True) * np.sqrt(phi.shape[-1])


def pair_value(value, s, g):
    """(2, B) values of a `GoalValue`."""
    seen = g if value.representation is None else represented(value, s, g)
    return np.stack([mlp(net.trunk, join(s, seen))[:, 0] for net in members(value.heads)])


def action_free(algorithm, target, batch):
    """(loss of a value, weights of both kinds occur)."""
    s, s_next, g = batch.observation, batch.next_observation, batch.context
    backups = batch.reward + batch.discount * pair_value(target, s_next, g)
    one = batch.reward + batch.discount * pair_value(target, s_next, g).min(0)
    advantage = one - pair_value(target, s, g).mean(0)
    weight = np.where(advantage >= 0.0, algorithm.expectile, 1.0 - algorithm.expectile)
    assert 0 < (advantage < 0).sum() < ROWS
    return lambda value: (weight * np.square(backups - pair_value(value, s, g))).mean(1).sum()


def rise(value, s, s_next, g):
    return pair_value(value, s_next, g).mean(0) - pair_value(value, s, g).mean(0)


# -- behaviour cloning, GCIVL, HIQL -----------------------------------------------------------------------------------


def test_gcbc():
    algorithm = small("gcbc")
    state, batch, after, metrics = updated(algorithm)

    def loss(actor):
        return -log_likelihood(actor, join(batch.observation, batch.context), batch.action).mean()

    close(metrics["actor_loss"], loss(state.nets["actor"]))
    check_gradients(loss, state, after, "actor")


def test_gcivl():
    algorithm = small("gcivl", alpha=2.0)
    state, batch, after, metrics = updated(algorithm)
    value_loss = action_free(algorithm, state.targets["value"], batch)
    close(metrics["value_loss"], value_loss(state.nets["value"]))
    check_gradients(value_loss, state, after, "value")

    s, g = batch.observation, batch.actor_context
    advantage = rise(state.nets["value"], s, batch.next_observation, g)

    def actor_loss(actor):
        return cloning(actor, join(s, g), batch.action, advantage, algorithm.alpha)

    close(metrics["actor_loss"], actor_loss(state.nets["actor"]))
    check_gradients(actor_loss, state, after, "actor")


def test_hiql():
    algorithm = small("hiql", representation_size=3, low_alpha=2.0, high_alpha=1.5)
    state, batch, after, metrics = updated(algorithm)
    value = state.nets["value"]
    value_loss = action_free(algorithm, state.targets["value"], batch)
    close(metrics["value_loss"], value_loss(value))
    check_gradients(value_loss, state, after, "value")

    s, far = batch.observation, batch.actor_context
    seen, low = represented(value, s, batch.low_goal), rise(value, s, batch.next_observation, batch.low_goal)
    named, high = represented(value, s, batch.high_target), rise(value, s, batch.high_target, far)
    losses = {
        "actor": lambda actor: cloning(actor, join(s, seen), batch.action, low, algorithm.low_alpha),
        "high_actor": lambda actor: cloning(actor, join(s, far), named, high, algorithm.high_alpha),
    }
    close(metrics["actor_loss"], losses["actor"](state.nets["actor"]))
    close(metrics["high_actor_loss"], losses["high_actor"](state.nets["high_actor"]))
    for name, loss in losses.items():
        check_gradients(loss, state, after, name)

    observation, goal = batch.observation[:4], batch.context[:4]
    subgoal = mlp(state.nets["high_actor"].trunk, join(observation, goal))
    subgoal *= np.sqrt(3) / np.linalg.norm(subgoal, axis=-1, keepdims=True)
    expected = np.clip(mlp(state.nets["actor"].trunk, join(observation, subgoal)), -1.0, 1.0)
    single = jax.tree.map(np.float32, state)
    close(algorithm.policy(single)(np.float32(observation), context=np.float32(goal)), expected)


def test_the_low_level_never_sees_the_far_goal():
    """Whatever the far goals are, even none, the low level learns the same; the high level does not."""
    algorithm = small("hiql")
    spec = spec_of(algorithm)
    batch = make_batch(spec)
    state = algorithm.init(jax.random.key(0), spec)
    step = jax.jit(algorithm.update)
    usual, _ = step(state, batch, jax.random.key(0))
    permuted, _ = step(state, dataclasses.replace(batch, actor_context=batch.actor_context[::-1]), jax.random.key(0))
    absent, _ = step(state, dataclasses.replace(batch, actor_context=batch.actor_context * np.nan), jax.random.key(0))

    def same(a, b):
        return jax.tree.all(jax.tree.map(np.array_equal, a, b))

    for other in (permuted, absent):
        for name in ("actor", "value"):
            assert same(usual.nets[name], other.nets[name])
        assert not same(usual.nets["high_actor"], other.nets["high_actor"])
    # Nor does its net have room for it: a state and a representation.
    assert state.nets["actor"].trunk.hidden[0].weight.shape[0] == spec.observation_size + algorithm.representation_size


# -- GCIQL, CRL -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ddpgbc", "awr"])
def test_gciql(kind):
    algorithm = small("gciql", actor_loss=kind, alpha=0.7)
    state, batch, after, metrics = updated(algorithm)
    s, g, actor_g = batch.observation, batch.context, batch.actor_context

    def q_of(critic, s, g, action):
        return np.stack([mlp(net.trunk, join(s, g, action))[:, 0] for net in members(critic)])

    def v_of(value, s, g):
        return mlp(value.trunk, join(s, g))[:, 0]

    value, critic = state.nets["value"], state.nets["critic"]
    target_q = q_of(state.targets["critic"], s, g, batch.action).min(0)
    td_target = batch.reward + batch.discount * v_of(value, batch.next_observation, g)

    def value_loss(value):
        u = target_q - v_of(value, s, g)
        return (np.where(u < 0, 1.0 - algorithm.expectile, algorithm.expectile) * u**2).mean()

    def critic_loss(critic):
        return np.square(q_of(critic, s, g, batch.action) - td_target).mean(1).sum()

    def actor_loss(actor):
        if kind == "awr":
            advantage = q_of(critic, s, actor_g, batch.action).min(0) - v_of(value, s, actor_g)
            return cloning(actor, join(s, actor_g), batch.action, advantage, algorithm.alpha)
        q_now = q_of(critic, s, actor_g, np.clip(mlp(state.nets["actor"].trunk, join(s, actor_g)), -1, 1)).min(0)
        return climbing(
            actor, join(s, actor_g), batch.action, lambda a: q_of(critic, s, actor_g, a).min(0), algorithm.alpha,
            np.abs(q_now).mean(),
        )  # fmt: skip

    for name, metric, loss in (
        ("value", "value_loss", value_loss),
        ("critic", "td_loss", critic_loss),
        ("actor", "actor_loss", actor_loss),
    ):
        close(metrics[metric], loss(state.nets[name]))
        check_gradients(loss, state, after, name)


def test_crl():
    algorithm = small("crl", alpha=0.4)
    state, batch, after, metrics = updated(algorithm)
    s, actor_g = batch.observation, batch.actor_context

    def parts(net, action, goal):
        return mlp(net.phi, join(s, action)), mlp(net.psi, goal)

    def critic_loss(critic):
        total = []
        for net in members(critic):
            phi, psi = parts(net, batch.action, batch.context)
            logits = phi @ psi.T / np.sqrt(phi.shape[-1])
            probability = 1.0 / (1.0 + np.exp(-logits))
            label = np.eye(ROWS)
            total.append(-(label * np.log(probability) + (1.0 - label) * np.log(1.0 - probability)))
        return np.mean(total)

    def q_of(action):
        scores = [
            (phi * psi).sum(-1) for phi, psi in (parts(n, action, actor_g) for n in members(state.nets["critic"]))
        ]
        return np.min(scores, 0) / np.sqrt(algorithm.latent_size)

    scale = np.abs(q_of(np.clip(mlp(state.nets["actor"].trunk, join(s, actor_g)), -1, 1))).mean()

    def actor_loss(actor):
        return climbing(actor, join(s, actor_g), batch.action, q_of, algorithm.alpha, scale)

    for name, loss in (("critic", critic_loss), ("actor", actor_loss)):
        close(metrics[f"{name}_loss"], loss(state.nets[name]))
        check_gradients(loss, state, after, name)


# -- QRL --------------------------------------------------------------------------------------------------------------


def union_length(intervals):
    """By merging one interval after the other."""
    total, end = 0.0, -np.inf
    for left, right in sorted(intervals):
        total += max(0.0, right - max(left, end))
        end = max(end, right)
    return total


def distance(net, u, v):
    """(B,) of representations (B, size)."""
    if net.kind == "mrn":
        half = u.shape[-1] // 2
        apart = np.linalg.norm(u[:, :half] - v[:, :half], axis=-1)
        return apart + np.maximum((u - v)[:, half:].max(-1), 0.0)
    lengths = np.array(
        [
            [
                union_length([(a, max(a, b)) for a, b in zip(x, y, strict=True)])
                for x, y in zip(row_u.reshape(-1, net.component), row_v.reshape(-1, net.component), strict=True)
            ]
            for row_u, row_v in zip(u, v, strict=True)
        ]
    )
    mix = 1.0 / (1.0 + np.exp(-net.mix))
    return mix * lengths.mean(-1) + (1.0 - mix) * lengths.max(-1)


@pytest.mark.parametrize("kind", ["iqe", "mrn"])
def test_qrl(kind):
    algorithm = small("qrl", alpha=0.4, quasimetric=kind, epsilon=0.3)
    state, batch, after, metrics = updated(algorithm)
    nets, s, actor_g = state.nets, batch.observation, batch.actor_context

    def predicted(value, dynamics, action):
        phi = mlp(value.phi, s)
        return phi + mlp(dynamics, join(phi, action))

    def parts(value, dynamics):
        phi, following, goal = (mlp(value.phi, x) for x in (s, batch.next_observation, batch.context))
        guess = predicted(value, dynamics, batch.action)
        spread = 100.0 * np.log1p(np.exp(5.0 - distance(value, phi, goal) / 100.0))
        excess = np.square(np.maximum(distance(value, phi, following) - 1.0, 0.0)).mean()
        drift = (distance(value, following, guess) + distance(value, guess, following)) / 2.0
        return spread.mean(), excess, drift.mean()

    multiplier = np.exp(nets["multiplier"].value)

    def value_loss(value):
        spread, excess, drift = parts(value, nets["dynamics"])
        return spread + multiplier * excess + drift

    excess = parts(nets["value"], nets["dynamics"])[1]
    assert excess > 0.0

    def q_of(action):
        return -distance(
            nets["value"], predicted(nets["value"], nets["dynamics"], action), mlp(nets["value"].phi, actor_g)
        )

    scale = np.abs(q_of(np.clip(mlp(nets["actor"].trunk, join(s, actor_g)), -1, 1))).mean()
    losses = {
        "value": value_loss,
        "dynamics": lambda net: parts(nets["value"], net)[2],
        "multiplier": lambda net: np.exp(net.value) * (algorithm.epsilon - excess),
        "actor": lambda actor: climbing(actor, join(s, actor_g), batch.action, q_of, algorithm.alpha, scale),
    }
    close(metrics["critic_loss"], value_loss(nets["value"]) + losses["multiplier"](nets["multiplier"]))
    close(metrics["dynamics_loss"], losses["dynamics"](nets["dynamics"]))
    close(metrics["actor_loss"], losses["actor"](nets["actor"]))
    for name, loss in losses.items():
        check_gradients(loss, state, after, name)

"""One update of every algorithm against a second implementation, in NumPy and float64, written from the papers.

Random draws are replaced by fixed numbers that depend on their shape only, so that both sides see the same actions.
Losses are compared through the metrics, gradients through the first moment of Adam (a tenth of the gradient after one
update) along random directions, so that every path by which a loss may reach a component counts.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import CHOICES, DIMENSIONS, ROWS, make_batch, small, spec_of
from scipy import special, stats

pytestmark = pytest.mark.usefixtures("quick_compilation")

rng_of = np.random.default_rng


def normal_numbers(shape):
    return rng_of(11).normal(size=shape)


def uniform_numbers(shape):
    """In [0, 1)."""
    return rng_of(12).uniform(size=shape)


@pytest.fixture(autouse=True)
def _fixed_numbers(monkeypatch):
    monkeypatch.setattr(jax.random, "normal", lambda key, shape=(): jnp.asarray(normal_numbers(shape), jnp.float32))
    monkeypatch.setattr(
        jax.random, "uniform", lambda key, shape=(), minval=0.0, maxval=1.0:
        jnp.asarray(minval + (maxval - minval) * uniform_numbers(shape), jnp.float32),
    )  # fmt: skip
    monkeypatch.setattr(jax.random, "choice", lambda key, count, shape, replace: jnp.asarray([2, 0]))


def updated(algorithm, step=0, seed=0):
    """(state before, batch, state after, metrics) of one update of random nets, all in float64 but for its inside."""
    spec = spec_of(algorithm)
    state = algorithm.init(jax.random.key(0), spec)
    rng = rng_of(seed)

    def shaken(leaf):
        # Values of the size of the returns, so that bounds and minima are active for some rows only.
        return leaf + jnp.asarray(rng.normal(size=leaf.shape) * 0.3, jnp.float32)

    state = dataclasses.replace(
        state,
        nets=jax.tree.map(shaken, state.nets),
        targets=jax.tree.map(shaken, state.targets),
        step=jnp.asarray(step, jnp.int32),
    )
    batch = make_batch(spec, seed, chunk=algorithm.view().chunk)
    after, metrics = jax.jit(algorithm.update)(state, batch, jax.random.key(1))
    double = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (state, batch, after))
    return *double, {name: float(value) for name, value in metrics.items()}


# -- networks ---------------------------------------------------------------------------------------------------------


def mlp(net, x):
    activate = {
        "relu": lambda x: np.maximum(x, 0.0),
        "gelu": lambda x: 0.5 * x * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3))),
    }[net.activation]
    for i, layer in enumerate(net.hidden):
        x = x @ layer.weight + layer.bias
        x = activate(x) if net.norm_last else x
        if net.norms:
            x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
            x = x * net.norms[i].scale + net.norms[i].offset
        x = x if net.norm_last else activate(x)
    return x @ net.output.weight + net.output.bias


def members(ensemble):
    count = len(jax.tree.leaves(ensemble)[0])
    return [jax.tree.map(lambda leaf, i=i: leaf[i], ensemble.members) for i in range(count)]


def critics(ensemble, s, a):
    """(E, B, ...) of states (B, f) and actions (B, ..., d)."""
    s = np.broadcast_to(s.reshape(len(s), *[1] * (a.ndim - 2), -1), (*a.shape[:-1], s.shape[-1]))
    return np.stack([mlp(net.trunk, np.concatenate([s, a], -1))[..., 0] for net in members(ensemble)])


def tanh_gaussian(actor, s, count=None):
    """Actions (B, count, d) and log densities (B, count), without `count` (B, d) and (B,)."""
    mean, raw = np.split(mlp(actor.trunk, s), 2, -1)
    std = np.exp(np.clip(actor.log_std_scale * raw + actor.log_std_offset, -20.0, 2.0))
    if count is not None:
        mean, std = mean[:, None], std[:, None]
    shape = (len(s), DIMENSIONS) if count is None else (len(s), count, DIMENSIONS)
    u = mean + std * normal_numbers(shape)
    log_density = stats.norm.logpdf(u, mean, std).sum(-1) - np.log(1.0 - np.tanh(u) ** 2).sum(-1)
    return np.tanh(u), log_density


def log_likelihood(actor, batch):
    """(B,) log density of the data's actions, which lie well inside the bounds."""
    mean, raw = np.split(mlp(actor.trunk, batch.observation), 2, -1)
    std = np.exp(np.clip(actor.log_std_scale * raw + actor.log_std_offset, -20.0, 2.0))
    return (stats.norm.logpdf(np.arctanh(batch.action), mean, std) - np.log(1.0 - batch.action**2)).sum(-1)


def check_gradients(loss, before, after, name):
    """The gradient that Adam saw of component `name` is that of `loss(net)`, along random directions."""
    net = before.nets[name]
    moments = jax.tree.leaves(after.opt_state[name][0].mu)
    leaves, structure = jax.tree.flatten(net)
    rng = rng_of(7)
    for _ in range(4):
        direction = [rng.normal(size=leaf.shape) for leaf in leaves]
        h = 1e-6

        def at(sign, direction=direction, h=h):
            moved = [a + sign * h * b for a, b in zip(leaves, direction, strict=True)]
            return loss(jax.tree.unflatten(structure, moved))

        expected = (at(1.0) - at(-1.0)) / (2 * h)
        found = sum((m * d).sum() for m, d in zip(moments, direction, strict=True)) / 0.1
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3)


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-4)


# -- CQL(R) and Cal-QL ------------------------------------------------------------------------------------------------


def simplex_maximum(q):
    """max over mu of mu.q - N/2 |mu - 1/N|^2 by bisection on the multiplier of sum mu = 1."""
    n = q.shape[-1]
    low, high = q.min(-1, keepdims=True) - n, q.max(-1, keepdims=True)
    for _ in range(200):
        middle = (low + high) / 2
        above = np.maximum(0.0, (q - middle) / n).sum(-1, keepdims=True) > 1.0
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    mu = np.maximum(0.0, (q - low) / n)
    return (mu * q).sum(-1) - n / 2 * np.square(mu - 1.0 / n).sum(-1)


def conservative_part(cql, state, batch):
    """Gap (E, B) as a function of the critic, and the share of policy actions under the bound."""
    n = cql.actions
    uniform = 2.0 * uniform_numbers((ROWS, n, DIMENSIONS)) - 1.0
    here, here_density = tanh_gaussian(state.nets["actor"], batch.observation, n)
    there, there_density = tanh_gaussian(state.nets["actor"], batch.next_observation, n)

    def gap(critic):
        q_data = critics(critic, batch.observation, batch.action)
        q_uniform, q_here, q_there = (critics(critic, batch.observation, a) for a in (uniform, here, there))
        bounded = np.zeros(())
        if cql.calibrated:
            reference = batch.mc_return[:, None]
            both = np.concatenate([q_here, q_there], -1) if cql.regulariser == "entropy" else q_here
            bounded = (both < reference).mean()
            q_here, q_there = np.maximum(q_here, reference), np.maximum(q_there, reference)
        if cql.regulariser == "entropy":
            if cql.importance_weights:
                terms = [q_uniform - DIMENSIONS * np.log(0.5), q_here - here_density, q_there - there_density]
            else:
                terms = [q_uniform, q_here, q_there, q_data[..., None]]
            largest = np.log(np.exp(np.concatenate(terms, -1)).sum(-1))
        else:
            q = q_uniform if cql.prior == "uniform" else q_here
            largest = np.log(np.exp(q).mean(-1)) if cql.regulariser == "kl" else simplex_maximum(q)
        return largest - q_data, bounded

    return gap


def next_value(cql, state, batch):
    temperature = np.exp(state.nets["temperature"].value)
    action, log_density = tanh_gaussian(
        state.nets["actor"], batch.next_observation, cql.actions if cql.max_target_backup else 1
    )
    q = critics(state.targets["critic"], batch.next_observation, action).min(0)
    return (q - temperature * log_density * cql.backup_entropy).max(-1)


def soft_actor_loss(algorithm, state, batch, actor):
    action, log_density = tanh_gaussian(actor, batch.observation)
    q = critics(state.nets["critic"], batch.observation, action)
    q = q.min(0) if algorithm.actor_value == "min" else q.mean(0)
    temperature = np.exp(state.nets["temperature"].value)
    gain = q
    if getattr(algorithm, "bc_steps", 0):
        gain = log_likelihood(actor, batch)
    elif getattr(algorithm, "bc_weight", 0.0):
        gain = q + algorithm.bc_weight * log_likelihood(actor, batch)
    return (temperature * log_density - gain).mean(), log_density, q


def check_soft_actor(algorithm, state, batch, after, metrics):
    loss, log_density, q = soft_actor_loss(algorithm, state, batch, state.nets["actor"])
    close(metrics["actor_loss"], loss)
    close(metrics["entropy"], -log_density.mean())
    close(metrics["q_policy"], q.mean())
    close(metrics["temperature"], np.exp(state.nets["temperature"].value))
    check_gradients(lambda net: soft_actor_loss(algorithm, state, batch, net)[0], state, after, "actor")
    target_entropy = -algorithm.target_entropy_scale * DIMENSIONS
    check_gradients(
        lambda net: -net.value * (log_density + target_entropy).mean(), state, after, "temperature"
    )  # fmt: skip


FAMILY = {
    "Cal-QL": {"calibrated": True, "weight": 1.0},
    "CQL(H) without importance weights, Lagrange, imitating": {
        "importance_weights": False, "lagrange": True, "target_gap": 0.3, "bc_steps": 1
    },
    "CQL(rho), calibrated, mean actor, towards the data and its returns": {
        "regulariser": "kl", "prior": "policy", "calibrated": True, "actor_value": "mean", "critics": 3,
        "bc_weight": 0.3, "reference_steps": 1,
    },
    "chi-square, soft backup, LayerNorm": {
        "regulariser": "chi_square", "max_target_backup": False, "backup_entropy": True, "critic_layer_norm": True
    },
}  # fmt: skip


@pytest.mark.parametrize("variant", list(FAMILY))
def test_cql(variant):
    cql = small("cql", actions=3, target_entropy_scale=0.5, **FAMILY[variant])
    state, batch, after, metrics = updated(cql)
    target = batch.mc_return
    if not cql.reference_steps:
        target = batch.reward + batch.discount * next_value(cql, state, batch)
    gap_of = conservative_part(cql, state, batch)
    multiplier = np.exp(state.nets["multiplier"].value) if cql.lagrange else 1.0

    def parts(critic):
        q_data = critics(critic, batch.observation, batch.action)
        gap, bounded = gap_of(critic)
        td_loss = np.square(q_data - target).mean(1).sum()
        gap_target = cql.target_gap if cql.lagrange else 0.0
        loss = td_loss + multiplier * cql.weight * (gap - gap_target).mean(1).sum()
        return loss, td_loss, gap.mean(), bounded, q_data.mean()

    loss, td_loss, gap, bounded, q_data = parts(state.nets["critic"])
    close(metrics["td_loss"], td_loss)
    close(metrics["conservative_gap"], gap)
    close(metrics["critic_loss"], loss)
    close(metrics["q_data"], q_data)
    if cql.calibrated:
        close(metrics["bound_rate"], bounded)
        assert 0.2 < bounded < 0.8  # the test is of both sides
    check_gradients(lambda net: parts(net)[0], state, after, "critic")
    if cql.lagrange:
        close(metrics["multiplier"], multiplier)
        check_gradients(
            lambda net: -np.exp(net.value) * cql.weight * (gap - cql.target_gap), state, after, "multiplier"
        )  # fmt: skip
    check_soft_actor(cql, state, batch, after, metrics)


@pytest.mark.parametrize("regulariser", ["entropy", "kl", "chi_square"])
def test_discrete_cql(regulariser):
    cql = small("discrete_cql", regulariser=regulariser, critics=2, weight=0.7, calibrated=regulariser != "kl")
    state, batch, after, metrics = updated(cql)
    rows, action = np.arange(ROWS), batch.action.astype(int)

    def q_of(ensemble, s):
        return np.stack([mlp(net.trunk, s) for net in members(ensemble)])

    choice = q_of(state.nets["critic"], batch.next_observation).min(0).argmax(-1)
    following = q_of(state.targets["critic"], batch.next_observation).min(0)[rows, choice]
    target = batch.reward + batch.discount * following

    def parts(critic):
        q = q_of(critic, batch.observation)
        q_data = q[:, rows, action]
        bounded = np.maximum(q, batch.mc_return[:, None]) if cql.calibrated else q
        largest = {
            "entropy": lambda x: special.logsumexp(x, -1),
            "kl": lambda x: special.logsumexp(x, -1) - np.log(CHOICES),
            "chi_square": simplex_maximum,
        }[regulariser](bounded)
        td_loss, gap = np.square(q_data - target).mean(1).sum(), (largest - q_data).mean(1).sum()
        return td_loss + 0.7 * gap, td_loss, gap / 2

    loss, td_loss, gap = parts(state.nets["critic"])
    close([metrics["critic_loss"], metrics["td_loss"], metrics["conservative_gap"]], [loss, td_loss, gap])
    check_gradients(lambda net: parts(net)[0], state, after, "critic")


# -- the others -------------------------------------------------------------------------------------------------------


def check_critic(state, batch, after, metrics, target):
    def td_loss(critic):
        return np.square(critics(critic, batch.observation, batch.action) - target).mean(1).sum()

    close(metrics["td_loss"], td_loss(state.nets["critic"]))
    check_gradients(td_loss, state, after, "critic")


def test_sac_with_a_random_subset_of_targets():
    sac = small("sac", critics=3, target_subset=2, actor_value="mean", target_entropy_scale=0.5)
    state, batch, after, metrics = updated(sac)
    action, log_density = tanh_gaussian(state.nets["actor"], batch.next_observation)
    drawn = critics(state.targets["critic"], batch.next_observation, action)[[2, 0]].min(0)
    temperature = np.exp(state.nets["temperature"].value)
    check_critic(
        state, batch, after, metrics, batch.reward + batch.discount * (drawn - temperature * log_density)
    )  # fmt: skip
    check_soft_actor(sac, state, batch, after, metrics)


def test_iql():
    iql = small("iql", expectile=0.8, inverse_temperature=2.0, advantage_limit=1.5)
    state, batch, after, metrics = updated(iql)
    q = critics(state.targets["critic"], batch.observation, batch.action).min(0)

    def value_loss(value):
        u = q - mlp(value.trunk, batch.observation)[:, 0]
        return (np.where(u > 0, 0.8, 0.2) * u**2).mean()

    close(metrics["value_loss"], value_loss(state.nets["value"]))
    check_gradients(value_loss, state, after, "value")
    # Actor and critic see the value after its step.
    value = after.nets["value"]
    advantage = q - mlp(value.trunk, batch.observation)[:, 0]
    weight = np.minimum(np.exp(2.0 * advantage), 1.5)
    assert 0.0 < (weight == 1.5).mean() < 0.9

    def actor_loss(actor):
        mean = np.tanh(mlp(actor.trunk, batch.observation))
        log_density = stats.norm.logpdf(batch.action, mean, np.exp(np.clip(actor.log_std, -5.0, 2.0))).sum(-1)
        return -(weight * log_density).mean()

    close(metrics["actor_loss"], actor_loss(state.nets["actor"]))
    close(metrics["advantage"], advantage.mean())
    check_gradients(actor_loss, state, after, "actor")
    check_critic(
        state, batch, after, metrics, batch.reward + batch.discount * mlp(value.trunk, batch.next_observation)[:, 0]
    )  # fmt: skip


@pytest.mark.parametrize("name", ["td3bc", "rebrac"])
def test_td3bc(name):
    td3bc = small(name, critic_behaviour_weight=0.0 if name == "td3bc" else 0.4)
    # An odd step, after which the actor is due.
    state, batch, after, metrics = updated(td3bc, step=1)
    noise = np.clip(0.2 * normal_numbers((ROWS, DIMENSIONS)), -0.5, 0.5)
    following = np.clip(np.tanh(mlp(state.targets["actor"].trunk, batch.next_observation)) + noise, -1.0, 1.0)
    q = critics(state.targets["critic"], batch.next_observation, following).min(0)
    if name == "rebrac":
        q = q - 0.4 * np.square(following - batch.next_action).sum(-1)
    check_critic(state, batch, after, metrics, batch.reward + batch.discount * q)

    # The actor sees the critic after its step; the scale of Q takes no gradient.
    def look(actor):
        action = np.tanh(mlp(actor.trunk, batch.observation))
        distance = np.square(action - batch.action)
        q = critics(after.nets["critic"], batch.observation, action)
        q = q[0] if name == "td3bc" else q.min(0)
        return q, distance.mean(-1) if name == "td3bc" else distance.sum(-1)

    scale = 1.0 / np.abs(look(state.nets["actor"])[0]).mean()

    def actor_loss(actor):
        q, distance = look(actor)
        return (td3bc.behaviour_weight * distance - td3bc.q_weight * scale * q).mean()

    close(metrics["actor_loss"], actor_loss(state.nets["actor"]))
    close(metrics["behaviour_distance"], look(state.nets["actor"])[1].mean())
    check_gradients(actor_loss, state, after, "actor")


FLOWS = {
    "FQL": {"alpha": 0.7},
    "clipped, Q as it is": {"q_agg": "min", "normalize_q_loss": False},
    "chunks": {"chunk": 3},
    "chunks, best of": {"chunk": 2, "best_of": 4, "q_agg": "min"},
}


@pytest.mark.parametrize("variant", list(FLOWS))
def test_fql(variant):
    fql = dataclasses.replace(small("fql"), **FLOWS[variant])
    state, batch, after, metrics = updated(fql)
    size = fql.chunk * DIMENSIONS
    flow, noise = state.nets["flow"], normal_numbers((ROWS, size))
    action, taken, weight = batch.action, np.ones((ROWS, size)), np.ones(ROWS)
    if fql.chunk > 1:
        random = 2.0 * uniform_numbers(action.shape) - 1.0
        valid = batch.valid.astype(bool)
        action = np.where(valid[..., None], action, random).reshape(ROWS, size)
        taken = np.repeat(valid, DIMENSIONS, axis=1)
        weight = valid[:, -1] | (batch.discount == 0.0)
        assert 0 < weight.sum() < ROWS

    def flow_actions(s, x):
        for i in range(fql.flow_steps):
            time = np.full((*x.shape[:-1], 1), i / fql.flow_steps)
            x = x + mlp(flow.trunk, np.concatenate([s, x, time], -1)) / fql.flow_steps
        return np.clip(x, -1.0, 1.0)

    def aggregate(q):
        return q.min(0) if fql.q_agg == "min" else q.mean(0)

    def flow_loss(flow):
        time = uniform_numbers((ROWS, 1))
        between = (1.0 - time) * noise + time * action
        velocity = mlp(flow.trunk, np.concatenate([batch.observation, between, time], -1))
        return (taken * (velocity - (action - noise)) ** 2).mean()

    close(metrics["flow_loss"], flow_loss(flow))
    check_gradients(flow_loss, state, after, "flow")

    if fql.best_of:
        draws = normal_numbers((ROWS, fql.best_of, size))
        repeated = np.repeat(batch.next_observation[:, None], fql.best_of, 1)
        draws = flow_actions(repeated, draws)
        best = aggregate(critics(state.nets["critic"], batch.next_observation, draws)).argmax(-1)
        assert len(set(best)) > 1
        following = draws[np.arange(ROWS), best]
    else:
        actor = state.nets["actor"]
        following = np.clip(mlp(actor.trunk, np.concatenate([batch.next_observation, noise], -1)), -1.0, 1.0)
        teacher = flow_actions(batch.observation, noise)

        def look(actor):
            raw = mlp(actor.trunk, np.concatenate([batch.observation, noise], -1))
            return np.square(raw - teacher).mean(-1), critics(
                state.nets["critic"], batch.observation, np.clip(raw, -1.0, 1.0)
            ).mean(0)  # fmt: skip

        scale = 1.0 / np.abs(look(actor)[1]).mean() if fql.normalize_q_loss else 1.0

        def actor_loss(actor):
            distance, q = look(actor)
            return (fql.alpha * distance - scale * q).mean()

        close(metrics["actor_loss"], actor_loss(actor))
        close([metrics["flow_distance"], metrics["q_policy"]], [part.mean() for part in look(actor)])
        check_gradients(actor_loss, state, after, "actor")

    q = aggregate(critics(state.targets["critic"], batch.next_observation, following))
    target = batch.reward + batch.discount * q

    def td_loss(critic):
        return (weight * np.square(critics(critic, batch.observation, action) - target)).mean(1).sum()

    close(metrics["td_loss"], td_loss(state.nets["critic"]))
    check_gradients(td_loss, state, after, "critic")


def test_bc():
    bc = small("bc")
    state, batch, after, metrics = updated(bc)

    def loss(actor):
        return -log_likelihood(actor, batch).mean()

    close(metrics["actor_loss"], loss(state.nets["actor"]))
    mode = np.tanh(np.split(mlp(state.nets["actor"].trunk, batch.observation), 2, -1)[0])
    close(metrics["action_error"], np.square(mode - batch.action).mean())
    check_gradients(loss, state, after, "actor")


def test_bc_of_discrete_actions():
    bc = small("bc")
    spec = spec_of(small("discrete_cql"))
    batch = make_batch(spec)
    state = bc.init(jax.random.key(0), spec)
    state = dataclasses.replace(state, nets=jax.tree.map(lambda leaf: leaf + 0.3, state.nets))
    _, metrics = jax.jit(bc.update)(state, batch, jax.random.key(1))
    logits = mlp(jax.tree.map(np.asarray, state.nets["actor"].trunk), batch.observation)
    close(metrics["actor_loss"], -special.log_softmax(logits, -1)[np.arange(ROWS), batch.action].mean())
    close(metrics["action_error"], (logits.argmax(-1) != batch.action).mean())

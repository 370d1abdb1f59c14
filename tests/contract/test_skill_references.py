"""One update of every method that learns skills against a second implementation in NumPy, written from the papers.

As in `test_references`: losses through the metrics, gradients through Adam's first moment.
"""

from __future__ import annotations

import jax
import numpy as np
import pytest
from problems import DIMENSIONS, ROWS, SKILL, make_batch, small, spec_of
from scipy import stats
from test_goal_references import join
from test_references import _fixed_numbers as _fixed_numbers
from test_references import check_gradients, close, critics, members, mlp, normal_numbers, uniform_numbers, updated

from headstart import losses
from headstart.algos.iql import IQL

pytestmark = pytest.mark.usefixtures("quick_compilation")


def test_hilp():
    hilp = small("hilp", expectile=0.8, skill_expectile=0.7, inverse_temperature=2.0, skill_discount=0.6)
    state, batch, after, metrics = updated(hilp)
    s, s_next, goal = batch.observation, batch.next_observation, batch.context
    phi = [mlp(net, s) for net in members(state.nets["phi"].phi)]
    assert len(phi) == 2

    def distance_value(net, here):
        return -np.stack([np.linalg.norm(mlp(one, here) - mlp(one, goal), axis=-1) for one in members(net.phi)])

    target = state.targets["phi"]
    backups = batch.reward + batch.discount * distance_value(target, s_next)
    worst = batch.reward + batch.discount * distance_value(target, s_next).min(0)
    advantage = worst - distance_value(target, s).mean(0)
    weight = np.where(advantage >= 0.0, 0.8, 0.2)
    assert 0 < (advantage < 0).sum() < ROWS

    def phi_loss(net):
        return (weight * np.square(backups - distance_value(net, s))).mean(1).sum()

    close(metrics["phi_loss"], phi_loss(state.nets["phi"]))
    close(metrics["distance"], -distance_value(state.nets["phi"], s).mean())
    check_gradients(phi_loss, state, after, "phi")

    # The skills' part: IQL on rewards that a skill gives to the step.
    z = normal_numbers((ROWS, SKILL))
    z /= np.linalg.norm(z, axis=-1, keepdims=True)
    first = members(state.nets["phi"].phi)[0]
    reward = ((mlp(first, s_next) - mlp(first, s)) * z).sum(-1)
    close(metrics["skill_reward"], reward.mean())
    q = critics(state.targets["critic"], join(s, z), batch.action).min(0)

    def value_loss(value):
        u = q - mlp(value.trunk, join(s, z))[:, 0]
        return (np.where(u > 0, 0.7, 0.3) * u**2).mean()

    close(metrics["value_loss"], value_loss(state.nets["value"]))
    check_gradients(value_loss, state, after, "value")
    value = after.nets["value"]
    weights = np.minimum(np.exp(2.0 * (q - mlp(value.trunk, join(s, z))[:, 0])), 100.0)

    def actor_loss(actor):
        std = np.exp(np.clip(actor.log_std, -5.0, 2.0))
        log_density = stats.norm.logpdf(batch.action, np.tanh(mlp(actor.trunk, join(s, z))), std).sum(-1)
        return -(weights * log_density).mean()

    close(metrics["actor_loss"], actor_loss(state.nets["actor"]))
    check_gradients(actor_loss, state, after, "actor")
    # Neither the batch's rewards nor its ends count.
    backup = reward + 0.6 * mlp(value.trunk, join(s_next, z))[:, 0]

    def td_loss(critic):
        return np.square(critics(critic, join(s, z), batch.action) - backup).mean(1).sum()

    close(metrics["td_loss"], td_loss(state.nets["critic"]))
    check_gradients(td_loss, state, after, "critic")


def test_fb():
    fb = small("fb", orthonormality=0.7, mix=0.4, discount=0.8)
    state, batch, after, metrics = updated(fb)
    s, s_next = batch.observation, batch.next_observation

    def to_sphere(x):
        return x * np.sqrt(SKILL) / np.linalg.norm(x, axis=-1, keepdims=True)

    def backward(net):
        return to_sphere(mlp(net, s_next))

    def forward(ensemble, *inputs):
        return [mlp(net.trunk, join(*inputs)) for net in members(ensemble)]

    noise = np.clip(0.2 * normal_numbers((ROWS, DIMENSIONS)), -0.3, 0.3)

    def act(actor, here):
        return np.clip(np.tanh(mlp(actor.trunk, join(here, z))) + noise, -1.0, 1.0)

    mixed = uniform_numbers((ROWS, 1)) < 0.4
    assert 0 < mixed.sum() < ROWS
    z = np.where(mixed, np.roll(backward(state.nets["backward"]), 1, axis=0), to_sphere(normal_numbers((ROWS, SKILL))))
    ahead = forward(state.targets["forward"], s_next, z, act(state.nets["actor"], s_next))
    backup = 0.8 * np.minimum(*(one @ backward(state.targets["backward"]).T for one in ahead))
    own = np.eye(ROWS, dtype=bool)

    def measure_loss(forward_net, backward_net):
        total = 0.0
        for one in forward(forward_net, s, z, batch.action):
            m = one @ backward(backward_net).T
            total += 0.5 * np.square(m - backup)[~own].mean() - np.diag(m).mean()
        return total

    def spread(backward_net):
        gram = backward(backward_net) @ backward(backward_net).T
        return np.square(gram)[~own].mean() - 2.0 * np.diag(gram).mean()

    close(metrics["measure_loss"], measure_loss(state.nets["forward"], state.nets["backward"]))
    close(metrics["orthonormality_loss"], spread(state.nets["backward"]))
    check_gradients(lambda net: measure_loss(net, state.nets["backward"]), state, after, "forward")
    check_gradients(
        lambda net: measure_loss(state.nets["forward"], net) + 0.7 * spread(net), state, after, "backward"
    )  # fmt: skip

    def actor_loss(actor):
        # It sees F after its step.
        q = [(one * z).sum(-1) for one in forward(after.nets["forward"], s, z, act(actor, s))]
        return -np.minimum(*q).mean()

    close(metrics["actor_loss"], actor_loss(state.nets["actor"]))
    check_gradients(actor_loss, state, after, "actor")


class TestSkills:
    """Without the fixed numbers of the references."""

    @pytest.fixture(autouse=True)
    def _fixed_numbers(self):
        """Random numbers as they are."""

    def test_skills_differ_between_rows_and_updates_of_one_compiled_loop(self, monkeypatch):
        """They were once drawn while the update was traced, and stayed the same for a whole run."""
        monkeypatch.setattr(IQL, "update", lambda self, state, batch, key: (state, {"skill": batch.context}))
        hilp = small("hilp")
        spec = spec_of(hilp)
        batch = make_batch(spec)

        def updates(key):
            def one(state, step):
                return hilp.update(state, batch, jax.random.fold_in(key, step))

            return jax.lax.scan(one, hilp.init(key, spec), np.arange(5))[1]["skill"]

        skills = np.asarray(jax.jit(updates)(jax.random.key(0)))
        assert skills.shape == (5, ROWS, SKILL)
        np.testing.assert_allclose(np.linalg.norm(skills, axis=-1), 1.0, rtol=1e-5)
        flat = skills.reshape(-1, SKILL)
        apart = np.abs(flat[:, None] - flat[None]).max(-1) + np.eye(len(flat))
        assert apart.min() > 1e-4


def test_opal():
    opal = small("opal", beta=0.7)
    state, batch, after, metrics = updated(opal)
    assert 0 < batch.valid[:, 1:].sum() < batch.valid[:, 1:].size
    along, action = batch.chunk_observation, batch.action
    noise = normal_numbers((ROWS, SKILL))

    def normal(net, x):
        mean, raw = np.split(mlp(net.trunk, x), 2, -1)
        return mean, np.exp(np.clip(net.log_std_scale * raw + net.log_std_offset, -20.0, 2.0))

    def terms(decoder, prior, posterior):
        """(B,) log-likelihood of a stretch's actions and divergence of its skill."""
        stretch = np.concatenate([join(along[:, t], action[:, t]) for t in range(opal.chunk)], -1)
        (mean, std), (expected, spread) = normal(posterior, stretch), normal(prior, along[:, 0])
        z = np.tanh(mean + std * noise)
        likelihood = 0.0
        for t in range(opal.chunk):
            doing = np.tanh(mlp(decoder.trunk, join(along[:, t], z)))
            density = stats.norm.logpdf(action[:, t], doing, np.exp(np.clip(decoder.log_std, -5.0, 2.0))).sum(-1)
            likelihood = likelihood + batch.valid[:, t] * density
        ratio = (std**2 + (mean - expected) ** 2) / spread**2
        return likelihood, (np.log(spread / std) + ratio / 2 - 0.5).sum(-1)

    nets = {name: state.nets[name] for name in ("decoder", "prior", "posterior")}

    def loss(**changed):
        likelihood, divergence = terms(**nets | changed)
        return (0.7 * divergence - likelihood).mean()

    likelihood, divergence = terms(**nets)
    assert divergence.min() > 0.0
    close(metrics["log_likelihood"], likelihood.mean())
    close(metrics["divergence"], divergence.mean())
    close(metrics["elbo_loss"], loss())
    for name in nets:
        check_gradients(lambda net, name=name: loss(**{name: net}), state, after, name)


def test_the_divergence_of_normals_is_that_of_their_densities_and_of_their_tanh():
    """By quadrature, in one dimension and in the coordinates that skills have."""
    mean, std, expected, spread = 0.4, 0.5, -0.3, 0.9
    z = np.linspace(-1.0, 1.0, 200_001)[1:-1]
    u, slope = np.arctanh(z), 1.0 / (1.0 - z**2)
    p, q = (stats.norm.pdf(u, *law) * slope for law in ((mean, std), (expected, spread)))
    by_density = np.where(p > 1e-290, p * (np.log(np.maximum(p, 1e-300)) - np.log(q)), 0.0).sum() * (z[1] - z[0])
    found = losses.skills.normal_divergence(*(np.array([x]) for x in (mean, np.log(std), expected, np.log(spread))))
    np.testing.assert_allclose(found, by_density, rtol=1e-4)

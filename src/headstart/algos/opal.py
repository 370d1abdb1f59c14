"""Latent skills of stretches of experience."""

from __future__ import annotations

import dataclasses

from headstart import config
from headstart.algorithm import View
from headstart.algos.require import continuous_actions, sound_fields
from headstart.algos.shared import advance, fresh_state, step_all
from headstart.errors import UsageError
from headstart.lazy import jax, jnp, losses, nets, optim


@dataclasses.dataclass(frozen=True)
class OPAL:
    """OPAL (Ajay et al. 2021): a variational autoencoder of stretches of experience, whose code is a skill.

    The posterior q(z | s_0, a_0, ..., s_c-1, a_c-1) reads a stretch of c steps, the decoder pi(a | s, z) does what
    was done in it, seeing every state anew, and the prior p(z | s_0) expects what may follow a state. Needs no rewards.
    Others then act by its skills (`Skills`); on its own it acts by the prior, which decides anew at every step.

    A skill is tanh of a normal variable, so that it lies in [-1, 1] like an action; the objective is the same.
    """

    skill_size: int = 8
    """Numbers of a skill."""
    chunk: int = 10
    """Steps of a stretch, c."""
    beta: float = 0.1
    """Weight of the divergence of the posterior from the prior, against the log-likelihood of the actions."""
    actor_widths: tuple[int, ...] = (200, 200)
    """Hidden layers of decoder and prior."""
    posterior_widths: tuple[int, ...] = (200, 200)
    """Hidden layers of the posterior."""
    actor_lr: float = 1e-3
    """Adam learning rate of all three."""
    batch_size: int = 256
    """Stretches of a batch."""

    def __post_init__(self):
        sound_fields(self)
        config.at_least(self, 1, "skill_size", "posterior_widths")
        config.at_least(self, 0, "beta")
        if self.chunk < 2:
            raise UsageError(f"OPAL.chunk: skills last at least 2 steps, found {self.chunk}")

    def view(self):
        return View(batch_size=self.batch_size, rewards=False, chunk=self.chunk, chunk_observations=True)

    def init(self, key, spec):
        continuous_actions("opal", spec)
        decoder_key, prior_key, posterior_key = jax.random.split(key, 3)
        stretch = self.chunk * (spec.observation_size + spec.action.size)
        size = self.skill_size

        def over_skills(inputs, widths, key):
            # Initially about standard normal.
            trunk = nets.MLP(inputs, widths, 2 * size, key, output_gain=0.1)
            return nets.TanhGaussianActor(trunk, log_std_offset=0.0)

        trunk = nets.MLP(
            spec.observation_size + size, self.actor_widths, spec.action.size, decoder_key, output_gain=0.1
        )
        components = {
            "decoder": nets.GaussianActor(trunk, spec.action.size),
            "prior": over_skills(spec.observation_size, self.actor_widths, prior_key),
            "posterior": over_skills(stretch, self.posterior_widths, posterior_key),
        }
        return fresh_state(components, self._optimizers(), targets=())

    def update(self, state, batch, key):
        along = self._features(batch.chunk_observation)

        def elbo_loss(parts):
            mean, log_std = found = parts["posterior"].parameters(self._stretch(along, batch.action))
            expected = parts["prior"].parameters(along[:, 0])
            skill = jnp.tanh(mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape))
            told = jnp.broadcast_to(skill[:, None], (*along.shape[:2], self.skill_size))
            log_prob = parts["decoder"].log_prob(jnp.concatenate([along, told], axis=-1), batch.action)
            log_likelihood = (batch.valid * log_prob).sum(1).mean()
            divergence = losses.skills.normal_divergence(*found, *expected).mean()
            loss = self.beta * divergence - log_likelihood
            return loss, {"elbo_loss": loss, "log_likelihood": log_likelihood, "divergence": divergence}

        parts = {name: state.nets[name] for name in self._optimizers()}
        grads, metrics = jax.grad(elbo_loss, has_aux=True)(parts)
        return advance(state, *step_all(self._optimizers(), grads, state), tau=0.0), metrics

    def policy(self, state):
        return nets.PriorPolicy(state.nets["prior"], state.nets["decoder"])

    def low_level(self, state):
        return nets.Policy(state.nets["decoder"])

    def skill_of(self, state, along, action, reached):
        return state.nets["posterior"].mode(self._stretch(self._features(along), action))

    def _features(self, along):
        """(B, c, f) of observations along stretches."""
        return jax.vmap(nets.flatten, in_axes=1, out_axes=1)(along)

    def _stretch(self, features, action):
        """(B, c * (f + d)): what the posterior reads."""
        stretch = jnp.concatenate([features, action], axis=-1)
        return stretch.reshape(len(stretch), -1)

    def _optimizers(self):
        return {name: optim.adam(self.actor_lr) for name in ("decoder", "prior", "posterior")}

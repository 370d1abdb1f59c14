"""Latent actions: what was done, found in observations alone."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from headstart import config
from headstart.algorithm import View
from headstart.algos.require import known_actions, sound_fields
from headstart.algos.shared import advance, fresh_state, step_all
from headstart.errors import UsageError
from headstart.lazy import jax, jnp, losses, nets, optim


@dataclasses.dataclass(frozen=True)
class LAPO:
    """Latent action policies (Schmidt and Jiang 2024): pretraining from observations, and a few actions to decode it.

    An inverse model q(z | s, s') says by a latent action z what led from s to s', as shortly as a forward model
    p(s' | s, z) can do with; a latent policy pi(z | s) imitates what it says. With `decode` the same goes on, on data
    with actions, as few as there are: all that stands still but for a decoder from (s, z) to the action, and the model
    acts.

    z is tanh of a normal variable, so that it lies in [-1, 1] like an action; its divergence from a standard normal
    one is the bottleneck. The paper's is a vector quantiser, and its networks are convolutional.
    """

    representation: ClassVar[str] = "latent_actor"

    latent_size: int = 4
    """Numbers of a latent action: at least as many as the actions have degrees of freedom."""
    beta: float = 0.1
    """Weight of the divergence, in nats of the forward model's likelihood: the larger, the less z says. At 1 it may say
    nothing, where a normal distribution explains what follows a state without it."""
    decode: bool = False
    """Learn the decoder, from data with actions; the rest comes from a model pretrained without this."""
    actor_widths: tuple[int, ...] = (256, 256)
    """Hidden layers of the latent policy and of the decoder."""
    model_widths: tuple[int, ...] = (256, 256)
    """Hidden layers of the inverse and of the forward model."""
    actor_lr: float = 3e-4
    """Adam learning rate of the latent policy and of the decoder."""
    model_lr: float = 3e-4
    """Adam learning rate of both models."""
    batch_size: int = 256
    """Rows of a batch."""

    def __post_init__(self):
        sound_fields(self)
        config.at_least(self, 1, "latent_size", "model_widths")
        config.at_least(self, 0, "beta")

    def view(self):
        return View(batch_size=self.batch_size, actions=self.decode, rewards=False)

    def init(self, key, spec):
        model_key, forward_key, actor_key, decoder_key = jax.random.split(key, 4)
        size, latent = spec.observation_size, self.latent_size

        def over_latents(inputs, widths, key):
            # Initially about standard normal.
            trunk = nets.MLP(inputs, widths, 2 * latent, key, output_gain=0.1)
            return nets.TanhGaussianActor(trunk, log_std_offset=0.0)

        components = {
            "inverse": over_latents(2 * size, self.model_widths, model_key),
            "latent_actor": over_latents(size, self.actor_widths, actor_key),
        }
        if self.decode:
            known_actions("lapo (decode)", spec)
            outputs = spec.action.categories if spec.action.discrete else spec.action.size
            trunk = nets.MLP(size + latent, self.actor_widths, outputs, decoder_key, output_gain=0.01)
            discrete = spec.action.discrete
            components["decoder"] = nets.CategoricalActor(trunk) if discrete else nets.DeterministicActor(trunk, 0.0)
        else:
            components["dynamics"] = nets.ForwardModel(size, latent, self.model_widths, forward_key)
        return fresh_state(components, self._optimizers(), targets=())

    def update(self, state, batch, key):
        here, there = nets.flatten(batch.observation), nets.flatten(batch.next_observation)
        step = self._decoded if self.decode else self._found
        grads, metrics = step(state, here, jnp.concatenate([here, there], axis=-1), there, batch.action, key)
        return advance(state, *step_all(self._optimizers(), grads, state), tau=0.0), metrics

    def _found(self, state, here, both, there, _, key):
        def model_loss(parts):
            mean, log_std = parts["inverse"].parameters(both)
            latent = jnp.tanh(mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape))
            log_likelihood = parts["dynamics"].log_likelihood(here, latent, there)
            rest = jnp.zeros_like(mean)
            divergence = losses.skills.normal_divergence(mean, log_std, rest, rest).mean()
            loss = self.beta * divergence - log_likelihood
            return loss, (latent, {"model_loss": loss, "log_likelihood": log_likelihood, "divergence": divergence})

        parts = {name: state.nets[name] for name in ("inverse", "dynamics")}
        grads, (latent, metrics) = jax.grad(model_loss, has_aux=True)(parts)

        def actor_loss(actor):
            return -actor.log_prob(here, latent).mean()

        metrics["actor_loss"], grads["latent_actor"] = jax.value_and_grad(actor_loss)(state.nets["latent_actor"])
        return grads, metrics

    def _decoded(self, state, here, both, there, action, key):
        # As noisy as the latent policy's are, so that the decoder learns what matters of them.
        latent = state.nets["inverse"].sample(both, key)
        features = jnp.concatenate([here, latent], axis=-1)

        def decoder_loss(decoder):
            found = decoder.mode(features)
            if isinstance(decoder, nets.CategoricalActor):
                loss, error = -decoder.log_prob(features, action).mean(), (found != action).mean()
            else:
                loss = error = jnp.square(found - action).mean()
            return loss, {"decoder_loss": loss, "action_error": error}

        grads, metrics = jax.grad(decoder_loss, has_aux=True)(state.nets["decoder"])
        return {"decoder": grads}, metrics

    def policy(self, state):
        if not self.decode:
            raise UsageError("lapo acts when its latent actions are decoded; go on with data that has actions (decode)")
        return nets.PriorPolicy(state.nets["latent_actor"], state.nets["decoder"])

    def features(self, state, observation):
        return state.nets["latent_actor"].trunk.last_hidden(nets.flatten(observation))

    def latent(self, state, observation, next_observation):
        """(B, k) the likeliest latent actions between observations."""
        return state.nets["inverse"].mode(
            jnp.concatenate([nets.flatten(observation), nets.flatten(next_observation)], axis=-1)
        )

    def action(self, state, observation, next_observation):
        """Actions, as policies give them, that are read from what followed observations; with `decode`."""
        latent = self.latent(state, observation, next_observation)
        return nets.Policy(state.nets["decoder"])(observation, context=latent)

    def _optimizers(self):
        if self.decode:
            return {"decoder": optim.adam(self.actor_lr)}
        models = {name: optim.adam(self.model_lr) for name in ("inverse", "dynamics")}
        return models | {"latent_actor": optim.adam(self.actor_lr)}

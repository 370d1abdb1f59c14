"""What SAC and the CQL family share: a tanh-Gaussian actor, a critic ensemble and a learned temperature.

`algorithm` is any of their dataclasses; they name the fields used here alike.
"""

from __future__ import annotations

from headstart.algos.shared import fresh_state, step_all
from headstart.lazy import jax, jnp, losses, nets, optim


def init(algorithm, key, spec):
    """Fresh state with `actor`, `critic` (and its target) and `temperature`."""
    actor_key, critic_key = jax.random.split(key)
    components = {
        "actor": nets.tanh_gaussian_actor(
            spec, algorithm.actor_widths, actor_key, algorithm.initialiser, layer_norm=algorithm.actor_layer_norm
        ),
        "critic": nets.critic_ensemble(
            spec, algorithm.critic_widths, algorithm.critics, critic_key, init=algorithm.initialiser,
            output_gain=0.01, output_bias=algorithm.critic_bias, layer_norm=algorithm.critic_layer_norm,
        ),
        "temperature": nets.Scalar(jnp.log(algorithm.initial_temperature)),
    }  # fmt: skip
    return fresh_state(components, optimizers(algorithm), targets=("critic",))


def optimizers(algorithm) -> dict:
    """{component: optimiser} of what both train."""
    return {
        "actor": optim.adam(algorithm.actor_lr),
        "critic": optim.adam(algorithm.critic_lr),
        "temperature": optim.adam(algorithm.temperature_lr),
    }


def actor_step(algorithm, old, features, key, imitation=None):
    """One step of actor and temperature at the pre-update critic.

    features: (B, f). imitation: (data actions (B, d), weight of Q, weight of the data's log-likelihood) in the actor's
    loss, or None: weights 1 and 0. Returns ({component: net}, {component: optimiser state}, metrics).
    """
    critic, log_temperature = old.nets["critic"], old.nets["temperature"]()
    temperature = jnp.exp(log_temperature)

    def actor_loss(actor):
        action, log_prob = actor.sample_with_log_prob(features, key)
        q = critic(features, action)
        q = q.mean(0) if algorithm.actor_value == "mean" else q.min(0)
        gain = q
        if imitation is not None:
            data_action, q_weight, data_weight = imitation
            gain = q_weight * q + data_weight * actor.log_prob(features, data_action)
        return losses.policy.soft_policy(log_prob, gain, temperature).mean(), (log_prob, q)

    (loss, (log_prob, q)), actor_grads = jax.value_and_grad(actor_loss, has_aux=True)(old.nets["actor"])
    target_entropy = -algorithm.target_entropy_scale * old.nets["actor"].size

    def temperature_loss(scalar):
        return losses.policy.temperature(scalar(), log_prob, target_entropy).mean()

    temperature_grads = jax.grad(temperature_loss)(old.nets["temperature"])
    new_nets, new_opt_state = step_all(
        optimizers(algorithm), {"actor": actor_grads, "temperature": temperature_grads}, old
    )
    metrics = {"actor_loss": loss, "entropy": -log_prob.mean(), "temperature": temperature, "q_policy": q.mean()}
    return new_nets, new_opt_state, metrics

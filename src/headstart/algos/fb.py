"""Forward-backward representations."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

from headstart import config
from headstart.algorithm import View
from headstart.algos.shared import advance, fresh_state, step_all
from headstart.algos.skills import require_skills, scaled, seen_part, sound_skills
from headstart.algos.td3bc import TD3BC
from headstart.lazy import jax, jnp, losses, nets, optim


@dataclasses.dataclass(frozen=True)
class FB:
    """Forward-backward representations (Touati and Ollivier 2021; settings of Touati et al. 2023).

    F(s, a, z)^T B(s') is the density of where the policy of skill z goes from (s, a), relative to the data's: its
    successor measure, learned without rewards. Whatever reward comes, z = E[r(s) B(s)] makes F(s, a, z)^T z its value
    and pi(s, z), which climbs that, the policy for it. `Artifact.prompt` computes z.
    """

    skill_size: int = 50
    """Dimensions of F, B and z, which has length sqrt(skill_size)."""
    mix: float = 0.5
    """Share of the rows whose z is B of another row's state; the others' are uniform on the sphere."""
    orthonormality: float = 1.0
    """Weight of the loss that makes E[B B^T] the identity."""
    actor_widths: tuple[int, ...] = (1024, 1024)
    """Hidden layers of the actor."""
    forward_widths: tuple[int, ...] = (1024, 1024)
    """Hidden layers of each of the two F."""
    backward_widths: tuple[int, ...] = (512, 512)
    """Hidden layers of B."""
    layer_norm: bool = True
    """LayerNorm in F and B."""
    exploration_noise: float = 0.2
    """Standard deviation of the noise on sampled actions, and on those at which F learns."""
    noise_limit: float = 0.3
    """Largest noise on actions at which F learns."""
    actor_lr: float = 1e-4
    """Adam learning rate of the actor."""
    critic_lr: float = 1e-4
    """Adam learning rate of F and B."""
    tau: float = 0.01
    """Share of the online F and B that moves into the targets each update."""
    discount: float = 0.98
    """gamma per step (mazes: 0.99)."""
    batch_size: int = 1024
    """Rows of a batch; each is a pair with every other."""
    goal_array: str = ""
    """Name of the array of observations that B looks at, where they have names."""
    goal_entries: tuple[int, ...] = ()
    """Entries of that array; none: all."""

    representation: ClassVar[str] = "backward"

    def __post_init__(self):
        sound_skills(self, "mix")
        config.at_least(self, 0, "orthonormality", "exploration_noise", "noise_limit")
        config.at_least(self, 1, "forward_widths", "backward_widths")
        config.at_least(self, 2, "batch_size")

    def view(self):
        return View(
            batch_size=self.batch_size, discount=self.discount, rewards=False, goal=seen_part(self),
            skill=self.skill_size,
        )  # fmt: skip

    def init(self, key, spec):
        require_skills("fb", self, spec)
        actor_key, forward_key, backward_key = jax.random.split(key, 3)
        inputs, size, options = spec.input_size + spec.action.size, self.skill_size, {"layer_norm": self.layer_norm}
        components = {
            "actor": nets.DeterministicActor(
                nets.MLP(spec.input_size, self.actor_widths, spec.action.size, actor_key), self.exploration_noise
            ),
            "forward": nets.Ensemble.of(
                lambda key: nets.Successor(nets.MLP(inputs, self.forward_widths, size, key, **options)), 2, forward_key
            ),
            "backward": nets.MLP(
                seen_part(self).context(spec).size, self.backward_widths, size, backward_key, **options
            ),
        }  # fmt: skip
        return fresh_state(components, self._optimizers(), targets=("forward", "backward"))

    def update(self, state, batch, key):
        seen = self._seen(batch.next_observation)
        skill_key, mix_key, next_key, here_key = jax.random.split(key, 4)
        skill = nets.to_sphere(jax.random.normal(skill_key, (batch.size, self.skill_size)))
        # Rows are drawn independently: the neighbour is a random one.
        reached = jnp.roll(self._backward(state.nets["backward"], seen), 1, axis=0)
        mixed = jax.random.uniform(mix_key, (batch.size, 1)) < self.mix
        skill = jnp.where(mixed, reached, skill)
        features, next_features = (
            nets.flatten(observation, skill) for observation in (batch.observation, batch.next_observation)
        )
        next_action = self._noisy(state.nets["actor"].mode(next_features), next_key)
        ahead = state.targets["forward"](next_features, next_action)
        backup = self.discount * (ahead @ self._backward(state.targets["backward"], seen).T).min(0)

        def measure_loss(parts):
            to = self._backward(parts["backward"], seen)
            measures = parts["forward"](features, batch.action) @ to.T
            measure = sum(losses.skills.successor_measure(one, backup).mean() for one in measures)
            spread = losses.skills.orthonormality(to @ to.T).mean()
            return measure + self.orthonormality * spread, {
                "measure_loss": measure, "orthonormality_loss": spread, "measure": measures.mean()
            }  # fmt: skip

        parts = {name: state.nets[name] for name in ("forward", "backward")}
        grads, metrics = jax.grad(measure_loss, has_aux=True)(parts)
        new_nets, new_opt_state = step_all(self._optimizers(), grads, state)

        def actor_loss(actor):
            action = self._noisy(actor.mode(features), here_key)
            q = (new_nets["forward"](features, action) * skill).sum(-1).min(0)
            return -q.mean(), {"actor_loss": -q.mean()}

        actor_grads, actor_metrics = jax.grad(actor_loss, has_aux=True)(state.nets["actor"])
        actor_nets, actor_opt_state = step_all(self._optimizers(), {"actor": actor_grads}, state)
        state = advance(state, new_nets | actor_nets, new_opt_state | actor_opt_state, self.tau)
        return state, metrics | actor_metrics

    def policy(self, state):
        return nets.Policy(state.nets["actor"])

    def towards(self, state, observation, goal):
        return self._backward(state.nets["backward"], nets.flatten(goal))

    def features(self, state, observation):
        return self._backward(state.nets["backward"], self._seen(observation))

    def skill(self, features, rewards):
        return scaled((rewards[:, None] * features).mean(0), math.sqrt(self.skill_size))

    def learner(self):
        return TD3BC(
            q_weight=1.0, behaviour_weight=0.0, actor_widths=self.actor_widths, critic_widths=self.forward_widths,
            critic_layer_norm=self.layer_norm, exploration_noise=self.exploration_noise, actor_lr=self.actor_lr,
            critic_lr=self.critic_lr, tau=self.tau, discount=self.discount, batch_size=self.batch_size,
        )  # fmt: skip

    def at_skill(self, state, skill):
        before = state.nets["actor"].trunk.inputs - self.skill_size

        def told(actor, forward):
            critic = nets.valued(nets.told(forward, before, skill), skill)
            return {"actor": nets.told(actor, before, skill), "critic": critic}

        actor = state.nets["actor"]
        return told(actor, state.nets["forward"]), told(actor, state.targets["forward"])

    def low_level(self, state):
        return nets.SkillPolicy(state.nets["actor"], length=math.sqrt(self.skill_size))

    def skill_of(self, state, along, action, reached):
        return nets.to_unit(self.features(state, reached))

    def _seen(self, observation):
        return nets.flatten(seen_part(self).of(observation))

    def _backward(self, net, seen):
        return nets.to_sphere(net(seen))

    def _noisy(self, action, key):
        noise = self.exploration_noise * jax.random.normal(key, action.shape)
        return jnp.clip(action + jnp.clip(noise, -self.noise_limit, self.noise_limit), -1.0, 1.0)

    def _optimizers(self):
        slow = {name: optim.adam(self.critic_lr) for name in ("forward", "backward")}
        return slow | {"actor": optim.adam(self.actor_lr)}

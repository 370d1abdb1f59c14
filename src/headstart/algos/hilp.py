"""Hilbert foundation policies."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

import numpy as np

from headstart.algorithm import Goals, View
from headstart.algos.goals import ensemble_value, value_loss
from headstart.algos.iql import IQL
from headstart.algos.shared import advance, fresh_state, step_all
from headstart.algos.skills import first, require_skills, scaled, seen_part, sound_skills
from headstart.lazy import jax, jnp, nets, optim


@dataclasses.dataclass(frozen=True)
class HILP:
    """Hilbert foundation policies (Park et al. 2024): a space in which straight lines are ways, and a policy for every
    direction in it.

    |phi(s) - phi(g)| is the time from s to g, learned by action-free expectile regression as in GCIVL. A skill is a
    unit vector z, its reward <phi(s') - phi(s), z>, and one policy pi(a | s, z) learns all of them, by IQL as in the
    paper's experiments with goals, whose settings these are. Needs neither rewards nor goals; `Artifact.prompt` tells
    it what to do.
    """

    skill_size: int = 32
    """Dimensions of phi and of skills."""
    expectile: float = 0.95
    """Expectile of the distance's regression: near 1 it is the shortest way, where the data shows one."""
    skill_expectile: float = 0.9
    """Expectile of Q over the data's actions that V(s, z) regresses to."""
    inverse_temperature: float = 10.0
    """Weight of the advantage in the exponent of the policy's regression."""
    actor_widths: tuple[int, ...] = (512, 512, 512)
    """Hidden layers of the actor."""
    critic_widths: tuple[int, ...] = (512, 512, 512)
    """Hidden layers of phi, critics and value."""
    activation: Literal["gelu", "relu"] = "gelu"
    """Of the hidden layers of phi. relu, without LayerNorm, lets IQL, SAC and others start from them."""
    layer_norm: bool = True
    """LayerNorm in phi, critics and value."""
    actor_lr: float = 3e-4
    """Adam learning rate of the actor."""
    critic_lr: float = 3e-4
    """Adam learning rate of phi, critics and value."""
    tau: float = 5e-3
    """Share of the online phi and critics that moves into the targets each update."""
    discount: float = 0.99
    """gamma per step of the distance: far away it saturates at 1 / (1 - gamma)."""
    skill_discount: float = 0.99
    """gamma per step of the skills."""
    batch_size: int = 1024
    """Rows of a batch."""
    value_goals: tuple[float, float, float] = (0.0, 0.625, 0.375)
    """Shares of the goals that are the row's own observation, a later one of its episode, any of the data."""
    value_geometric: bool = True
    """Later ones Geometric(1 - discount) steps ahead, else uniformly up to the episode's end."""
    goal_array: str = ""
    """Name of the array of observations that phi looks at, where they have names."""
    goal_entries: tuple[int, ...] = ()
    """Entries of that array; none: all."""
    action_free: bool = False
    """phi alone is learned, from observations alone: there is no policy."""

    representation: ClassVar[str] = "phi"

    def __post_init__(self):
        sound_skills(self, "skill_expectile", "skill_discount")

    def view(self):
        goals = Goals(*self.value_goals, self.value_geometric)
        return View(
            batch_size=self.batch_size, discount=self.discount, actions=not self.action_free, rewards=False,
            goals=goals, goal=seen_part(self), skill=0 if self.action_free else self.skill_size,
        )  # fmt: skip

    def init(self, key, spec):
        learner_key, phi_key = jax.random.split(key)
        inputs = seen_part(self).context(spec).size
        options = nets.OGBENCH | {"activation": self.activation, "layer_norm": self.layer_norm}
        phi = {"phi": nets.HilbertValue(inputs, self.critic_widths, self.skill_size, phi_key, **options)}
        if self.action_free:
            return fresh_state(phi, self._optimizers(), targets=("phi",))
        require_skills("hilp", self, spec)
        components = self.learner().init(learner_key, spec).nets | phi
        return fresh_state(components, self._optimizers(), targets=("critic", "phi"))

    def update(self, state, batch, key):
        phi = state.nets["phi"]
        here, there = self._seen(batch.observation), self._seen(batch.next_observation)
        of_distance = (state.targets["phi"], here, there, nets.flatten(batch.context), batch, self.expectile)
        grads, found = jax.grad(value_loss, has_aux=True)(phi, *of_distance)
        new_nets, new_opt_state = step_all(self._optimizers(), {"phi": grads}, state)
        metrics = {"phi_loss": found["value_loss"], "distance": -found["value"]}
        if self.action_free:
            return advance(state, new_nets, new_opt_state, self.tau), metrics

        # Drawn from the update's key, new ones for every row and update.
        skill_key, learner_key = jax.random.split(key)
        skill = nets.to_unit(jax.random.normal(skill_key, (batch.size, self.skill_size)))
        reward = ((phi.represent(there) - phi.represent(here)) * skill).sum(-1)
        task = dataclasses.replace(
            batch, context=skill, reward=reward, discount=jnp.full_like(reward, self.skill_discount)
        )
        learned, learner_metrics = self.learner().update(state, task, learner_key)
        metrics |= learner_metrics | {"skill_reward": reward.mean()}
        return advance(state, learned.nets | new_nets, learned.opt_state | new_opt_state, self.tau), metrics

    def policy(self, state):
        return nets.Policy(state.nets["actor"])

    def towards(self, state, observation, goal):
        phi = state.nets["phi"].represent
        return nets.to_unit(phi(nets.flatten(goal)) - phi(self._seen(observation)))

    def features(self, state, observation):
        return state.nets["phi"].represent(self._seen(observation))

    def skill(self, features, rewards):
        # The sum of gamma^t <phi(s_t+1) - phi(s_t), z> is (1 - gamma) times that of gamma^t <phi(s_t+1), z>, but for
        # what is settled at the start: the skill of a reward of states is its regression on phi, with an intercept.
        centred = features - features.mean(0)
        return scaled(np.linalg.lstsq(centred, rewards - rewards.mean(), rcond=1e-4)[0], 1.0)

    def learner(self):
        return IQL(
            expectile=self.skill_expectile, inverse_temperature=self.inverse_temperature,
            actor_widths=self.actor_widths, critic_widths=self.critic_widths, critic_layer_norm=self.layer_norm,
            actor_lr=self.actor_lr, critic_lr=self.critic_lr, tau=self.tau, discount=self.skill_discount,
            batch_size=self.batch_size,
        )  # fmt: skip

    def at_skill(self, state, skill):
        before = state.nets["actor"].trunk.inputs - self.skill_size
        learned = {name: net for name, net in state.nets.items() if name != "phi"}, {"critic": state.targets["critic"]}
        return tuple({name: nets.told(net, before, skill) for name, net in part.items()} for part in learned)

    def low_level(self, state):
        return nets.SkillPolicy(state.nets["actor"], length=1.0)

    def skill_of(self, state, along, action, reached):
        return self.towards(state, first(along), seen_part(self).of(reached))

    def goal_value(self, state, observation, goal):
        return ensemble_value(state, seen_part(self).of(observation), goal, "phi")

    def _seen(self, observation):
        return nets.flatten(seen_part(self).of(observation))

    def _optimizers(self):
        if self.action_free:
            return {"phi": optim.adam(self.critic_lr)}
        slow = {name: optim.adam(self.critic_lr) for name in ("critic", "value", "phi")}
        return slow | {"actor": optim.adam(self.actor_lr)}

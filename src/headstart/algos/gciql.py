"""Goal-conditioned implicit Q-learning."""

from __future__ import annotations

import dataclasses
from typing import Literal

from headstart.algorithm import GoalPart
from headstart.algos.goals import climb_and_clone, goal_view, sizes, sound_goals, views_of, weighted_cloning
from headstart.algos.require import continuous_actions
from headstart.algos.shared import advance, bellman_error, fresh_state, step_all
from headstart.lazy import jax, jnp, losses, nets, optim


@dataclasses.dataclass(frozen=True)
class GCIQL:
    """Goal-conditioned implicit Q-learning (Kostrikov et al. 2021; Park et al. 2025): IQL's values over goals.

    V(s, g) regresses by expectile to the smaller target critic, Q(s, a, g) to r + gamma V(s', g). Unlike GCIVL it does
    not mistake luck for choice. All components step from the same old ones.
    """

    expectile: float = 0.9
    """Expectile of Q over the data's actions that V regresses to."""
    actor_loss: Literal["ddpgbc", "awr"] = "ddpgbc"
    """ddpgbc: climb the critic, near the data's actions. awr: imitate actions weighted by their advantage."""
    alpha: float = 0.3
    """ddpgbc: weight of the likelihood against normalised Q (0.003 to 1, the field to tune). awr: inverse temperature
    (10)."""
    actor_widths: tuple[int, ...] = (512, 512, 512)
    """Hidden layers of the actor."""
    critic_widths: tuple[int, ...] = (512, 512, 512)
    """Hidden layers of value and critics."""
    layer_norm: bool = True
    """LayerNorm in value and critics."""
    exploration_noise: float = 0.2
    """Standard deviation of the noise on sampled actions."""
    actor_lr: float = 3e-4
    """Adam learning rate of the actor."""
    critic_lr: float = 3e-4
    """Adam learning rate of value and critics."""
    tau: float = 5e-3
    """Share of the online critics that moves into the targets each update."""
    discount: float = 0.99
    """gamma per step (giant mazes: 0.995)."""
    batch_size: int = 1024
    """Rows of a batch."""
    value_goals: tuple[float, float, float] = (0.2, 0.5, 0.3)
    """Shares of the values' goals that are the row's own observation, a later one of its episode, any of the data."""
    value_geometric: bool = True
    """Later ones Geometric(1 - discount) steps ahead, else uniformly up to the episode's end."""
    actor_goals: tuple[float, float, float] = (0.0, 1.0, 0.0)
    """The same shares of the actor's goals."""
    actor_geometric: bool = False
    """The same law for the actor's goals."""
    commanded: float = 0.5
    """Online: share of the rows that learn on the goal that the environment had set, the others in hindsight."""
    goal_array: str = ""
    """Name of the array of observations that a goal is, where they have names."""
    goal_entries: tuple[int, ...] = ()
    """Entries of that array; none: all."""

    def __post_init__(self):
        sound_goals(self)

    def view(self):
        return goal_view(self, goal=GoalPart(self.goal_array, self.goal_entries))

    def init(self, key, spec):
        continuous_actions("gciql", spec)
        inputs = sum(sizes("gciql", spec))
        actor_key, critic_key, value_key = jax.random.split(key, 3)
        options = nets.OGBENCH | {"layer_norm": self.layer_norm}
        components = {
            "actor": nets.goal_actor(inputs, spec.action, self.actor_widths, self.exploration_noise, actor_key),
            "critic": nets.critic_ensemble(spec, self.critic_widths, 2, critic_key, **options),
            "value": nets.Value(nets.MLP(inputs, self.critic_widths, 1, value_key, **options)),
        }
        return fresh_state(components, self._optimizers(), targets=("critic",))

    def update(self, state, batch, key):
        here, there, goal, actor_goal = views_of(batch)
        features, next_features, actor_features = (
            jnp.concatenate(pair, axis=-1) for pair in ((here, goal), (there, goal), (here, actor_goal))
        )
        critic, value = state.nets["critic"], state.nets["value"]
        target_q = state.targets["critic"](features, batch.action).min(0)
        td_target = losses.value.bootstrap(batch.reward, batch.discount, value(next_features))

        def value_loss(value):
            v = value(features)
            loss = losses.value.expectile(target_q - v, self.expectile).mean()
            return loss, {"value_loss": loss, "value": v.mean()}

        def critic_loss(critic):
            q = critic(features, batch.action)
            loss = bellman_error(q, td_target)
            return loss, {"td_loss": loss, "q_data": q.mean()}

        def actor_loss(actor):
            if self.actor_loss == "awr":
                advantage = critic(actor_features, batch.action).min(0) - value(actor_features)
                return weighted_cloning(actor, actor_features, batch.action, advantage, self.alpha)
            return climb_and_clone(
                actor, actor_features, batch.action, lambda action: critic(actor_features, action).min(0), self.alpha
            )

        grads, metrics = {}, {}
        for name, loss in {"value": value_loss, "critic": critic_loss, "actor": actor_loss}.items():
            grads[name], found = jax.grad(loss, has_aux=True)(state.nets[name])
            metrics |= found
        return advance(state, *step_all(self._optimizers(), grads, state), self.tau), metrics

    def policy(self, state):
        return nets.Policy(state.nets["actor"])

    def goal_value(self, state, observation, goal):
        return state.nets["value"](nets.flatten(observation, nets.flatten(goal)))

    def _optimizers(self):
        critics = {name: optim.adam(self.critic_lr) for name in ("critic", "value")}
        return critics | {"actor": optim.adam(self.actor_lr)}

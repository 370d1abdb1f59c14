"""What goal-conditioned algorithms share: views, sizes, the action-free value loss, and the two ways to learn an actor.

They follow OGBench's agents (Park et al. 2025, arXiv:2410.20092), but for what each docstring says.
"""

from __future__ import annotations

from typing import Any

from headstart import config
from headstart.algorithm import Goals, View
from headstart.algos.require import known_actions, sound_fields
from headstart.errors import UsageError
from headstart.lazy import jnp, losses, nets


def sound_goals(algorithm: Any) -> None:
    """For `__post_init__`: `sound_fields`, weights and sizes of this family, and goals that can be drawn."""
    sound_fields(algorithm)
    sizes = ("latent_size", "component_size", "representation_size", "subgoal_steps")
    config.at_least(algorithm, 1, *(name for name in sizes if hasattr(algorithm, name)))
    config.at_least(algorithm, 0, *(name for name in ("alpha", "exploration_noise") if hasattr(algorithm, name)))
    config.at_most(algorithm, 1, *(name for name in ("commanded",) if hasattr(algorithm, name)))
    algorithm.view()


def goal_view(algorithm: Any, values_commanded: bool = True, **more: Any) -> View:
    """The view that the fields of this family describe. values_commanded: the value may learn on goals that were set
    beforehand, whether they were reached or not. The actor is left out where the algorithm says so."""
    commanded = algorithm.commanded
    passive = getattr(algorithm, "action_free", False)
    return View(
        batch_size=algorithm.batch_size,
        discount=algorithm.discount,
        actions=not passive,
        rewards=False,
        goals=Goals(*algorithm.value_goals, algorithm.value_geometric, commanded if values_commanded else 0.0),
        actor_goals=Goals(*algorithm.actor_goals, algorithm.actor_geometric, commanded),
        **more,
    )


def sizes(name: str, spec: Any, actions: bool = False) -> tuple[int, int]:
    """Features of an observation and of a goal. Raises `UsageError` where the spec has no goals, or no actions though
    they are asked for."""
    if actions:
        known_actions(name, spec)
    if spec.context is None:
        raise UsageError(f"{name} learns to reach goals, and this spec has none as its context (`View.with_context`)")
    return spec.observation_size, spec.context.size


def views_of(batch: Any) -> tuple[Any, Any, Any, Any]:
    """Features (B, f) of s and s', and (B, c) of the value's and the actor's goal."""
    flatten = nets.flatten
    goals = (batch.context, batch.actor_context)
    return flatten(batch.observation), flatten(batch.next_observation), *(flatten(goal) for goal in goals)


def value_loss(value: Any, target: Any, here: Any, there: Any, goal: Any, batch: Any, expectile: float):
    """Action-free expectile regression of V(s, g), the value of GCIVL and HIQL (HIQL, eq. 4): (loss, metrics).

    Each of the two members regresses to its own target's backup; the weight looks at the advantage by both.
    """
    advantage = step_advantage(target, here, there, goal, batch.reward, batch.discount)
    return advantage_regression(value(here, goal), target(there, goal), batch, advantage, expectile)


def step_advantage(target: Any, here: Any, there: Any, goal: Any, reward: Any, discount: Any) -> Any:
    """(B,) r + gamma V(s', g) - V(s, g): the least backup over the ensemble, and its mean value."""
    return losses.value.bootstrap(reward, discount, target(there, goal).min(0)) - target(here, goal).mean(0)


def advantage_regression(v: Any, next_target: Any, batch: Any, advantage: Any, expectile: float):
    """Regression of values (E, B) to the backups of their own targets (E, B), which weighs steps by the sign of an
    advantage (B,): (loss, metrics)."""
    td_target = losses.value.bootstrap(
        *(jnp.broadcast_to(x, v.shape) for x in (batch.reward, batch.discount)), next_target
    )
    difference = td_target - v
    advantage = jnp.broadcast_to(advantage, v.shape)
    loss = losses.goals.advantage_expectile(difference, advantage, expectile).mean(1).sum()
    return loss, {"value_loss": loss, "value": v.mean(), "td_error": jnp.abs(difference).mean()}


def progress(value: Any, here: Any, there: Any, goal: Any) -> Any:
    """(B,) V(s', g) - V(s, g), mean of the ensemble: the advantage of an action where all have the same reward."""
    return value(there, goal).mean(0) - value(here, goal).mean(0)


def ensemble_value(state: Any, observation: Any, goal: Any, name: str = "value") -> Any:
    """(B,) V(s, g) of the component of that name, the mean of its members: minus the discounted steps to the goal."""
    flatten = nets.flatten
    return state.nets[name](flatten(observation), flatten(goal)).mean(0)


def weighted_cloning(actor: Any, features: Any, wanted: Any, advantage: Any, alpha: float):
    """-exp(alpha A) log pi(wanted | features), weights at most 100 (AWR): (mean loss, metrics)."""
    loss = losses.policy.advantage_weighted(actor.log_prob(features, wanted), advantage, alpha).mean()
    return loss, {"actor_loss": loss, "advantage": advantage.mean()}


def climb_and_clone(actor: Any, features: Any, action: Any, q_of: Any, alpha: float):
    """-Q(s, mode) / mean |Q| - alpha log pi(a|s) (DDPG+BC; Fujimoto and Gu 2021): (mean loss, metrics).

    q_of: actions (B, d) -> (B,).
    """
    q = q_of(actor.mode(features))
    log_prob = actor.log_prob(features, action)
    loss = (-losses.policy.normalised(q) - alpha * log_prob).mean()
    return loss, {"actor_loss": loss, "q_policy": q.mean(), "log_prob": log_prob.mean()}

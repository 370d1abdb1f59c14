"""Behaviour cloning: maximum likelihood of the data's actions."""

from __future__ import annotations

import dataclasses
from typing import Literal

from headstart import config
from headstart.algorithm import GoalPart, Goals, View
from headstart.algos.require import continuous_actions, known_actions, sound_fields
from headstart.algos.shared import flow_error, fresh_state
from headstart.errors import UsageError
from headstart.lazy import jax, nets, optim


@dataclasses.dataclass(frozen=True)
class BC:
    """Behaviour cloning (Pomerleau 1989); with goals or tasks as context it is their conditional form.

    On discrete actions the policy is a softmax, whatever `policy_kind` says.
    """

    policy_kind: Literal["tanh_gaussian", "gaussian", "deterministic", "flow", "unit_gaussian"] = "tanh_gaussian"
    """tanh_gaussian: what CQL, Cal-QL and SAC act with, so it transfers to them. gaussian: IQL's. deterministic:
    mean squared error. flow: FQL's, for data in which several actions are right at once; sample from it. unit_gaussian:
    OGBench's, with which its goal-conditioned methods act."""
    actor_widths: tuple[int, ...] = (256, 256)
    """Hidden layers of the actor."""
    layer_norm: bool = False
    """LayerNorm in the actor."""
    dropout: float = 0.0
    """Dropout rate in the hidden layers (gaussian only)."""
    exploration_noise: float = 0.2
    """Standard deviation of the noise on sampled actions (unit_gaussian only)."""
    flow_steps: int = 10
    """Euler steps from noise to action (flow only)."""
    actor_lr: float = 3e-4
    """Adam learning rate."""
    batch_size: int = 256
    """Rows of a batch."""
    goals: tuple[float, float, float] | None = None
    """Shares of goals that are the row's own observation, a later one of its episode (uniformly), any of the data.
    None: no goals; with them it is `gcbc`."""
    goal_array: str = ""
    """Name of the array of observations that a goal is, where they have names."""
    goal_entries: tuple[int, ...] = ()
    """Entries of that array; none: all."""
    tasks: bool = False
    """Act on tasks: the vector of each row's task joins the observation."""

    def __post_init__(self):
        sound_fields(self)
        if self.dropout and self.policy_kind != "gaussian":
            raise UsageError(f"dropout acts in the gaussian policy only, not in {self.policy_kind}; set it to 0")
        if self.layer_norm and self.policy_kind == "unit_gaussian":
            raise UsageError("OGBench's policy (unit_gaussian) has no LayerNorm; set layer_norm to false")
        self.view()

    def view(self) -> View:
        goals = None if self.goals is None else Goals(*self.goals)
        part = GoalPart(self.goal_array, self.goal_entries)
        return View(batch_size=self.batch_size, rewards=False, goals=goals, goal=part, tasks=self.tasks)

    def init(self, key, spec):
        known_actions("bc", spec)
        options = {"layer_norm": self.layer_norm}
        if self.policy_kind == "unit_gaussian":
            actor = nets.goal_actor(spec.input_size, spec.action, self.actor_widths, self.exploration_noise, key)
        elif spec.action.discrete:
            trunk = nets.MLP(
                spec.input_size, self.actor_widths, spec.action.categories, key, output_gain=0.01, **options
            )
            actor = nets.CategoricalActor(trunk)
        elif self.policy_kind == "tanh_gaussian":
            actor = nets.tanh_gaussian_actor(spec, self.actor_widths, key, **options)
        elif self.policy_kind == "flow":
            continuous_actions("bc", spec)
            actor = nets.flow_actor(
                spec.input_size, spec.action.size, self.actor_widths, key, self.flow_steps, **options
            )
        else:
            continuous_actions("bc", spec)
            trunk = nets.MLP(
                spec.input_size, self.actor_widths, spec.action.size, key,
                output_gain=0.01, dropout=self.dropout, **options,
            )  # fmt: skip
            gaussian = self.policy_kind == "gaussian"
            actor = nets.GaussianActor(trunk, spec.action.size) if gaussian else nets.DeterministicActor(trunk)
        return fresh_state({"actor": actor}, {"actor": optim.adam(self.actor_lr)}, targets=())

    def update(self, state, batch, key):
        features = nets.flatten(batch.observation, batch.context)

        def actor_loss(actor):
            if isinstance(actor, nets.FlowActor):
                loss = flow_error(actor, features, batch.action, key).mean()
                return loss, {"actor_loss": loss}
            mode = actor.mode(features)
            # Of discrete actions the share that differs.
            discrete = isinstance(actor, nets.CategoricalActor)
            error = (mode != batch.action if discrete else jax.numpy.square(mode - batch.action)).mean()
            if isinstance(actor, nets.DeterministicActor):
                return error, {"actor_loss": error, "action_error": error}
            options = {"key": key} if isinstance(actor, nets.GaussianActor) else {}
            loss = -actor.log_prob(features, batch.action, **options).mean()
            return loss, {"actor_loss": loss, "action_error": error}

        grads, metrics = jax.grad(actor_loss, has_aux=True)(state.nets["actor"])
        actor, opt_state = optim.step(optim.adam(self.actor_lr), grads, state.opt_state["actor"], state.nets["actor"])
        return dataclasses.replace(
            state,
            nets=state.nets | {"actor": actor},
            opt_state=state.opt_state | {"actor": opt_state},
            step=state.step + 1,
        ), metrics

    def policy(self, state):
        return nets.Policy(state.nets["actor"])


def GCBC(**changes) -> BC:
    """Goal-conditioned behaviour cloning (Lynch et al. 2020; Ghosh et al. 2021): BC towards what followed.

    Settings are OGBench's.
    """
    settings = {
        "policy_kind": "unit_gaussian", "actor_widths": (512, 512, 512), "batch_size": 1024, "goals": (0.0, 1.0, 0.0),
    }  # fmt: skip
    return config.replace(BC(**settings), **changes)

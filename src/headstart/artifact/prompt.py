"""Models of skills told what to do: by a goal, or by examples of rewards; and models of tasks, by the task."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from headstart.data.columns import map_arrays, named_arrays
from headstart.errors import UsageError
from headstart.train import acting

if TYPE_CHECKING:
    from headstart.artifact.model import Artifact

ROWS = 1 << 14
"""Reward examples whose features are computed at once."""


@dataclasses.dataclass(frozen=True, eq=False)
class Prompted:
    """A model of skills or tasks that was told what to do (`Artifact.prompt`); it acts like an artifact.

    artifact: the model. contexts: (S, k), the skill of every member, or the vector of the task; None where it goes
    towards goals. goal: the goal, an observation as the environment gives it; None where one is given at each call, as
    context. task: the name of the task, where it was told one by name.
    """

    artifact: Artifact
    contexts: np.ndarray | None = None
    goal: Any = None
    task: str | None = None

    @property
    def goals(self) -> bool:
        """Whether it takes a goal at each call."""
        return self.contexts is None and self.goal is None

    def policy(self, observation: Any, key: Any = None, context: Any = None, member: int = 0) -> np.ndarray:
        """As `Artifact.policy`. context: the goal where none was in the prompt, like the observation.

        Raises `UsageError` that names expected and found shapes.
        """
        artifact, member = self.artifact, self.artifact.require_member(member)
        axes = acting.leading_axes(artifact.spec, observation)
        observations = acting.with_axes(artifact.spec, observation, axes)
        if not axes:
            observations, context = jax.tree.map(lambda x: np.asarray(x)[None], (observations, context))
        count = _rows(observations)
        if self.contexts is not None:
            self._refuse(context)
            skills = np.broadcast_to(self.contexts[member], (count, self.contexts.shape[1]))
        else:
            skills = acting.towards_one(
                artifact.algorithm, self._state, member, artifact.normalizer, observations,
                self._goals(context, (count,)),
            )  # fmt: skip
        actions = artifact.policy(observations, key, np.asarray(skills), member)
        return actions if axes else actions[0]

    def act(self, observations: Any, keys: Any = None, context: Any = None) -> np.ndarray:
        """As `Artifact.act`. context: goals like the observations, where none was in the prompt.

        Raises `UsageError` that names expected and found shapes.
        """
        artifact = self.artifact
        observations = acting.with_axes(artifact.spec, observations, (artifact.members, None))
        leading = (artifact.members, _rows(observations, 1))
        if self.contexts is not None:
            self._refuse(context)
            skills = np.broadcast_to(self.contexts[:, None], (*leading, self.contexts.shape[1]))
        else:
            skills = acting.towards(
                artifact.algorithm, self._state, artifact.normalizer, observations, self._goals(context, leading)
            )
        return artifact.act(observations, keys, np.asarray(skills))

    def specialised(self) -> Artifact:
        """The model of this one task, with the skill folded into its nets: it acts and values as this does. To be
        finetuned, by the algorithm that learned the skills (`SkillAlgorithm.learner`) or others.

        Raises `UsageError` where it goes towards a goal: that skill changes with the state.
        """
        artifact = self.artifact
        if artifact.tasks is not None:
            raise UsageError(f"{artifact.title} stays a model of all its tasks; go on with it and name the task (task)")
        if self.contexts is None:
            raise UsageError(
                f"the skill of {artifact.title} towards a goal changes with the state, and cannot be folded into its "
                "nets; prompt with examples of the task's rewards (reward_examples)"
            )
        learner, spec = artifact.algorithm.learner(), dataclasses.replace(artifact.spec, context=None)
        keys = jax.vmap(jax.random.key)(np.asarray(artifact.seeds, np.uint32))
        fresh = jax.vmap(lambda key: learner.init(key, spec))(keys)
        nets, targets = jax.vmap(artifact.algorithm.at_skill)(artifact.state, self.contexts)
        return dataclasses.replace(
            artifact,
            algorithm=learner,
            spec=spec,
            state=dataclasses.replace(fresh, nets=nets, targets=targets),
            settings=artifact.settings | {"phase": "prompt"},
            lineage=artifact.ancestry(),
            evaluation=None,
        )

    @functools.cached_property
    def _state(self) -> Any:
        return jax.device_put(dataclasses.replace(self.artifact.state, targets={}, opt_state={}))

    def _goals(self, context: Any, leading: tuple[int, ...]) -> Any:
        """Goals as the algorithm sees them, with these leading axes."""
        artifact, goals = self.artifact, context
        if self.goal is not None:
            self._refuse(context)
            goals = map_arrays(lambda part: np.broadcast_to(part, (*leading, *part.shape)), self.goal)
        elif context is None:
            raise UsageError("this policy goes towards a goal; give one as context, like an observation")
        goals = acting.with_axes(artifact.spec, goals, leading)
        return acting.context(artifact.algorithm.view(), artifact.normalizer, goals)

    def _refuse(self, context: Any) -> None:
        if context is not None:
            raise UsageError("this policy was prompted already, and takes no context")


def prompt(artifact: Artifact, goal: Any, reward_examples: tuple[Any, Any] | None, task: Any = None) -> Prompted:
    """See `Artifact.prompt`."""
    if task is not None:
        if goal is not None or reward_examples is not None:
            raise UsageError("a prompt is either a task, a goal or reward examples")
        return _on_task(artifact, task)
    if not artifact.algorithm.view().skill:
        raise UsageError(f"{artifact.title} learns no skills, so there is nothing to prompt; {_instead(artifact)}")
    if goal is not None and reward_examples is not None:
        raise UsageError("a prompt is either a goal or reward examples, not both")
    if reward_examples is None:
        return Prompted(artifact, goal=None if goal is None else acting.with_axes(artifact.spec, goal, ()))
    observations, rewards = reward_examples
    observations = acting.with_axes(artifact.spec, observations, (None,))
    rewards, count = np.asarray(rewards), _rows(observations)
    if rewards.shape != (count,) or rewards.dtype.kind not in "biuf":
        raise UsageError(
            f"reward examples: expected one number for each of the {count} observations, found {rewards.dtype} of "
            f"shape {rewards.shape}"
        )
    rewards = rewards.astype(np.float64)
    if not np.isfinite(rewards).all():
        raise UsageError("reward examples: rewards hold NaN or infinity")
    if count < 2 or np.ptp(rewards) == 0.0:
        raise UsageError("reward examples: all rewards are the same, which does not say what to do")
    nets = dataclasses.replace(artifact.state, targets={}, opt_state={})
    parts = [
        acting.features(
            artifact.algorithm, nets, artifact.normalizer,
            map_arrays(lambda column, at=at: column[at : at + ROWS], observations),
        )
        for at in range(0, count, ROWS)
    ]  # fmt: skip
    features = np.concatenate(parts, axis=1).astype(np.float64)
    skills = [artifact.algorithm.skill(of_member, rewards) for of_member in features]
    if not all(skill.any() for skill in skills):
        raise UsageError("reward examples: their states are all the same to the model, which does not say what to do")
    return Prompted(artifact, np.stack(skills).astype(np.float32))


def _on_task(artifact: Artifact, task: str | np.ndarray) -> Prompted:
    if artifact.tasks is None:
        raise UsageError(f"{artifact.title} knows no tasks by name or vector; {_instead(artifact)}")
    name = task if isinstance(task, str) else None
    vector = artifact.tasks.vector(name) if name else acting.as_part("task", artifact.tasks.context, task, ())
    return Prompted(artifact, np.broadcast_to(vector, (artifact.members, len(vector))), task=name)


def _instead(artifact: Artifact) -> str:
    if artifact.tasks is not None:
        return "it acts on tasks; name one (task)"
    if artifact.goals:
        return "it acts towards the goals that are given as context, or that the environment sets"
    return "it does the one task that it was trained on"


def _rows(observations: Any, axis: int = 0) -> int:
    return named_arrays(observations)[0][1].shape[axis]

"""Artifact: a trained model with everything that acting and going on with it needs."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from headstart import trees
from headstart.algos import registry
from headstart.config import to_json
from headstart.data.normalize import Normalizer
from headstart.data.tasks import TaskTable
from headstart.errors import ArtifactError, UsageError
from headstart.nets import FEATURES
from headstart.spec import Spec
from headstart.state import State
from headstart.train import acting

if TYPE_CHECKING:
    from headstart.artifact.prompt import Prompted
    from headstart.artifact.skills import Skills
    from headstart.data.dataset import Dataset


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


@dataclasses.dataclass(frozen=True, eq=False)
class Artifact:
    """S models that one algorithm trained side by side from as many seeds (S = 1 for a single one): its members.

    algorithm:  a dataclass of `headstart.algos`.
    spec:       what the model sees and does.
    state:      every leaf has a leading axis S, also where S is 1. Kept as NumPy copies, so that training may donate
                the state that an artifact was made from.
    normalizer: between raw observations and actions and those of the algorithm.
    seeds:      (S,) the training seed of each member.
    settings:   options of the run that made it (environment, reward scale, phase, ...), plain JSON data.
    data:       provenance of what it learned from: `Dataset.summary()`, or a list of these; {} where that was an
                environment alone.
    lineage:    what it descends from, oldest first; each entry as `ancestry` gives it.
    evaluation: scores, plain JSON data, or None.
    created:    time in UTC, ISO 8601.
    tasks:      those it acts on, with their vectors; None where it acts on none.
    skills:     the frozen low level that carries its actions out, where these are skills; None: they are the
                environment's.

    Raises `ArtifactError` where a leaf of the state lacks the leading axis.
    """

    algorithm: Any
    spec: Spec
    state: State
    normalizer: Normalizer
    seeds: tuple[int, ...]
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    data: Any = dataclasses.field(default_factory=dict)
    lineage: tuple[dict[str, Any], ...] = ()
    evaluation: dict[str, Any] | None = None
    created: str = dataclasses.field(default_factory=_now)
    skills: Skills | None = None
    tasks: TaskTable | None = None

    def __post_init__(self):
        object.__setattr__(self, "seeds", tuple(int(seed) for seed in self.seeds))
        object.__setattr__(self, "lineage", tuple(self.lineage))
        for name in ("state", "normalizer"):
            object.__setattr__(self, name, jax.tree.map(np.array, getattr(self, name)))
        for path, leaf in trees.flatten(self.state).items():
            if leaf.shape[:1] != (self.members,):
                raise ArtifactError(
                    f"state: {path} has shape {leaf.shape}, expected a leading axis of {self.members} (one a seed)"
                )

    def __repr__(self) -> str:
        seeds = ", ".join(map(str, self.seeds))
        return f"Artifact({self.title}, seeds {seeds}, {self.steps:,} updates; {self.spec.describe()})"

    # -- what it is -------------------------------------------------------------------------------------------

    @property
    def members(self) -> int:
        """S, the number of training seeds."""
        return len(self.seeds)

    @property
    def title(self) -> str:
        """The name a reader expects of its algorithm, such as `calql`."""
        return registry.title(self.algorithm)

    @property
    def goals(self) -> bool:
        """Whether it acts towards goals, its contexts."""
        return self.algorithm.view().towards_goals

    @property
    def acts(self) -> bool:
        """Whether it has a policy; what has learned from observations alone has none, and serves others."""
        return self.algorithm.view().actions

    @property
    def steps(self) -> int:
        """Number of updates done."""
        return int(self.state.step.max())

    @property
    def data_rows(self) -> int:
        """Rows of the data that it learned from, final observations included; 0 where `data` does not say."""
        parts = self.data if isinstance(self.data, list) else [self.data]
        return sum(part.get("steps", 0) + part.get("episodes", 0) for part in parts)

    @property
    def env_spec(self) -> Spec:
        """What an environment must show and take for it: `spec`, or that of its skills."""
        return self.spec if self.skills is None else self.skills.below

    @functools.cached_property
    def config(self) -> dict[str, Any]:
        """Algorithm, spec, seeds, tasks, and which skills it acts by, as plain JSON data."""
        config = {
            "algorithm": registry.to_json(self.algorithm),
            "spec": self.spec.to_json(),
            "seeds": list(self.seeds),
        }
        if (features := self.state.nets.get(FEATURES)) is not None:
            of_features = {"algorithm": registry.to_json(features.algorithm), "spec": features.spec.to_json()}
            config["features"] = of_features | {"beside": features.beside}
        if self.tasks is not None:
            config["tasks"] = to_json(self.tasks)
        return config if self.skills is None else config | {"skills": self.skills.to_json()}

    def arrays(self) -> dict[str, dict[str, np.ndarray]]:
        """Everything learned as {part: {key path: array}} with the parts weights, optimizer and normalizer."""
        state = self.state
        weights = {"nets": state.nets, "targets": state.targets, "step": state.step}
        return {
            "weights": trees.flatten(weights),
            "optimizer": trees.flatten(state.opt_state),
            "normalizer": trees.flatten(self.normalizer),
        }

    @functools.cached_property
    def digests(self) -> dict[str, str]:
        """SHA-256 of every part of `arrays` and of `config`."""
        return {part: arrays_digest(arrays) for part, arrays in self.arrays().items()} | {
            "config": config_digest(self.config)
        }

    @property
    def digest(self) -> str:
        """SHA-256 over weights, normaliser, algorithm, spec and seeds: the same whenever and wherever it is saved."""
        return model_digest(self.digests)

    def ancestry(self) -> tuple[dict[str, Any], ...]:
        """The `lineage` of a model that goes on from this one: its own, and an entry for itself."""
        entry = {
            "digest": self.digest,
            "algorithm": self.title,
            "phase": self.settings.get("phase"),
            "steps": self.steps,
            "seeds": list(self.seeds),
            "created": self.created,
        }
        return (*self.lineage, entry)

    def member(self, index: int) -> Artifact:
        """One member as an artifact of its own, without the scores of all. Raises `UsageError` if out of range."""
        index = self.require_member(index)
        state = jax.tree.map(lambda leaf: leaf[index : index + 1], self.state)
        return dataclasses.replace(self, state=state, seeds=self.seeds[index : index + 1], evaluation=None)

    # -- acting -----------------------------------------------------------------------------------------------

    def policy(self, observation: Any, key: Any = None, context: Any = None, member: int = 0) -> np.ndarray:
        """The action of one member for a raw observation, in the environment's units.

        observation: as the environment gives it, or with one leading axis for many; a dict where it has names. The
        action has the same leading axis. key: a PRNG key or a NumPy generator samples, None takes the most likely
        action; small policies draw from a generator in less time. context: of models that act towards goals, the goal
        as an observation of the environment; else (c,); with the same leading axis. A policy that decides on chunks of
        actions is asked anew at every call, and its first action taken: `chunk` gives them all. So is one whose actions
        are skills: `chunk` gives the skill.

        Raises `UsageError` that names expected and found shapes.
        """
        chunk = self.chunk(observation, key, context, member)
        action = np.asarray(chunk.take(0, axis=-1 - len(self.spec.action.shape)))
        return action if self.skills is None else self.skills.policy(observation, action)

    def chunk(self, observation: Any, key: Any = None, context: Any = None, member: int = 0) -> np.ndarray:
        """The actions (h, *shape) to execute one after the other before asking again; arguments as of `policy`.

        h is the algorithm's `chunk`, 1 for most. With many observations the chunks have their leading axis. This is
        how evaluation and online training execute a policy. Where actions are skills it is one of these, (1, k), to be
        held for `skills.steps` calls of `skills.policy`.
        """
        self.require_policy()
        axes = acting.leading_axes(self.spec, observation)
        observation = acting.with_axes(self.spec, observation, axes)
        context = self._context(context, axes)
        if not axes:
            observation, context = jax.tree.map(lambda x: x[None], (observation, context))
        actions = self._actions(observation, key, context, self.require_member(member))
        if actions.ndim == 1 + len(self.spec.action.shape):
            actions = actions[:, None]
        return actions if axes else actions[0]

    def prompt(
        self, goal: Any = None, reward_examples: tuple[Any, Any] | None = None, task: str | np.ndarray | None = None
    ) -> Prompted:
        """A model of skills or tasks told what to do; its policy is called like that of an artifact.

        goal: an observation as the environment gives it. reward_examples: observations (n, *shape) and the rewards (n,)
        of being there, of states like those of the data that the model learned from. Neither: towards the goal that is
        given at each call as context, such as those that environments set. task: of a model that acts on tasks, one's
        name, or any vector (c,).

        Raises `UsageError` for models without skills or tasks, unknown tasks, shapes that do not fit, and rewards that
        are all the same.
        """
        from headstart.artifact.prompt import prompt

        return prompt(self, goal, reward_examples, task)

    def goal_values(self, observations: Any, goals: Any) -> np.ndarray:
        """V(s, g) of all members, (S, n): higher where the goal is nearer, in the unit of the algorithm (`goal_value`).

        observations, goals: (n, *shape) as the environment gives them. Raises `UsageError` where the algorithm learns
        no value of goals, and for shapes that do not fit.
        """
        if not hasattr(self.algorithm, "goal_value"):
            raise UsageError(
                f"{self.title} learns no values of goals; use a model of a goal-conditioned algorithm or of skills"
            )
        observations, goals = (acting.with_axes(self.spec, looks, (None,)) for looks in (observations, goals))
        goals = acting.context(self.algorithm.view(), self.normalizer, goals)
        return np.asarray(acting.goal_values(self.algorithm, self._nets, self._normalizer, observations, goals))

    def act(self, observations: Any, keys: Any = None, context: Any = None) -> np.ndarray:
        """Actions of all members side by side: raw observations (S, n, *shape) to raw actions (S, n, *action shape), or
        chunks of them (S, n, h, *action shape). Where actions are skills, these.

        keys: (S,) PRNG keys that sample, or None for the most likely actions. context: (S, n, c), or goals like the
        observations.

        Raises `UsageError` that names expected and found shapes.
        """
        self.require_policy()
        observations = acting.with_axes(self.spec, observations, (self.members, None))
        context = self._context(context, (self.members, None))
        if keys is not None and keys.shape[:1] != (self.members,):
            raise UsageError(f"keys have shape {keys.shape}, expected ({self.members},): one for each member")
        return np.asarray(acting.act(self._policies, self._normalizer, observations, keys=keys, context=context))

    def _actions(self, observation: Any, key: Any, context: Any, member: int) -> np.ndarray:
        """Of one member, for observations and contexts with a leading axis."""
        rows = len(jax.tree.leaves(observation)[0])
        if self._on_host is not None and rows <= acting.FEW:
            policy = self._on_host[member]
            noise = None if key is None else acting.noise_by(key, (rows, policy.size))
            return acting.act_on_host(policy, self.normalizer, observation, noise, context)
        policies, normalizer, key = self._policies, self._normalizer, acting.as_key(key)
        return np.asarray(acting.act_one(policies, member, normalizer, observation, key=key, context=context))

    @functools.cached_property
    def _policies(self) -> Any:
        return acting.policies(self.algorithm, self.state)

    @functools.cached_property
    def _on_host(self) -> list[acting.HostPolicy] | None:
        return acting.on_host(self._policies)

    @functools.cached_property
    def _nets(self) -> State:
        return jax.device_put(dataclasses.replace(self.state, targets={}, opt_state={}))

    @functools.cached_property
    def _normalizer(self) -> Normalizer:
        return jax.device_put(self.normalizer)

    def _context(self, context: Any, axes: tuple[int | None, ...]) -> Any:
        part = self.spec.context
        if part is None and context is not None:
            raise UsageError("this model takes no context")
        if part is None:
            return None
        if self.goals:
            if context is None:
                raise UsageError("this model acts towards a goal; give one as context, like an observation")
            goals = acting.with_axes(self.spec, context, axes)
            return acting.context(self.algorithm.view(), self.normalizer, goals)
        if context is None:
            raise UsageError(f"this model needs a context of {part.describe()}; prompt it with a skill or a task")
        return acting.as_part("context", part, context, axes)

    def require_policy(self) -> None:
        """Raise `UsageError` where there is none."""
        if not self.acts:
            decode = "; decode its latent actions by a few known ones (finetune on data with decode=true), or"
            raise UsageError(
                f"{self.title} has learned from observations alone, so it has no policy"
                f"{decode if hasattr(self.algorithm, 'decode') else ';'} train one that starts from it "
                "(finetune with an algorithm and use trunks, features or components) or on its potential"
            )

    def require_member(self, index: int) -> int:
        """The index of a member. Raises `UsageError` if out of range."""
        if not 0 <= index < self.members:
            raise UsageError(f"member {index} does not exist; this artifact has members 0 to {self.members - 1}")
        return index

    def with_actions(self, data: Dataset, member: int = 0) -> Dataset:
        """The data with actions that one member, a decoded model of latent actions, reads from it.

        Raises `UsageError` for other models, and observations that do not fit; see `headstart.artifact.latent`.
        """
        from headstart.artifact.latent import with_actions

        return with_actions(self, data, member)

    # -- on disk ----------------------------------------------------------------------------------------------

    def save(self, path: str | Path, overwrite: bool = False) -> Path:
        """Write the folder `path`, whole or not at all; see `format.py` for what is in it.

        Raises `UsageError` where something is there already (with `overwrite`, where it is no artifact), and
        `ArtifactError` where it cannot be written; an older artifact then stays as it was.
        """
        from headstart.artifact.format import save

        return save(self, path, overwrite)

    @classmethod
    def load(cls, path: str | Path) -> Artifact:
        """The artifact in a folder, or in the folder of a run that made one.

        Raises `ArtifactError` that names the file and key path where it is absent, damaged, of a newer format, or
        does not act as it did when it was saved.
        """
        from headstart.artifact.format import load

        return load(path)


def arrays_digest(arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 over key paths, types, shapes and contents; the order does not count."""
    total = hashlib.sha256()
    for path in sorted(arrays):
        total.update(f"{path} {arrays[path].dtype} {arrays[path].shape}\n".encode())
        total.update(arrays[path].tobytes())
    return total.hexdigest()


def config_digest(config: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def model_digest(digests: dict[str, str]) -> str:
    parts = ("config", "weights", "normalizer")
    return hashlib.sha256("\n".join(digests[part] for part in parts).encode()).hexdigest()

"""Skills of a trained model as the actions of others."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from headstart.algos import registry
from headstart.artifact.model import Artifact
from headstart.data import index
from headstart.data.columns import map_arrays
from headstart.data.dataset import Dataset
from headstart.data.normalize import Normalizer
from headstart.envs import factory
from headstart.errors import UsageError
from headstart.spec import ArraySpec, Spec
from headstart.train import acting

ROWS = 1 << 12
"""Stretches whose skills are computed at once."""


@dataclasses.dataclass(frozen=True, eq=False)
class Skills:
    """A frozen low level: what it can do are the actions of models above it, decided on every so many steps.

    It is both a transform of data, whose actions become skills (`relabelled`), and what carries them out in an
    environment (`envs.skills.LowLevel`). A model that has learned on the one acts in the other, and keeps its low level
    (`Artifact.skills`).

    artifact: one member of a `LowLevelAlgorithm`. steps: of the environment that a skill lasts, c; None: as the model
    was trained.

    Raises `UsageError` for models without skills or with several members, and for steps that do not fit it.
    """

    artifact: Artifact
    steps: int | None = None

    def __post_init__(self):
        artifact, title = self.artifact, self.artifact.title
        if not hasattr(artifact.algorithm, "low_level"):
            raise UsageError(f"{title} has no low level whose skills could be actions")
        if artifact.members != 1:
            seeds = ", ".join(map(str, artifact.seeds))
            raise UsageError(f"these skills are of {artifact.members} training seeds, {seeds}; choose one (skill_seed)")
        view = artifact.algorithm.view()
        if not view.actions:
            raise UsageError(f"this {title} was trained without actions, and has no low level")
        trained = view.chunk if view.chunk > 1 else view.subgoal_steps
        steps = self.steps or trained
        if steps < 1:
            raise UsageError(f"{title} does not say how long its skills last; say how many steps (skill_steps)")
        if view.chunk > 1 and steps != trained:
            raise UsageError(f"skills of this {title} last {trained} steps, not {steps} (skill_steps)")
        object.__setattr__(self, "steps", steps)

    @classmethod
    def of(cls, model: Skills | Artifact | str | Path, steps: int | None = None, seed: int | None = None) -> Skills:
        """The skills of a model or of what is in its folder. seed: the training seed whose, where it has several.

        Raises as `Skills` and `Artifact.load`, and `UsageError` for a seed that is not there.
        """
        if isinstance(model, Skills):
            return model
        artifact = model if isinstance(model, Artifact) else Artifact.load(model)
        if seed is not None:
            if seed not in artifact.seeds:
                known = ", ".join(map(str, artifact.seeds))
                raise UsageError(f"training seed {seed} is not among those of these skills: {known}")
            artifact = artifact.member(artifact.seeds.index(seed))
        return cls(artifact, steps)

    # -- what it is -------------------------------------------------------------------------------------------

    @functools.cached_property
    def size(self) -> int:
        """Numbers of a skill."""
        zeros, action = self.below.zeros(1), np.zeros((1, self.steps, *self.below.action.shape), np.float32)
        along = map_arrays(lambda column: np.repeat(column[:, None], self.steps, axis=1), zeros)
        return self._of_stretches(along, action, zeros).shape[-1]

    @property
    def below(self) -> Spec:
        """What the environment shows and takes."""
        return dataclasses.replace(self.artifact.spec, context=None)

    @property
    def spec(self) -> Spec:
        """The same with skills as actions."""
        high = (1.0,) * self.size
        return dataclasses.replace(self.below, action=ArraySpec((self.size,), low=tuple(-x for x in high), high=high))

    @property
    def normalizer(self) -> Normalizer:
        """For a model above that starts without data: statistics of observations are those of this one."""
        mine = self.artifact.normalizer
        return dataclasses.replace(
            Normalizer.of(self.spec), observation_mean=mine.observation_mean, observation_std=mine.observation_std
        )

    def require(self, algorithm: Any) -> None:
        """Raise `UsageError` where an algorithm cannot decide on these skills."""
        view, title = algorithm.view(), registry.title(algorithm)
        if view.skill:
            raise UsageError(f"{title} learns skills of its own; use an algorithm that learns a task or goals")
        if view.chunk > 1:
            raise UsageError(
                f"{title} decides on chunks of {view.chunk} actions, and skills are chunks already; set chunk to 1"
            )

    def describe(self) -> str:
        """Short text: `skills of opal, 10 steps each, frozen`."""
        return f"skills of {self.artifact.title}, {self.steps} steps each, frozen"

    def to_json(self) -> dict[str, Any]:
        return {"digest": self.artifact.digest, "steps": self.steps}

    # -- acting -----------------------------------------------------------------------------------------------

    def policy(self, observation: Any, skill: Any) -> np.ndarray:
        """The raw action for a raw observation and the skill (k,) in force, or with one leading axis for many.

        Raises `UsageError` that names expected and found shapes.
        """
        axes = acting.leading_axes(self.below, observation)
        observation = acting.with_axes(self.below, observation, axes)
        skill = acting.as_part("skill", self.spec.action, skill, axes)
        if axes:
            return self.act(observation, skill)
        return self.act(*jax.tree.map(lambda x: x[None], (observation, skill)))[0]

    def act(self, observations: Any, skills: Any) -> np.ndarray:
        """The likeliest raw actions (n, *shape) for raw observations (n, *shape) and the skills (n, k) in force."""
        normalizer = self.artifact.normalizer
        if self._on_host is not None and len(skills) <= acting.FEW:
            return acting.act_on_host(self._on_host, normalizer, observations, context=skills)
        return np.asarray(acting.act_one(self._policies, 0, normalizer, observations, context=skills))

    @functools.cached_property
    def _on_host(self) -> acting.HostPolicy | None:
        members = acting.on_host(self._policies)
        return members and members[0]

    @functools.cached_property
    def _policies(self) -> Any:
        return acting.low_levels(self.artifact.algorithm, self.artifact.state)

    # -- data -------------------------------------------------------------------------------------------------

    def relabelled(self, data: Dataset, discount: float) -> Dataset:
        """The data as a model above sees it: actions are the skills that c steps show, the reward is their sum.

        discount: per decision; within a decision rewards are discounted by its root. Every step begins a decision: an
        episode becomes c of them, one for each of its first c steps. A decision that an end of the task cuts short
        counts, one that a time limit cuts short is left out.

        Raises `UsageError` where observations or actions are other than those of the skills, or no episode lasts c
        steps.
        """
        source = data.provenance.source
        self.below.require(data.spec, "the model of skills", source)
        if data.actions is None:
            raise UsageError(f"{source} holds no actions, which skills are seen in")
        rows, starts, ends = self._decisions(data)
        count = len(rows)
        decisions = np.ones(count, bool)
        decisions[ends] = False
        at = rows[decisions]
        skills = np.zeros((count, self.size), np.float32)
        skills[decisions] = self._skills_at(data, at)
        lengths = ends - starts + 1
        columns = {
            "actions": skills,
            "terminations": np.zeros(count, bool),
            "episode_start": np.repeat(starts, lengths).astype(np.int32),
            "episode_end": np.repeat(ends, lengths).astype(np.int32),
        }
        columns["terminations"][ends - 1] = data.terminations[data.episode_end[rows[ends]] - 1]
        if data.rewards is not None:
            columns["rewards"] = np.zeros(count, np.float32)
            columns["rewards"][decisions] = self._rewards_at(data, at, discount ** (1.0 / self.steps))
        if data.successes is not None:
            columns["successes"] = np.zeros(count, bool)
            columns["successes"][decisions] = self._within(data, at, data.successes).any(1)
        columns["observations"] = map_arrays(lambda column: np.asarray(column[rows]), data.observations)
        title, digest = self.artifact.title, self.artifact.digest[:12]
        return data.replace(
            f"decisions of {self.steps} steps, by skills of {title} {digest}", **columns, spec=self.spec
        )

    def _decisions(self, data: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows of the data that are kept, each episode's final observation included, and first and last of each."""
        offsets = np.arange(self.steps)
        start = (data.starts[:, None] + offsets).ravel()
        end = np.repeat(data.ends, self.steps)
        whole, rest = np.divmod(end - start, self.steps)
        count = whole + ((rest > 0) & data.terminations[end - 1])
        kept = (count > 0) & (start < end)
        if not kept.any():
            raise UsageError(f"{data.provenance.source}: no episode lasts {self.steps} steps, one skill")
        start, end, count = start[kept], end[kept], count[kept]
        ends = np.cumsum(count + 1) - 1
        starts = ends - count
        number = np.arange(ends[-1] + 1) - np.repeat(starts, count + 1)
        return np.minimum(np.repeat(start, count + 1) + self.steps * number, np.repeat(end, count + 1)), starts, ends

    def _skills_at(self, data: Dataset, rows: np.ndarray) -> np.ndarray:
        """(n, k) for stretches that begin at rows (n,)."""
        found = []
        for first in range(0, len(rows), ROWS):
            block = rows[first : first + ROWS]
            # One compiled program serves all blocks.
            block = np.pad(block, (0, min(ROWS, len(rows)) - len(block)), mode="edge")
            ahead, _ = index.chunk(data.episode_end[block] - block, self.steps)
            along = block[:, None] + ahead
            reached = np.minimum(block + self.steps, data.episode_end[block])
            seen, led = (map_arrays(lambda c, at=at: np.asarray(c[at]), data.observations) for at in (along, reached))
            found.append(self._of_stretches(seen, np.asarray(data.actions[along]), led))
        return np.concatenate(found)[: len(rows)]

    def _of_stretches(self, along: Any, actions: np.ndarray, reached: Any) -> np.ndarray:
        artifact = self.artifact
        state = dataclasses.replace(artifact.state, targets={}, opt_state={})
        return np.asarray(acting.skills_of(artifact.algorithm, state, 0, artifact.normalizer, along, actions, reached))

    def _rewards_at(self, data: Dataset, rows: np.ndarray, factor: float) -> np.ndarray:
        return self._within(data, rows, data.rewards) @ (factor ** np.arange(self.steps))

    def _within(self, data: Dataset, rows: np.ndarray, column: np.ndarray) -> np.ndarray:
        """(n, c) of a column at the steps of decisions from rows (n,), zero beyond the episode's end."""
        ahead, inside = index.chunk(data.episode_end[rows] - rows, self.steps)
        return np.where(inside, column[rows[:, None] + ahead], np.zeros((), column.dtype))


def skills_for(
    algorithm: Any,
    given: Skills | Artifact | str | Path | None,
    source: Artifact | None = None,
    components: Mapping[str, str] | None = None,
) -> Skills | None:
    """The skills that an algorithm is to decide on: those given, or of the artifact that it goes on from; or None.

    components: as of `transfer`. Raises as `Skills.of`, and `UsageError` for algorithms that cannot decide on skills
    and artifacts that have other actions.
    """
    if given is None:
        skills = None if source is None else source.skills
    elif source is not None and source.skills is not None:
        raise UsageError("the artifact acts by skills of its own, which stay; leave out others (skills)")
    elif source is not None and source.spec.action is not None and components is None:
        raise UsageError(
            f"the nets of {source.title} are made for the environment's actions, not for skills; say which of them "
            "serve (components), or start from scratch"
        )
    else:
        skills = Skills.of(given)
    if skills is not None:
        skills.require(algorithm)
    return skills


def spec_in(env: str, skills: Skills | None) -> Spec:
    """What an environment shows and takes; with skills, these. Raises `UsageError` where they are of another one."""
    spec = factory.spec(env)
    if skills is None:
        return spec
    skills.below.require(spec, "the model of skills", env)
    return skills.spec

"""The contract that every algorithm keeps."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from headstart import config
from headstart.errors import UsageError, unknown

if TYPE_CHECKING:
    from headstart.batch import Batch
    from headstart.spec import ArraySpec, Spec
    from headstart.state import State

Metrics = dict[str, Any]
"""Metric name -> () float array; averaged over the updates between two log steps."""


@dataclasses.dataclass(frozen=True)
class Goals:
    """How the goal of a row is drawn in hindsight (Andrychowicz et al. 2017, HER; shares and laws as in OGBench).

    current, future, random: shares of goals that are the row's own observation, a later one of its episode, or any of
    the data; they sum to 1. geometric: a future goal lies Geometric(1 - discount) steps ahead, at most at the
    episode's end; without, uniformly between the next step and the end. commanded: share of the rows collected online
    whose goal is the one that the environment had set; the other shares then divide the rest.

    Raises `UsageError` for shares outside 0 to 1 or of another sum.
    """

    current: float = 0.0
    future: float = 1.0
    random: float = 0.0
    geometric: bool = False
    commanded: float = 0.0

    def __post_init__(self):
        config.at_least(self, 0, "current", "future", "random", "commanded")
        config.at_most(self, 1, "commanded")
        if abs(self.current + self.future + self.random - 1.0) > 1e-6:
            raise UsageError(
                "the shares of current, future and random goals must sum to 1, found "
                f"{self.current}, {self.future} and {self.random}"
            )


ACHIEVED, DESIRED = "achieved_goal", "desired_goal"
"""What arrays of observations are called in Gymnasium-Robotics: where the agent is, and where it is to go."""


@dataclasses.dataclass(frozen=True)
class GoalPart:
    """What of an observation a goal is: the array of that name (a plain observation has the one name ""), and of a flat
    array these entries (none named: all)."""

    array: str = ""
    entries: tuple[int, ...] = ()

    def of(self, observation: Any) -> Any:
        """(..., *shape) goals of observations (..., *shape), for NumPy and JAX arrays."""
        part = observation[self.array] if isinstance(observation, dict) else observation
        return part[..., list(self.entries)] if self.entries else part

    def context(self, spec: Spec) -> ArraySpec:
        """The shape of such a goal. Raises `UsageError` where observations do not have it."""
        parts = dict(spec.observation)
        if DESIRED in parts:
            raise UsageError(
                f"observations hold {DESIRED}, where the data was going, which goals drawn in hindsight contradict; "
                f"leave it out: `headstart data convert SOURCE TARGET --without {DESIRED}`, and goal=1 of environments"
            )
        if self.array not in parts:
            if not self.array:
                names = ", ".join(parts)
                raise UsageError(f"goals are one array of observations, say which by its name (goal_array): {names}")
            raise unknown("array of observations (goal_array)", self.array, parts)
        part = parts[self.array]
        if not self.entries:
            return dataclasses.replace(part, low=None, high=None)
        if len(part.shape) != 1 or not all(0 <= entry < part.size for entry in self.entries):
            raise UsageError(f"goals of entries {list(self.entries)} (goal_entries) do not fit {part.describe()}")
        return dataclasses.replace(part, shape=(len(self.entries),), low=None, high=None)


@dataclasses.dataclass(frozen=True)
class View:
    """What the batches of an algorithm must hold.

    batch_size: rows. discount: gamma per step. n_step: steps summed in `reward`. actions, rewards: whether the
    data must hold them; who learns without actions is passive and has no policy. mc_return, next_action: whether these
    fields are filled. chunk: actions of a row, from its own on; more than 1 makes `Batch.action` a sequence and fills
    `Batch.valid`.
    goals: fills `context`, `reward` and `discount` by goals drawn in hindsight, whatever rewards the data holds.
    actor_goals: fills `actor_context` by goals of their own. intentions: fills `intention`, its reward and its discount
    by goals of their own; a share `same_goal` of the rows has the same one as its goal. subgoal_steps: fills `low_goal`
    and `high_target` by observations so many steps ahead. goal: what of an observation a goal is. skill: size of the
    skills that policies act on, 0 where they do not; goals are then for learning alone. tasks: fills `context`
    by the vector of each row's task. shared: fills `shared`.

    Raises `UsageError` for what goals and tasks do not go with.
    """

    batch_size: int = 256
    discount: float = 0.99
    n_step: int = 1
    actions: bool = True
    rewards: bool = True
    mc_return: bool = False
    next_action: bool = False
    chunk: int = 1
    chunk_observations: bool = False
    goals: Goals | None = None
    actor_goals: Goals | None = None
    intentions: Goals | None = None
    same_goal: float = 0.0
    subgoal_steps: int = 0
    goal: GoalPart = GoalPart()
    skill: int = 0
    tasks: bool = False
    shared: bool = False

    def __post_init__(self):
        if self.tasks and (self.goals is not None or self.skill):
            raise UsageError("policies act on tasks or on goals, not on both; leave one of them out (tasks)")
        if self.goals is None:
            return
        if self.n_step != 1:
            raise UsageError("goals that are drawn in hindsight need single steps (n_step 1)")
        if self.intentions is not None and self.intentions.geometric != self.goals.geometric:
            raise UsageError("intentions that some goals share must be drawn by the same law (geometric)")
        geometric = any(goals is not None and goals.geometric for goals in (self.goals, self.actor_goals))
        if geometric and not 0.0 < self.discount < 1.0:
            raise UsageError(f"geometric goals need a discount between 0 and 1, found {self.discount}")

    @property
    def towards_goals(self) -> bool:
        """Whether policies act towards goals."""
        return self.goals is not None and not self.skill and self.actions

    def with_context(self, spec: Spec) -> Spec:
        """The spec with the context of policies (or of values, where there is no policy): a goal, a skill, the vector
        of a task (which is the spec's own), or none; and without the actions that are not looked at."""
        if not self.actions:
            spec = dataclasses.replace(spec, action=None)
        if self.tasks:
            if spec.context is None:
                raise UsageError(
                    "this algorithm acts on tasks (tasks), and none are named; name those of the data "
                    "(tasks:FILE.json, `headstart data convert --task NAME`), or leave that out"
                )
            return spec
        if self.goals is None and not self.skill:
            return dataclasses.replace(spec, context=None)
        context = self.goal.context(spec)
        if self.skill:
            context = dataclasses.replace(context, shape=(self.skill,), dtype="float32")
        return dataclasses.replace(spec, context=context)


class Algorithm(Protocol):
    """A frozen, hashable dataclass of hyperparameters with four pure methods.

    The dataclass is the configuration: static under `jit`, JSON on disk, flags on the command line. One that nothing
    keeps near the data has a class variable `needs_interaction`, True: who trains it on data alone is warned.
    """

    def view(self) -> View:
        """What its batches must hold."""

    def init(self, key: Any, spec: Spec) -> State:
        """Fresh state. Raises `UsageError` where the algorithm does not fit the spec."""

    def update(self, state: State, batch: Batch, key: Any) -> tuple[State, Metrics]:
        """One gradient step, traceable, without side effects."""

    def policy(self, state: State) -> Any:
        """A pytree that is called as `policy(observation, key=None, context=None) -> action`.

        observation has a leading batch axis; actions are in [-1, 1], or int32. key None: the most likely action.
        Where it decides on chunks of h actions, a call gives the first of them and `policy.chunk`, called alike, gives
        all, (B, h, d), to be executed one after the other before it is asked again.
        """


class RepresentationAlgorithm(Algorithm, Protocol):
    """An algorithm that learns features of observations, of use to others."""

    representation: ClassVar[str]
    """The component that `features` looks at, and it alone."""

    def features(self, state: State, observation: Any) -> Any:
        """(B, k), traceable."""


class SkillAlgorithm(RepresentationAlgorithm, Protocol):
    """An algorithm that learns skills without a task (`View.skill` numbers each) and can be told what to do.

    Its policy's context is a skill. All methods but `skill` are traceable.
    """

    def towards(self, state: State, observation: Any, goal: Any) -> Any:
        """(B, k) the skills that lead from observations to goals (B, *shape), as `View.goal` takes them from one."""

    def skill(self, features: Any, rewards: Any) -> Any:
        """(k,) the skill that collects rewards (B,) of states, whose `features` are (B, k); zero where
        there is none. NumPy in, NumPy out."""

    def learner(self) -> Algorithm:
        """The algorithm that goes on from one skill, learning a task of its own."""

    def at_skill(self, state: State, skill: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Nets and targets of the learner that act and value as the skill (k,) does."""


class LowLevelAlgorithm(Algorithm, Protocol):
    """An algorithm with a low level that can serve others, whose actions then are its skills (`artifact.Skills`).

    Skills are vectors in [-1, 1], like actions. Both methods are traceable.
    """

    def low_level(self, state: State) -> Any:
        """A policy (`Algorithm.policy`) whose context is a skill (B, k)."""

    def skill_of(self, state: State, along: Any, action: Any, reached: Any) -> Any:
        """(B, k) the skills that stretches of c steps show. along: what was seen at each step, (B, c, *shape), where
        the actions (B, c, d) were taken. reached: observations (B, *shape), where they led. Of a stretch that an
        episode's end cut short the last step stands in for those that lack."""

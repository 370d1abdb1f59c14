"""Pretraining on observations alone, then IQL on the few steps that have actions and rewards."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any, Literal

from headstart.errors import UsageError, unknown

WAYS = {
    "scratch": (None, ""),
    "icvf-trunks": ("icvf", "trunks"),
    "icvf-features": ("icvf", "features"),
    "icvf-beside": ("icvf", "features+observation"),
    "icvf-potential": ("icvf", "potential"),
    "hilp-features": ("hilp", "features"),
    "gcivl-trunks": ("gcivl", "trunks"),
    "gcivl-potential": ("gcivl", "potential"),
}
"""Name -> what learns from observations, and how it serves IQL."""


@dataclasses.dataclass(frozen=True)
class Passive:
    """What observations are worth without actions and rewards: ICVF and the values of HILP and GCIVL learn from all of
    them, then IQL from a small share of the steps with both, with and without what was learned.

    The task is one goal of a maze. Which steps are labelled is drawn anew for every training seed, at least one step
    into the goal among them, and is the same for all methods.
    """

    maze: Literal["pointmaze", "antmaze"] = "pointmaze"
    """pointmaze: the quickstart's, whose walks are collected at first use and kept in the folder. antmaze: OGBench's
    medium one, with data."""
    data: str = ""
    """Source of the antmaze's data, such as ogbench:FILE.npz."""
    task: int = 1
    """Which of the antmaze's five goals."""
    methods: tuple[str, ...] = tuple(WAYS)
    """Which ways to run; scratch is IQL on the labelled steps alone."""
    shares: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1)
    """Shares of the steps that are labelled."""
    seeds: int = 5
    """Training seeds; each has its own pretrained model and its own labelled steps."""
    episodes: int = 300
    """Episodes of data; fewer of the antmaze's are drawn at random."""
    width: int = 64
    """Of the two hidden layers of all nets."""
    passive_steps: int = 5000
    """Gradient steps on observations."""
    steps: int = 2000
    """Gradient steps of IQL."""
    eval_episodes: int = 20
    """Episodes for each seed and share."""

    def run(self, out: Path, resume: bool = False, sinks: Collection[str] = ()) -> None:
        from headstart import api
        from headstart.data import transform
        from headstart.recipes import shares
        from headstart.recipes.compare import prepare, resumable, say

        for name in self.methods:
            if name not in WAYS:
                raise unknown("method", name, WAYS)
        if self.maze == "antmaze" and not self.data:
            raise UsageError("the antmaze needs data; say where it is, such as --data ogbench:FILE.npz")
        prepare(self, out, resume, sinks, joining=("methods", "shares"))
        task = self._data(out)
        observed = transform.drop_rewards(transform.drop_actions(task))
        models = {}
        for learner in dict.fromkeys(WAYS[name][0] for name in self.methods if WAYS[name][0]):
            say(f"{learner}: {self.seeds} seeds, {self.passive_steps:,} gradient steps on observations")
            models[learner] = api.pretrain(
                self._learner(learner), observed, steps=self.passive_steps, seeds=self.seeds, normalize=self._normalize,
                sinks=sinks, log_every=max(1, self.passive_steps // 20), **resumable(out / learner, resume),
            )  # fmt: skip

        def played(name: str, share: float, seed: int) -> list[float]:
            folder = out / name / f"{share:g}" / str(seed)
            agent = partial(self._agent, name, share, seed, models, task, **resumable(folder / "iql", resume))
            return shares.successes(folder, agent, self._env, self.eval_episodes)

        results: dict[str, dict[float, shares.Scores]] = {}
        for name in self.methods:
            for share in self.shares:
                found = [played(name, share, seed) for seed in range(self.seeds)]
                results.setdefault(name, {})[share] = found
                say(f"{name}, {share:.1%} labelled: {shares.cell(found)}")
        title = f"Passive data, {self.maze}, goal {self.task}"
        shares.tell(title, "IQL", results, {}, self.shares, task.steps, out)

    def _agent(self, name: str, share: float, seed: int, models: dict[str, Any], task: Any, **place: Any) -> Any:
        """IQL of one seed on its labelled steps."""
        from headstart import api

        learner, use = WAYS[name]
        model = learner and models[learner].member(seed)
        # The same steps for every method.
        labelled = _labelled(task, share, seed)
        if use == "potential":
            labelled = self._shaped(labelled, model)
        options = {"steps": self.steps, "eval_episodes": 0, "log_every": self.steps, "checkpoint_every": 0}
        options |= {"seed": seed} | place
        if use in ("", "potential"):
            return api.pretrain(self._iql(), labelled, normalize=self._normalize, **options)
        return api.finetune(model, algorithm=self._iql(), data=labelled, use=use, **options)

    def _shaped(self, labelled: Any, model: Any) -> Any:
        """The labelled steps with a potential: the value towards the place where a labelled step reached the goal."""
        from headstart.labels.distance import Distance

        steps = labelled.transitions
        goal = labelled.observations[steps[labelled.terminations[steps]][0] + 1]
        return Distance(reward="shaped", discount=self._discount).label(labelled, model, goal).data

    @property
    def _env(self) -> str:
        from headstart.recipes.maze import NAME
        from headstart.recipes.quickstart import DECISIONS

        return f"{NAME}?{DECISIONS}" if self.maze == "pointmaze" else f"antmaze-medium-v0?task={self.task}&sparse=1"

    @property
    def _normalize(self) -> bool:
        # Place cells are within [0, 1].
        return self.maze != "pointmaze"

    @property
    def _widths(self) -> tuple[int, int]:
        return self.width, self.width

    @property
    def _discount(self) -> float:
        # A decision in the point maze is eight steps.
        return 0.97 if self.maze == "pointmaze" else 0.99

    def _data(self, out: Path) -> Any:
        """Walks with the rewards of the task: -1 until the goal, 0 and the end of the episode at it."""
        from headstart import api
        from headstart.data import transform
        from headstart.recipes.goals import Problem, task_data
        from headstart.recipes.quickstart import Quickstart

        if self.maze == "pointmaze":
            return Quickstart(episodes=self.episodes).data(out / "data")
        walks = api.load(self.data)
        walks = walks if self.episodes >= walks.episodes else transform.subset(walks, self.episodes)
        return task_data(Problem(self.maze, "antmaze-medium-v0", walks, {}, {}, self.task, {}))

    def _learner(self, name: str) -> Any:
        from headstart.algos import registry

        # Hidden layers like IQL's, which are to start from them.
        own = {
            "icvf": {"activation": "relu"},
            "hilp": {"skill_size": 32},
            "gcivl": {"activation": "relu", "layer_norm": False},
        }
        passive = {} if name == "icvf" else {"action_free": True}
        shared = {"critic_widths": self._widths, "batch_size": 256, "critic_lr": 1e-3, "discount": self._discount}
        return registry.algorithm(name, **shared, **own[name], **passive)

    def _iql(self) -> Any:
        from headstart.algos import registry

        return registry.algorithm(
            "iql", actor_widths=self._widths, critic_widths=self._widths, expectile=0.9, inverse_temperature=10.0,
            discount=self._discount, actor_lr=1e-3, critic_lr=1e-3, tau=0.01,
        )  # fmt: skip


def _labelled(task: Any, share: float, seed: int) -> Any:
    """Random steps of the task's data; where none of them reaches the goal, one that does joins them."""
    import numpy as np

    from headstart.data import transform

    drawn = transform.sample_steps(task, share, seed)
    if drawn.terminations.any():
        return drawn
    solved = np.flatnonzero(task.terminations[task.ends - 1])
    whole = task.select([np.random.default_rng(seed).choice(solved)], "an episode that reaches the goal")
    last = {
        name: column[-1:] for name, column in whole.episode(0).items() if name in ("actions", "rewards", "successes")
    }
    last |= {"observations": whole.observations[-2:], "terminated": True}
    return transform.concatenate([drawn, whole.rebuild([last], "its last step")])

"""Goals of a point maze as tasks: pretrained together, with and without shared data; one more from few examples."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.errors import unknown

if TYPE_CHECKING:
    from headstart.artifact import Artifact
    from headstart.data.dataset import Dataset
    from headstart.recipes.maze import PlaceMaze

GOALS = {"top left": 0, "top right": 3, "bottom left": 21, "bottom right": 25, "middle left": 12, "middle right": 16}
"""Tasks of pretraining -> cells of the maze."""

NEW = "centre"
"""The task that is held out."""

CELLS = GOALS | {NEW: 10}

DECISIONS = "sparse=1&repeat=8&steps=40"
"""-1 a decision, 0 and the end at the goal; a decision moves for 8 simulation steps, and there are 40 of them."""

SHARING = ("none", "uds", "cds", "all known", "cds, weighted")
"""Whether a task learns from the others' data: not; with the lowest reward; the same where Q is high enough; with its
true rewards; with the lowest one, by how high Q is."""

SETTINGS = {
    "actor_widths": (64, 64), "critic_widths": (64, 64), "batch_size": 128, "actor_lr": 1e-3, "critic_lr": 1e-3,
    "tau": 0.01, "discount": 0.97, "expectile": 0.9, "inverse_temperature": 3.0,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class MultiTask:
    """A point maze in which each goal is a task, with little data of low quality for each: IQL with the task as its
    context, with and without sharing data between tasks; then a goal that is held out, from a few demonstrations, by
    those alone and mixed with the data of pretraining (PTR).

    The data is collected at first use and kept in the folder.
    """

    seeds: int = 5
    """Training seeds side by side."""
    episodes: int = 10
    """Episodes of data for each task."""
    demonstrations: tuple[int, ...] = (5, 10, 25)
    """How many of the new task."""
    offline_steps: int = 6000
    """Gradient steps of pretraining."""
    adapt_steps: int = 1500
    """Gradient steps on the new task, also for those that start from scratch."""
    prior_share: float = 0.7
    """Part of every batch from the data of pretraining, in PTR."""
    eval_episodes: int = 20
    """Episodes of every evaluation, of each seed and task."""
    sharing: tuple[str, ...] = SHARING[:4]
    """Which ways of sharing to run; the first is what the new task starts from."""

    def run(self, out: Path, resume: bool = False, sinks: Collection[str] = ()) -> None:
        from headstart.recipes.compare import prepare, say
        from headstart.report.scores import text

        for name in self.sharing:
            if name not in SHARING:
                raise unknown("way of sharing", name, SHARING)
        prepare(self, out, resume, sinks)
        data, examples = self._data(out / "data"), self._examples(out / "examples")
        common = {"resume": resume, "sinks": sinks}
        numbers: dict[str, dict[str, Any]] = {"sharing": {}, "new task": {}}
        models = {}
        for name in self.sharing:
            models[name] = self._pretrained(name, data, out / "pretrain" / name.replace(", ", "-"), common)
            scores = {task: self._solved(models[name], task) for task in GOALS}
            numbers["sharing"][name] = {task: _mean(solved) for task, solved in scores.items()} | {
                "all": _mean(np.concatenate(list(scores.values()), axis=1))
            }
            say(f"sharing {name}: {text(numbers['sharing'][name]['all'], 'success')}")
        start = models[self.sharing[0]]
        numbers["new task"]["pretrained"] = {"0": _mean(self._solved(start, None))}
        for count in self.demonstrations:
            for method, agent in self._adapted(start, data, examples, count, out / "new", common).items():
                found = _mean(self._solved(agent, NEW if agent.tasks else None))
                numbers["new task"].setdefault(method, {})[str(count)] = found
                say(f"{count} demonstrations, {method}: {text(found, 'success')}")
        tables = self._tables(numbers)
        notes = (
            f"Success by the likeliest actions: mean over {self.seeds} seeds of {self.eval_episodes} episodes (of each "
            "task), [95% bootstrap interval over seeds and episodes]."
        )
        result = "\n\n".join([*tables, notes]) + "\n"
        (out / "results.md").write_text(f"# Goals of a point maze as tasks\n\n{result}")
        (out / "results.json").write_text(json.dumps(numbers, indent=2) + "\n")
        print(result)

    # -- data -------------------------------------------------------------------------------------------------

    def _data(self, out: Path) -> Dataset:
        """Walks between random cells with much noise, a tenth of them to the task's goal."""
        from headstart.data import transform

        parts = [
            _collected(out / str(goal), name, goal, "ogbench-maze?task=0.1", 1.0, self.episodes, 1000 * goal)
            for name, goal in GOALS.items()
        ]
        return transform.concatenate(parts)

    def _examples(self, out: Path) -> Dataset:
        """Walks straight to the new goal, with little noise."""
        count = max(self.demonstrations)
        return _collected(out, NEW, CELLS[NEW], "ogbench-maze?task=1", 0.3, count, 900_000, only_successes=True)

    # -- training ---------------------------------------------------------------------------------------------

    def _pretrained(self, sharing: str, data: Dataset, out: Path, common: Mapping[str, Any]) -> Artifact:
        from headstart import api
        from headstart.algos import registry
        from headstart.data.share import share
        from headstart.recipes.compare import say
        from headstart.train.run import begun

        rows = {"cds": "quantile", "cds, weighted": "weighted"}.get(sharing, "all")
        algorithm = registry.algorithm("iql", tasks=True, shared_rows=rows, **SETTINGS)
        if sharing != "none":
            data = share(data, at_goal if sharing == "all known" else None)
        say(f"sharing {sharing}: {data.steps:,} steps of data, {self.seeds} seeds, {self.offline_steps:,} updates")
        return api.pretrain(
            algorithm, data, steps=self.offline_steps, seeds=self.seeds, out=out,
            **(common | {"resume": common["resume"] and begun(out)}),
        )  # fmt: skip

    def _adapted(
        self, start: Artifact, data: Dataset, examples: Dataset, count: int, out: Path, common: Mapping[str, Any]
    ) -> dict[str, Artifact]:
        """Agents of the new task, by how they learned from so many examples."""
        from headstart import api
        from headstart.algos import registry
        from headstart.train.run import begun

        few = examples.select(range(count), f"the first {count} episodes")
        ways = {
            "bc alone": {"artifact": None, "algorithm": registry.algorithm("bc", actor_widths=(64, 64), actor_lr=1e-3)},
            "iql alone": {"artifact": None, "algorithm": registry.algorithm("iql", **SETTINGS)},
            "pretrained, then alone": {"artifact": start, "task": NEW},
            "PTR": {"artifact": start, "task": NEW, "prior_data": data, "prior_share": self.prior_share},
        }
        agents = {}
        for name, way in ways.items():
            folder = out / f"{count}-{name.replace(', ', '-').replace(' ', '-')}"
            agents[name] = api.finetune(
                data=few, steps=self.adapt_steps, seeds=self.seeds, out=folder,
                **way, **(common | {"resume": common["resume"] and begun(folder)}),
            )  # fmt: skip
        return agents

    # -- results ----------------------------------------------------------------------------------------------

    def _solved(self, model: Artifact, task: str | None) -> np.ndarray:
        """(seeds, episodes) which of new episodes a model solves; without a name those of the new task, by a model that
        does not know it told the first of its own."""
        from headstart import api

        goal = CELLS[task or NEW]
        told = task or (model.tasks and model.tasks.names[0])
        found = api.evaluate(model, env=_env(goal), episodes=self.eval_episodes, seed=2_000_000, task=told)
        return np.array([[episode.success for episode in member] for member in found.episodes], float)

    def _tables(self, numbers: Mapping[str, Any]) -> list[str]:
        from headstart.report.scores import markdown, text

        tasks = ["all", *GOALS]
        sharing = [
            [name, *(text(found[task], "success") for task in tasks)] for name, found in numbers["sharing"].items()
        ]
        counts = ["0", *map(str, self.demonstrations)]
        new = [
            [name, *(text(found.get(count), "success") for count in counts)]
            for name, found in numbers["new task"].items()
        ]
        return [
            markdown(["sharing", *tasks], sharing),
            markdown(["new task", *(f"{count} demonstrations" for count in counts)], new),
        ]


def at_goal(episode: Mapping[str, Any], task: str) -> tuple[np.ndarray, np.ndarray]:
    """Rewards of the steps of an episode in another task, and whether they end it: 0 and the end at the goal, before it
    -1. What was passed within a decision does not count."""
    ends = _maze(CELLS[task]).at_goal(episode["observations"][1:])
    return ends - 1.0, ends


@functools.cache
def _maze(goal: int) -> PlaceMaze:
    from headstart.recipes.maze import PlaceMaze

    return PlaceMaze(goal_cell=goal)


def _env(goal: int, distance: int = 5) -> str:
    from headstart.recipes.maze import NAME

    return f"{NAME}?goal_cell={goal}&distance={distance}&{DECISIONS}"


def _collected(
    out: Path, task: str, goal: int, controller: str, noise: float, episodes: int, seed: int, **options: Any
) -> Dataset:
    from headstart.data import transform
    from headstart.recipes.data import collected

    env = _env(goal, 5 if options else 0)
    return transform.of_task(collected(out, env, controller, episodes, noise=noise, seed=seed, **options), task)


def _mean(solved: np.ndarray) -> tuple[float, float, float]:
    from headstart.train.evaluate import interval

    return interval(solved, sample_members=True)

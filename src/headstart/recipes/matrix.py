"""The matrix: every route of pretraining with every route of adaptation, on one task, with one small task data set."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.errors import unknown
from headstart.recipes.quickstart import DECISIONS, DISCOUNT

if TYPE_CHECKING:
    from headstart.artifact import Artifact
    from headstart.data.dataset import Dataset

OTHERS = {"top left": 0, "top right": 3, "bottom left": 21, "middle left": 12}
"""What multi-task pretraining knows: tasks -> cells of their goals."""

TASK = "bottom right"
"""The task of all cells."""

ROUTES = {
    "none": "no pretraining",
    "bc": "cloning of the pile",
    "cql": "CQL on the pile with the task's rewards",
    "calql": "Cal-QL on the pile with the task's rewards",
    "iql": "IQL on the pile with the task's rewards",
    "goals": "GCIQL on the pile, no rewards",
    "skills": "HILP on the pile, no rewards",
    "multi-task": "IQL on four other tasks",
    "passive": "ICVF on the pile's observations alone",
}
ADAPTATIONS = {
    "zero-shot": "as it is, told the task",
    "supervised": "cloning of the task data's successes",
    "offline": "offline RL on the task data",
    "online": "RL in the environment, the task data in half of every batch",
}

NO_CELL = {
    ("none", "zero-shot"): "there is no model yet",
    ("multi-task", "zero-shot"): "the new task's vector was in no data, so nothing tells the model what it means",
    ("passive", "zero-shot"): "observations alone teach no actions",
}
"""Cells that make no sense, and why."""


@dataclasses.dataclass(frozen=True)
class Matrix:
    """Every route of pretraining (rows) with every route of adaptation (columns) on the quickstart's point maze.

    The pile: walks between random cells with much noise, with and without the task's rewards, or the actions. The task
    data: a few episodes of the task by the same controller. All cells have the same networks and steps.
    """

    quick: bool = False
    """A look in minutes: one seed and fewer steps; its numbers say little."""
    pretraining: tuple[str, ...] = tuple(ROUTES)
    """Which rows."""
    adaptation: tuple[str, ...] = tuple(ADAPTATIONS)
    """Which columns."""
    seeds: int | None = None
    """Training seeds side by side (None: 3, or 1 with --quick)."""
    pretraining_steps: int | None = None
    """Gradient steps of pretraining (None: 2500, or 300 with --quick)."""
    adaptation_steps: int | None = None
    """Gradient steps of supervised and offline adaptation (None: 500, or 100 with --quick)."""
    online_steps: int | None = None
    """Environment steps (decisions) of online adaptation (None: 500, or 100 with --quick)."""
    pile_episodes: int = 150
    """Episodes of the pile."""
    task_episodes: int = 3
    """Episodes of the task data."""
    eval_episodes: int = 30
    """Episodes of each seed that a cell is scored on."""

    def run(self, out: Path, resume: bool = False, sinks: Collection[str] = ()) -> None:
        from headstart.recipes.compare import prepare, say
        from headstart.report.figures import table_of_scores
        from headstart.report.scores import markdown, text

        for kind, asked, known in (("route of pretraining", self.pretraining, ROUTES),
                                   ("route of adaptation", self.adaptation, ADAPTATIONS)):  # fmt: skip
            for name in asked:
                if name not in known:
                    raise unknown(kind, name, known)
        prepare(self, out, resume, sinks, joining=("pretraining", "adaptation"))
        study = Study(self, out, resume, sinks)
        cells: dict[str, dict[str, Any]] = {}
        for row in self.pretraining:
            for column in self.adaptation:
                if (reason := NO_CELL.get((row, column))) is not None:
                    found = {"reason": reason}
                else:
                    found = study.cell(row, column)
                    say(f"{row}, {column}: {text(found['success'], 'success')}")
                cells.setdefault(row, {})[column] = found
        result = _tables(cells, self, study.seeds, markdown, text)
        (out / "results.md").write_text(f"# The matrix\n\n{result}")
        (out / "results.json").write_text(json.dumps(cells, indent=2) + "\n")
        scores = {row: {c: cell.get("success") for c, cell in found.items()} for row, found in cells.items()}
        picture = table_of_scores(scores, out / "matrix.png", "Point maze: pretraining (rows), adaptation (columns)")
        print(result)
        print(f"picture: {picture}")
        last = out / self.pretraining[-1] / self.adaptation[-1]
        print(f"next: headstart evaluate {shlex.quote(str(last))} --episodes 100")


class Study:
    """The data, and a cell at a time: pretrain where that has not happened, adapt, score."""

    def __init__(self, recipe: Matrix, out: Path, resume: bool, sinks: Collection[str]):
        from headstart.data import transform
        from headstart.recipes.maze import NAME

        self._recipe, self._out, self._resume, self._sinks = recipe, out, resume, sinks
        quick = recipe.quick
        self.seeds = recipe.seeds or (1 if quick else 3)
        self._pretraining_steps = recipe.pretraining_steps or (300 if quick else 2500)
        self._adaptation_steps = recipe.adaptation_steps or (100 if quick else 500)
        self._online_steps = recipe.online_steps or (100 if quick else 500)
        self._env = f"{NAME}?{DECISIONS}"
        anywhere = f"{NAME}?distance=0&{DECISIONS}"
        self._pile = self._collected("pile", anywhere, recipe.pile_episodes, 0.0)
        self._task = self._collected("task", self._env, recipe.task_episodes, 0.9)
        self._unlabelled = transform.drop_rewards(self._pile)
        self._successes = transform.only_successes(self._task)

    def cell(self, row: str, column: str) -> dict[str, Any]:
        """`success` (mean, low, high) of a cell, and the `algorithm` that adapts."""
        from headstart import api
        from headstart.algos.registry import title

        model = None if row == "none" else self._pretrained(row)
        agent = self._told(row, model, goal=True) if column == "zero-shot" else self._adapted(row, column, model)
        evaluation = api.evaluate(agent, env=self._env, episodes=self._recipe.eval_episodes, seed=2_000_000)
        algorithm = getattr(agent, "artifact", agent).algorithm
        return {"success": list(evaluation.across_seeds("success")), "algorithm": title(algorithm)}

    def _pretrained(self, row: str) -> Artifact:
        from headstart import api
        from headstart.data import transform
        from headstart.recipes.compare import resumable

        data: Callable[[], Dataset] = {
            "bc": lambda: self._unlabelled, "goals": lambda: self._unlabelled, "skills": lambda: self._unlabelled,
            "multi-task": self._other_tasks, "passive": lambda: transform.drop_actions(self._unlabelled),
        }.get(row, lambda: self._pile)  # fmt: skip
        return api.pretrain(
            self._algorithm(PRETRAINED[row]), data(), steps=self._pretraining_steps, seeds=self.seeds,
            log_every=max(1, self._pretraining_steps // 10), sinks=self._sinks,
            **resumable(self._out / row / "pretrain", self._resume or (self._out / row / "pretrain").exists()),
        )  # fmt: skip

    def _told(self, row: str, model: Artifact, goal: bool = False) -> Any:
        """The pretrained model; one of skills told the task, by its goal or by examples of its rewards."""
        if row != "skills":
            return model
        if goal:
            return model.prompt()
        # Only a skill that stays the same can be folded into nets that learn on.
        return model.prompt(reward_examples=(self._task.observations, self._reached()))

    def _adapted(self, row: str, column: str, model: Artifact | None) -> Artifact:
        from headstart import api
        from headstart.recipes.compare import resumable

        setting = ADAPTED[row][column == "supervised"]
        algorithm = setting and self._algorithm(setting)
        start = model and self._told(row, model)
        options: dict[str, Any] = {"steps": self._adaptation_steps, "eval_env": self._env}
        options["data"] = self._successes if column == "supervised" else self._task
        if column == "online":
            options |= {"steps": self._online_steps, "env": self._env, "eval_env": None, "lanes": 5, "collect": 20}
        if row == "multi-task":
            options |= {"task": TASK}
            if column != "online":
                options |= {"prior_data": self._other_tasks(), "prior_share": 0.5}
        if row == "passive":
            options |= {"use": "features+observation"}
        steps = options["steps"]
        return api.finetune(
            start, algorithm=algorithm, seeds=self.seeds, eval_episodes=max(1, self._recipe.eval_episodes // 5),
            log_every=max(1, steps // 10), eval_every=max(1, steps // 4) if column == "online" else 0,
            sinks=self._sinks, **resumable(self._out / row / column, self._resume), **options,
        )  # fmt: skip

    def _algorithm(self, setting: Setting) -> Any:
        from headstart.algos import registry
        from headstart.recipes.compare import mean_return

        name, changes = setting
        found = registry.algorithm(name)
        shared = {
            "actor_widths": (64, 64), "critic_widths": (64, 64), "batch_size": 128, "actor_lr": 1e-3, "critic_lr": 1e-3,
            "tau": 1e-2, "discount": DISCOUNT, "skill_discount": DISCOUNT, "widths": (64, 64), "lr": 1e-3,
            "critic_bias": mean_return(self._pile, DISCOUNT),
        }  # fmt: skip
        fields = {field.name for field in dataclasses.fields(found)}
        return registry.algorithm(name, **{key: value for key, value in shared.items() if key in fields} | changes)

    def _reached(self) -> Any:
        """(rows,) 1 where the goal was just reached, else 0."""
        import numpy as np

        reached = np.zeros(len(self._task), np.float32)
        reached[1:] = self._task.rewards[:-1] == 0.0
        reached[self._task.episode_start] = 0.0
        return reached

    def _other_tasks(self) -> Dataset:
        from headstart.data import transform
        from headstart.recipes.maze import NAME

        episodes = self._recipe.pile_episodes // len(OTHERS)
        parts = []
        for name, cell in OTHERS.items():
            env = f"{NAME}?distance=0&goal_cell={cell}&{DECISIONS}"
            parts.append(transform.of_task(self._collected(name.replace(" ", "-"), env, episodes, 0.3), name))
        return transform.concatenate(parts)

    def _collected(self, name: str, env: str, episodes: int, to_goal: float) -> Dataset:
        """Episodes of a noisy controller that walks to random cells, a share of the times to the goal."""
        from headstart.recipes.data import collected

        return collected(self._out / "data" / name, env, f"ogbench-maze?task={to_goal:g}", episodes, noise=1.0)


CONSERVATIVE = {"actions": 4, "weight": 10.0, "max_target_backup": False, "actor_lr": 3e-4, "temperature_lr": 3e-4}
"""As in the quickstart."""

Setting = tuple[str, Mapping[str, Any]]
"""An algorithm's name, and what it has of its own."""

TANH, GAUSSIAN = ("bc", {}), ("bc", {"policy_kind": "gaussian"})

PRETRAINED: dict[str, Setting] = {
    "bc": TANH,
    "cql": ("cql", CONSERVATIVE),
    "calql": ("calql", CONSERVATIVE),
    "iql": ("iql", {}),
    "goals": ("gciql", {"alpha": 0.03}),
    "skills": ("hilp", {"skill_size": 16}),
    "multi-task": ("iql", {"tasks": True}),
    "passive": ("icvf", {}),
}
"""Row -> algorithm of pretraining."""

ADAPTED: dict[str, tuple[Setting | None, Setting]] = {
    "none": (("calql", CONSERVATIVE), TANH),
    "bc": (("calql", CONSERVATIVE), TANH),
    "cql": (("cql", CONSERVATIVE), TANH),
    "calql": (("calql", CONSERVATIVE), TANH),
    "iql": (("iql", {}), GAUSSIAN),
    "goals": (("gciql", {"alpha": 0.03}), ("gcbc", {})),
    "skills": (None, GAUSSIAN),
    "multi-task": (("iql", {"tasks": True}), ("bc", {"policy_kind": "gaussian", "tasks": True})),
    "passive": (("calql", CONSERVATIVE), TANH),
}
"""Row -> algorithms of adaptation: of RL (None: the one that goes on from a prompted skill), and of cloning with the
same kind of policy."""


def _tables(cells: Mapping[str, Mapping[str, Any]], recipe: Matrix, seeds: int, markdown: Any, text: Any) -> str:
    columns = list(recipe.adaptation)

    def shown(cell: Mapping[str, Any]) -> str:
        return "-" if "reason" in cell else f"{text(cell['success'], 'success')} {cell['algorithm']}"

    table = markdown(
        ["pretraining", *columns],
        [[f"{row} ({ROUTES[row]})", *(shown(found[column]) for column in columns)] for row, found in cells.items()],
    )
    reasons = [
        f"- {row}, {column}: {cell['reason']}."
        for row, found in cells.items() for column, cell in found.items() if "reason" in cell
    ]  # fmt: skip
    return "\n".join([
        table, "",
        f"Success by likeliest actions: mean over {seeds} seeds of {recipe.eval_episodes} episodes, [95% bootstrap "
        "interval over both]; beside it the algorithm that acts.",
        *(f"{name}: {what}." for name, what in ADAPTATIONS.items() if name in columns),
        *(["", "Cells that make no sense:", *reasons] if reasons else []), "",
    ])  # fmt: skip

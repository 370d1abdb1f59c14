"""Methods that learn to reach any goal, on the same data: scored on all goals, then finetuned online on one of them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headstart import api
from headstart.data.dataset import Dataset
from headstart.data.transform import sparse_success
from headstart.envs import factory
from headstart.recipes.compare import resumable, say
from headstart.report.figures import goal_bars, goal_curves
from headstart.report.scores import Curve, markdown, text
from headstart.train.evaluate import Evaluation
from headstart.train.run import read_log


@dataclasses.dataclass(frozen=True)
class Problem:
    """Data without rewards, an OGBench maze, and the algorithms that are to reach its goals.

    name: of its folder. env: the maze, for `factory.make`. algorithms: by name, goal-conditioned or of skills, which
    are told the goals. published: success in percent, of OGBench's paper, where it has the method.
    task: the goal of finetuning, from 1 on. online: fields of `OnlineOptions` (`steps` 0: no finetuning).
    skills: by name of an algorithm, the one that learns, from one seed, the skills that are its actions.
    """

    name: str
    env: str
    data: Dataset
    algorithms: Mapping[str, Any]
    published: Mapping[str, int]
    task: int
    online: Mapping[str, Any]
    skills: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def study(
    problems: Sequence[Problem], out: Path, *, title: str, steps: int, seeds: int, eval_episodes: int,
    resume: bool = False, sinks: Collection[str] = (),
) -> None:  # fmt: skip
    """Run every algorithm on every problem; write `results.md`, `results.json` and pictures in `out`, print the tables.

    steps: gradient steps of pretraining. eval_episodes: of each seed over all goals, a fifth of it on the one of
    finetuning. Each algorithm has the folder `out / problem / algorithm` with its runs `pretrain`, `finetune` and
    `scratch`, which is as finetuning, but from fresh networks; with `resume` complete ones are kept.
    """
    common = {"seeds": seeds, "sinks": sinks}
    reached: dict[str, dict[str, Any]] = {}
    online: dict[str, dict[str, list[Curve]]] = {}
    report = [f"# {title}"]
    for problem in problems:
        found, curves = reached.setdefault(problem.name, {}), online.setdefault(problem.name, {})
        for name, algorithm in problem.algorithms.items():
            say(f"{problem.name}, {name}: {seeds} seeds, {steps:,} gradient steps")
            folder, skills = out / problem.name / name, None
            if low := problem.skills.get(name):
                skills = api.pretrain(
                    low, problem.data, steps=steps, sinks=sinks, **resumable(folder / "skills", resume)
                )  # fmt: skip
            model = api.pretrain(
                algorithm, problem.data, steps=steps, env=problem.env, eval_episodes=eval_episodes, skills=skills,
                log_every=max(1, steps // 20), **resumable(folder / "pretrain", resume), **common,
            )  # fmt: skip
            found[name] = {
                "success": Curve.read(folder / "pretrain", "success").intervals()[-1].tolist(),
                "goals": Evaluation.from_json(model.evaluation).tasks,
                "published": problem.published.get(name),
                "seconds": read_log(folder / "pretrain", "timing")[-1]["seconds"],
            }
            say(f"  {text(found[name]['success'], 'success')}")
            if problem.online["steps"]:
                episodes = max(1, eval_episodes // 5)
                curves[name] = _finetuned(problem, algorithm, model, folder, episodes, resume, common)
                ends = [curve.intervals()[[0, -1]].tolist() for curve in curves[name]]
                found[name] |= {"before": ends[0][0], "after": ends[0][1], "scratch": ends[1][1]}
        report += [f"## {problem.name}", _goals_table(found)]
        if curves:
            report.append(_online_table(problem, found))
    notes = (
        f"Success over {seeds} seeds of {eval_episodes} episodes, [95% bootstrap interval over both]; each goal's "
        "share is over all of them.\npublished: OGBench's paper, with its own data and 1,000,000 gradient steps."
    )
    result = "\n\n".join([*report, notes]) + "\n"
    (out / "results.md").write_text(result)
    (out / "results.json").write_text(json.dumps(reached, indent=2) + "\n")
    print(result)
    print(f"picture: {goal_bars(reached, out / 'goals.png', title)}")
    for problem in problems:
        if online[problem.name]:
            heading = f"{title}: {problem.name}, goal {problem.task} online"
            picture = goal_curves(online[problem.name], out / f"{problem.name}-online.png", heading)
            print(f"picture: {picture}")


def _finetuned(
    problem: Problem, algorithm: Any, model: Any, out: Path, episodes: int, resume: bool, common: Mapping[str, Any]
) -> list[Curve]:
    """Finetuning on the one goal, and the same from scratch (skills too), with the data in half of every batch."""
    env = f"{problem.env}{'&' if '?' in problem.env else '?'}task={problem.task}&sparse=1"
    data, start = problem.data, model
    if algorithm.view().skill:
        # Told by the rewards of the goal: where to be, and of every step of the data.
        at_goal = near(problem, data.observations)
        start = model.prompt(reward_examples=(data.observations, at_goal))
        algorithm, data = algorithm.learner(), task_data(problem)
    steps = problem.online["steps"]
    for name, source in (("finetune", start), ("scratch", None)):
        api.finetune(
            source, env=env, data=data, algorithm=algorithm, eval_episodes=episodes, log_every=max(1, steps // 20),
            eval_every=max(1, steps // 4), **problem.online, **resumable(out / name, resume), **common,
        )  # fmt: skip
    return [Curve.read(out / name, "success") for name in ("finetune", "scratch")]


def near(problem: Problem, observations: np.ndarray) -> np.ndarray:
    """(n,) bool, whether the place (x, y), first in an observation, counts as the goal of the problem's task."""
    env = factory.make(problem.env)
    maze = env.unwrapped
    goal = np.asarray(maze.ij_to_xy(maze.task_infos[problem.task - 1]["goal_ij"]))
    env.close()
    return np.linalg.norm(observations[:, :2] - goal, axis=-1) <= maze._goal_tol


def task_data(problem: Problem) -> Dataset:
    """The data with the rewards of the problem's task: -1 until the first success, 0 and termination at it."""
    solved = np.append(near(problem, problem.data.observations)[1:], False)
    successes = problem.data.replace(f"success at goal {problem.task} of {problem.env}", successes=solved)
    return sparse_success(successes)


def _goals_table(found: Mapping[str, Mapping[str, Any]]) -> str:
    count = max(len(numbers["goals"]) for numbers in found.values())
    rows = [
        [
            name,
            text(numbers["success"], "success"),
            *(f"{share:.0%}" for share in numbers["goals"].values()),
            "-" if numbers["published"] is None else f"{numbers['published']}%",
        ]
        for name, numbers in found.items()
    ]
    return markdown(["method", "success", *(f"goal {i + 1}" for i in range(count)), "published"], rows)


def _online_table(problem: Problem, found: Mapping[str, Mapping[str, Any]]) -> str:
    names = ("before", "after", "scratch")
    rows = [[name, *(text(numbers[key], "success") for key in names)] for name, numbers in found.items()]
    heads = [f"goal {problem.task}: before", f"after {problem.online['steps']:,} decisions", "from scratch"]
    return markdown(["method", *heads], rows)

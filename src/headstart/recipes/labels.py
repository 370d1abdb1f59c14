"""What labels are worth: one maze, the same walks, rewards from little supervision against the true ones."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from headstart.errors import unknown

DECISIONS = "repeat=8&steps=40"
"""A decision moves for 8 simulation steps, and there are 40 of them."""

METHODS = {
    "true": "true rewards, all episodes",
    "few": "true rewards, a tenth of the episodes alone",
    "zero": "the same, and the lowest reward for all others (UDS)",
    "classifier": "20 successes and 80 failures",
    "positives": "20 successes and their share in the data",
    "preferences": "200 comparisons of 10 steps, 10% mistakes",
    "distance": "one goal, learned value",
    "within": "one goal, learned value, -1 until within 2 steps",
}
"""Name -> what is known of the task. Seed i of a method learns from labels of its own, drawn with seed i."""

DISCOUNT = 0.97
FEW = 0.1
SUCCESSES, FAILURES = 20, 80
COMPARISONS, SEGMENT, MISTAKES = 200, 10, 0.1
WITHIN = 2.0


@dataclasses.dataclass(frozen=True)
class Labels:
    """A point maze, walks without rewards, and IQL on rewards from a classifier, preferences, a learned distance or
    zeros, beside the true rewards. Every seed has labels of its own.

    The walks (between random cells, a tenth of them to the goal, with much noise, none ended by the goal) are collected
    at first use and kept in the folder.
    """

    seeds: int = 5
    """Training seeds, each with labels of its own."""
    episodes: int = 200
    """Episodes of data."""
    steps: int = 3000
    """Gradient steps of IQL."""
    value_steps: int = 3000
    """Gradient steps of the value of goals (GCIVL)."""
    eval_episodes: int = 40
    """Episodes of the evaluation, of each seed."""
    methods: tuple[str, ...] = tuple(METHODS)
    """Which methods to run: true, few, zero, classifier, positives, preferences, distance, within."""

    def run(self, out: Path, resume: bool = False, sinks: Collection[str] = ()) -> None:
        from headstart.recipes.compare import prepare, say
        from headstart.report.scores import markdown, text
        from headstart.train.evaluate import interval

        for name in self.methods:
            if name not in METHODS:
                raise unknown("method", name, METHODS)
        prepare(self, out, resume, sinks)
        walks = self._walks(out / "data")
        rows, numbers = [], {}
        for name in self.methods:
            found = [self._one(name, seed, walks, out, resume, sinks) for seed in range(self.seeds)]
            scores = {
                acting: interval([one[acting] for one in found], sample_members=True)
                for acting in ("likeliest", "sampled")
            }
            agreement = [one["agreement"] for one in found if one["agreement"] is not None]
            told = next(iter(found[0]["measures"]), "-")
            numbers[name] = {"seeds": found, **scores}
            shown = f"{np.mean(agreement):.2f}" if agreement else "-"
            rows.append([name, METHODS[name], shown, *(text(s, "success") for s in scores.values()), told])
            say("  ".join(rows[-1]))
        table = markdown(
            ["method", "known of the task", "agreement", "likeliest", "sampled", "what the labels say of themselves"],
            rows,
        )
        notes = (
            f"Success over {self.seeds} seeds of {self.eval_episodes} episodes, by likeliest and by sampled actions, "
            "[95% bootstrap interval over seeds and episodes].\nagreement: of dense labels the rank correlation with "
            "the way left to the goal, of successes F1 with the true ones; mean over seeds. The last column is that of "
            "the first seed."
        )
        (out / "results.md").write_text(f"# Labels, point maze\n\n{table}\n\n{notes}\n")
        (out / "results.json").write_text(json.dumps(numbers, indent=2) + "\n")
        print(f"{table}\n\n{notes}")

    # -- data -------------------------------------------------------------------------------------------------

    def _walks(self, out: Path) -> Any:
        """Walks that the goal does not end, with success told step by step: what the labels are drawn from."""
        from headstart.data import transform
        from headstart.recipes.data import collected
        from headstart.recipes.maze import NAME

        env = f"{NAME}?distance=0&terminate_at_goal=false&{DECISIONS}"
        return transform.drop_rewards(collected(out, env, "ogbench-maze?task=0.1", self.episodes, noise=1.0))

    def _labelled(self, name: str, seed: int, walks: Any, value_run: Path) -> Any:
        """The walks with rewards, `Labelled`."""
        from headstart import api
        from headstart.data import transform
        from headstart.labels.examples import Examples
        from headstart.labels.label import label
        from headstart.labels.labelled import Labelled
        from headstart.labels.preferences import Comparisons
        from headstart.train.run import begun

        true = transform.sparse_success(walks)
        if name == "true":
            return Labelled(true)
        if name in ("few", "zero"):
            chosen = np.random.default_rng(seed).permutation(walks.episodes)
            count = max(1, round(FEW * walks.episodes))
            few = true.select(chosen[:count], f"{count} of {walks.episodes} episodes chosen at random (seed {seed})")
            if name == "few":
                return Labelled(few)
            others = walks.select(chosen[count:], "the other episodes")
            return label(others, "zero", reward="minimum", labelled=few)
        if name in ("classifier", "positives"):
            examples = Examples.of_successes(walks, SUCCESSES, FAILURES if name == "classifier" else 0, seed)
            share = float(walks.successes[walks.transitions].mean())
            return label(walks, "classifier", examples=examples, prior=share, reward="success", cut=True, seed=seed)
        if name == "preferences":
            # Whoever compares walks sees which came nearer to the goal.
            seen = walks.replace("way left to the goal", rewards=-way_left(walks))
            answers = Comparisons.of_rewards(seen, COMPARISONS, SEGMENT, MISTAKES, seed)
            return label(walks, "preferences", preferences=answers, actions=False, seed=seed)
        # Two methods share it.
        value = api.pretrain(
            self._value(), walks, steps=self.value_steps, seed=seed, log_every=max(1, self.value_steps // 10),
            out=value_run, resume=begun(value_run),
        )  # fmt: skip
        goal = Examples.of_successes(walks, 1, seed=seed).observations[0]
        if name == "within":
            return label(walks, "distance", artifact=value, goal=goal, reward="within", within=WITHIN)
        return label(walks, "distance", artifact=value, goal=goal)

    # -- training ---------------------------------------------------------------------------------------------

    def _one(self, name: str, seed: int, walks: Any, out: Path, resume: bool, sinks: Collection[str]) -> dict[str, Any]:
        """One seed of a method: labelled, trained, scored; kept in METHOD/SEED/scores.json."""
        from headstart import api
        from headstart.algos.iql import IQL
        from headstart.recipes.compare import mean_return
        from headstart.recipes.maze import NAME
        from headstart.train.run import begun

        folder = out / name / str(seed)
        note = folder / "scores.json"
        if note.exists():
            return json.loads(note.read_text())
        labelled = self._labelled(name, seed, walks, out / "value" / str(seed))
        data = labelled.data
        # Dense labels in the unit of their own spread: the advantage stands in an exponent.
        rewards = data.rewards[data.transitions]
        scale = 1.0 / float(rewards.std()) if name in ("distance", "preferences") else 1.0
        algorithm = IQL(
            actor_widths=(64, 64), critic_widths=(64, 64), batch_size=128, actor_lr=1e-3, critic_lr=3e-3, tau=1e-2,
            discount=DISCOUNT, critic_bias=scale * mean_return(data, DISCOUNT),
        )  # fmt: skip
        model = api.pretrain(
            algorithm, data, steps=self.steps, seed=seed, reward_scale=scale, sinks=sinks,
            log_every=max(1, self.steps // 10), out=folder / "pretrain",
            resume=resume and begun(folder / "pretrain"),
        )  # fmt: skip
        env = f"{NAME}?sparse=1&{DECISIONS}"
        scores: dict[str, Any] = {"measures": [measure.describe() for measure in labelled.measures]}
        for acting in ("likeliest", "sampled"):
            played = api.evaluate(model, env=env, episodes=self.eval_episodes, sample=acting == "sampled")
            scores[acting] = [float(episode.success) for episode in played.episodes[0]]
        scores |= {"agreement": _agreement(name, data, walks), "warnings": list(labelled.warnings)}
        note.write_text(json.dumps(scores, indent=2) + "\n")
        return scores

    def _value(self) -> Any:
        from headstart.algos.gcivl import GCIVL

        return GCIVL(
            actor_widths=(64, 64), critic_widths=(128, 128), batch_size=256, critic_lr=1e-3, tau=2e-2, discount=DISCOUNT
        )


def way_left(data: Any) -> np.ndarray:
    """(R,) cells of path between the state that each step leads to and the goal; 0 on final rows."""
    from headstart.envs import factory
    from headstart.recipes.maze import NAME, PlaceMaze

    env = factory.make(NAME)
    try:
        place, maze = env, env.unwrapped
        while not isinstance(place, PlaceMaze):
            place = place.env
        cells = [maze.xy_to_ij(xy) for xy in place.locate(np.asarray(data.observations))]
        _, distances = maze.get_oracle_subgoal((0.0, 0.0), maze.ij_to_xy(maze.task_infos[0]["goal_ij"]))
    finally:
        env.close()
    left = np.array([distances[cell] for cell in cells], np.float32)
    found = np.zeros(len(data), np.float32)
    found[data.transitions] = left[data.transitions + 1]
    return found


def _agreement(name: str, data: Any, walks: Any) -> float | None:
    """Of labels with what is true: rank correlation of dense ones with the way left, F1 of the steps that are said to
    be the success. None where nothing is said."""
    from headstart.diagnostics.statistics import rank_correlation

    if name in ("distance", "preferences"):
        return rank_correlation(data.rewards[data.transitions], -way_left(walks)[walks.transitions])
    if name not in ("classifier", "positives", "within"):
        return None
    # Episodes are the same ones, cut where they are said to succeed.
    said = [data.episode(index)["successes"] for index in range(data.episodes)]
    true = [walks.episode(index)["successes"][: len(steps)] for index, steps in enumerate(said)]
    said, true = np.concatenate(said), np.concatenate(true)
    return float(2.0 * (said & true).sum() / (said.sum() + true.sum()))

"""`headstart lab overestimation`: what offline values do, and what they do to finetuning, where the truth is known."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from headstart import config
from headstart.data.dataset import Dataset
from headstart.envs.tabular import TabularMDP, as_env
from headstart.lab.ledge import ledge, walker
from headstart.report.scores import markdown, text
from headstart.spec import Spec
from headstart.train.evaluate import interval

EVERY = 50
"""Updates between two points of a curve; online also between two rounds of new episodes."""

HORIZON = 100
"""Steps after which an episode is cut off."""


@dataclasses.dataclass(frozen=True)
class Course:
    """How one way of learning went. T points, the first `switch` of them offline; K seeds.

    updates: (T,) done. tables: (T, K, S, A). estimates: (T, K) mean over start states of the value that the learner
    believes its policy to have. truths: (T, K) what that policy is worth, by dynamic programming.
    """

    updates: np.ndarray
    switch: int
    tables: np.ndarray
    estimates: np.ndarray
    truths: np.ndarray

    @property
    def errors(self) -> np.ndarray:
        """(K,) estimate less truth at the end of the offline phase: above 0 is overestimation."""
        return (self.estimates - self.truths)[self.switch - 1]

    @property
    def dips(self) -> np.ndarray:
        """(K,) how far the policy's real value falls online below that at the switch."""
        return self.truths[self.switch - 1] - self.truths[self.switch - 1 :].min(0)


@dataclasses.dataclass(frozen=True)
class Study:
    """All that was computed. reference: V^mu of the start states, exact. references: (K, S) Cal-QL's estimates of V^mu.
    lowest: the least that anything can be worth."""

    mdp: TabularMDP
    reference: float
    references: np.ndarray
    lowest: float
    courses: dict[str, Course]
    data: list[Dataset]


@dataclasses.dataclass(frozen=True)
class Overestimation:
    """Naive Q-learning, CQL and Cal-QL on an exact problem: who over- and underestimates, and who dips when finetuned.

    Tables instead of networks, all of the data in every update, true values by dynamic programming; see docs/lab.md.
    """

    seeds: int = 10
    """Data sets, each with a learner of its own."""
    episodes: int = 60
    """Episodes of data."""
    offline_updates: int = 1500
    """Updates before the first new episode."""
    rounds: int = 80
    """Rounds of finetuning, each of new episodes and 50 updates on old and new data, half and half."""
    new_episodes: int = 6
    """Episodes of a round."""
    price: float = 16.0
    """What it costs to step off the ledge."""
    weight: float = 1.0
    """Weight of the conservative term."""
    exploration: float = 0.25
    """Share of random actions of the policy that acts and is backed up, as a stochastic actor's are."""
    spread: float = 3.0
    """Standard deviation of the first Q about the data's mean return: what a network says of actions it never saw."""
    lr: float = 0.1
    """Adam learning rate of the tables."""

    def __post_init__(self):
        config.settle(self)
        config.at_least(self, 1, "seeds", "episodes", "new_episodes", "rounds")
        config.at_least(self, EVERY, "offline_updates")
        config.at_least(self, 0, "weight", "exploration", "spread", "lr")
        config.at_most(self, 1, "exploration")

    def run(self, out: Path | None = None) -> None:
        """Print the table; with `out` write `overestimation.png`, `.svg` and `.json` there."""
        from headstart.lab.picture import draw

        study = self.study()
        print(table(study))
        if out is not None:
            picture = draw(study, out / "overestimation.png")
            numbers = {"settings": config.to_json(self)} | summary(study)
            (out / "overestimation.json").write_text(json.dumps(numbers, indent=2) + "\n")
            print(f"\npicture: {picture}")

    def study(self) -> Study:
        from headstart.lab.tables import Rule, Steps

        mdp = ledge(price=self.price)
        mu, spec = walker(mdp), Spec.of_env(as_env(mdp))
        generators = [np.random.default_rng(seed) for seed in range(self.seeds)]
        data = [Dataset.from_episodes(mdp.sample_episodes(mu, self.episodes, HORIZON, rng), spec) for rng in generators]
        steps = [Steps.of(mdp, part) for part in data]
        # The same first tables for all three.
        first = np.stack([
            (part.share.sum((1, 2)) @ np.where(np.isfinite(part.reference), part.reference, 0.0))
            + self.spread * rng.normal(size=mdp.reward.shape)
            for part, rng in zip(steps, generators, strict=True)
        ])  # fmt: skip
        rules = {
            name: Rule(weight, calibrated, self.exploration, mdp.discount, self.lr)
            for name, weight, calibrated in (
                ("naive", 0.0, False), ("cql", self.weight, False), ("calql", self.weight, True),
            )
        }  # fmt: skip
        return Study(
            mdp,
            reference=float(mdp.start @ mdp.evaluate(mu)[0]),
            references=np.stack([part.reference for part in steps]),
            lowest=-1.0 / (1.0 - mdp.discount),
            courses={name: self._course(rule, mdp, first, steps) for name, rule in rules.items()},
            data=data,
        )

    def _course(self, rule: Any, mdp: TabularMDP, first: np.ndarray, steps: list) -> Course:
        import jax

        from headstart.lab.tables import begin, counted, train

        def stacked(parts: list) -> Any:
            return jax.tree.map(lambda *leaves: np.stack(leaves).astype(np.float32), *parts)

        learner = begin(rule, first.astype(np.float32))
        tables = [first]
        for _ in range(self.offline_updates // EVERY):
            learner = train(rule, learner, stacked(steps), EVERY)
            tables.append(np.asarray(learner[0]))
        switch = len(tables)
        # Other episodes than those of the data, and the same chances for every rule.
        generators = [np.random.default_rng([seed, 1]) for seed in range(self.seeds)]
        lived = np.zeros((len(steps), *mdp.transition.shape))
        for _ in range(self.rounds):
            policies = np.asarray(rule.policy(learner[0]))
            for counts, policy, rng in zip(lived, policies, generators, strict=True):
                counts += counted(mdp, mdp.sample_episodes(policy, self.new_episodes, HORIZON, rng))
            learner = train(rule, learner, stacked([a.mixed(b) for a, b in zip(steps, lived, strict=True)]), EVERY)
            tables.append(np.asarray(learner[0]))
        tables = np.stack(tables)
        worth = [[mdp.start @ mdp.evaluate(policy)[0] for policy in np.asarray(rule.policy(q))] for q in tables]
        return Course(
            updates=EVERY * np.arange(len(tables)),
            switch=switch,
            tables=tables,
            estimates=np.asarray(rule.value(tables)) @ mdp.start,
            truths=np.array(worth),
        )


def summary(study: Study) -> dict[str, Any]:
    """Numbers of every method: (mean, low, high) over seeds, 95% bootstrap."""
    methods = {}
    for name, course in study.courses.items():
        last = course.switch - 1
        methods[name] = {
            "estimate": interval(course.estimates[last]),
            "truth": interval(course.truths[last]),
            "error": interval(course.errors),
            "dip": interval(course.dips),
            "truth at the end": interval(course.truths[-1]),
        }
    return {"reference": study.reference, "lowest": study.lowest, "methods": methods}


def table(study: Study) -> str:
    """The same as text, with what to read in it."""
    found = summary(study)
    headers = list(found["methods"]["cql"])
    rows = [[name, *(text(value, "return") for value in of.values())] for name, of in found["methods"].items()]
    return (
        markdown(["method", *headers], rows)
        + "\n\nestimate, truth: what the policy is believed to be worth at the switch from old data to new, and what it"
        "\nis worth, exactly. error: their difference. dip: the most that is lost after the switch."
        f"\nWhoever made the data earns {study.reference:.3g}; no policy can earn less than {study.lowest:.3g}."
        "\nMeans over seeds, [95% bootstrap interval]."
    )

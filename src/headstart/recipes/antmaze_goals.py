"""Reaching any goal of OGBench's medium ant maze: methods of goals and of skills on one data set, then one online."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import Any

from headstart.errors import unknown

METHODS = ("gcivl", "hiql", "crl", "hilp")

PUBLISHED = {"gcivl": 72, "crl": 95, "hiql": 96}
"""Success in percent (Park et al. 2025, table 2), of antmaze-medium-navigate: 1,000,000 gradient steps, 8 seeds."""


@dataclasses.dataclass(frozen=True)
class AntmazeGoals:
    """OGBench's antmaze-medium with its five goals: GCIVL, HIQL, CRL and HILP pretrained on walks of an ant without
    rewards, scored by OGBench's protocol, and finetuned online on one goal.
    """

    small: bool = False
    """Settings for two cores, minutes instead of days: smaller nets, and goals that are places, not whole postures."""
    data: str = "ogbench:antmaze-medium-navigate-v0"
    """Source of the walks; a file in OGBench's layout is ogbench:PATH.npz."""
    methods: tuple[str, ...] = METHODS
    """Which methods to run."""
    seeds: int = 3
    """Training seeds side by side (published: 8)."""
    offline_steps: int | None = None
    """Gradient steps of pretraining (None: 1,000,000 as published, or 5000 with --small)."""
    online_steps: int = 0
    """Environment steps of finetuning on one goal; 0: none."""
    task: int = 1
    """Which of the five goals that is."""
    eval_episodes: int = 20
    """Episodes for each seed, spread over the five goals (published: 250)."""

    def run(self, out: Path, resume: bool = False, sinks: Collection[str] = ()) -> None:
        from headstart import api
        from headstart.recipes.compare import prepare
        from headstart.recipes.goals import Problem, study

        for name in self.methods:
            if name not in METHODS:
                raise unknown("method", name, METHODS)
        prepare(self, out, resume, sinks, joining=("methods", "online_steps", "task"))
        updates = 0.2 if self.small else 1.0
        online = {"steps": self.online_steps, "lanes": 5, "collect": 100, "updates_per_step": updates}
        problem = Problem(
            "medium-navigate", "antmaze-medium-v0", api.load(self.data),
            {name: self._algorithm(name) for name in self.methods}, PUBLISHED, self.task, online,
        )  # fmt: skip
        study(
            [problem], out, title="Ant maze", steps=self.offline_steps or (5000 if self.small else 1_000_000),
            seeds=self.seeds, eval_episodes=self.eval_episodes, resume=resume, sinks=sinks,
        )  # fmt: skip

    def _algorithm(self, name: str) -> Any:
        from headstart.algos import registry

        if not self.small:
            return registry.algorithm(name)
        settings = {
            "actor_widths": (256, 256), "critic_widths": (128, 128), "batch_size": 256, "latent_size": 64,
            "actor_lr": 1e-3, "critic_lr": 1e-3, "tau": 0.02, "goal_entries": (0, 1),
        }  # fmt: skip
        fields = {field.name for field in dataclasses.fields(registry.algorithm(name))}
        return registry.algorithm(name, **{field: value for field, value in settings.items() if field in fields})

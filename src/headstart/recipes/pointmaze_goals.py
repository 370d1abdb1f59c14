"""Reaching any goal of OGBench's point mazes: methods of goals and of skills on the same walks, then one online."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

from headstart.errors import unknown

METHODS = ("gcbc", "gcivl", "gciql", "hiql", "crl", "qrl", "hilp", "fb", "opal")

NOISE = 0.5
"""Of the actions of the walks, in units of half their range, as in OGBench's own point-maze data."""

STITCH = 100
"""Simulation steps of a piece of "stitch": at full speed, five cells. OGBench's own ways of this kind are of four."""

PUBLISHED = {
    "medium-navigate": {"gcbc": 9, "gcivl": 63, "gciql": 53, "qrl": 82, "crl": 29, "hiql": 79},
    "large-navigate": {"gcbc": 29, "gcivl": 45, "gciql": 34, "qrl": 86, "crl": 39, "hiql": 58},
    "medium-stitch": {"gcbc": 23, "gcivl": 70, "gciql": 21, "qrl": 80, "crl": 0, "hiql": 74},
    "large-stitch": {"gcbc": 7, "gcivl": 12, "gciql": 31, "qrl": 84, "crl": 0, "hiql": 13},
}
"""Success in percent (Park et al. 2025, table 2): OGBench's data, single steps, 1,000,000 gradient steps, 8 seeds."""


@dataclasses.dataclass(frozen=True)
class PointmazeGoals:
    """OGBench's point mazes with their five goals: GCBC, GCIVL, GCIQL, HIQL, CRL, QRL, HILP, FB and OPAL pretrained on
    the same walks between random cells, without rewards, scored by OGBench's protocol, and finetuned on one goal.

    The walks (OGBench's "navigate" recipe) are collected at first use and kept in the folder. "stitch" is the same
    walks in short pieces, so that no episode holds a whole way. Finetuning goes on from medium-navigate. On OPAL's
    skills GCIVL decides.
    """

    small: bool = False
    """Settings for two cores, minutes instead of days: smaller nets, decisions of five simulation steps."""
    mazes: tuple[Literal["medium", "large"], ...] = ("medium", "large")
    """Which mazes."""
    walks: tuple[Literal["navigate", "stitch"], ...] = ("navigate", "stitch")
    """Which data."""
    methods: tuple[str, ...] = METHODS
    """Which methods to run."""
    seeds: int = 3
    """Training seeds side by side (published: 8)."""
    episodes: int | None = None
    """Episodes of data, 1000 simulation steps each (None: 1000 as published, or 300 with --small)."""
    offline_steps: int | None = None
    """Gradient steps of pretraining (None: 1,000,000 as published, or 3000 with --small)."""
    online_steps: int = 0
    """Environment steps (decisions) of finetuning on one goal; 0: none."""
    task: int = 1
    """Which of the five goals that is."""
    eval_episodes: int = 50
    """Episodes for each seed, spread over the five goals (published: 250)."""

    def run(self, out: Path, resume: bool = False, sinks: Collection[str] = ()) -> None:
        from headstart.recipes.compare import prepare
        from headstart.recipes.goals import Problem, study

        for name in self.methods:
            if name not in METHODS:
                raise unknown("method", name, METHODS)
        prepare(self, out, resume, sinks, joining=("mazes", "walks", "methods", "online_steps", "task"))
        problems = []
        for maze in self.mazes:
            navigate = self._data(maze, out / "data" / maze)
            for walks in self.walks:
                name = f"{maze}-{walks}"
                online = {
                    "steps": self.online_steps * (name == "medium-navigate"), "lanes": 5, "collect": 20,
                    "updates_per_step": 0.5 if self.small else 1.0,
                }  # fmt: skip
                data = navigate if walks == "navigate" else _pieces(navigate, self._decisions(STITCH))
                algorithms = {method: self._algorithm(method, walks) for method in self.methods}
                skills = {"opal": self._skills()} if "opal" in self.methods else {}
                problems.append(
                    Problem(name, self._env(maze), data, algorithms, PUBLISHED[name], self.task, online, skills)
                )
        study(
            problems, out, title="Point mazes", steps=self.offline_steps or (3000 if self.small else 1_000_000),
            seeds=self.seeds, eval_episodes=self.eval_episodes, resume=resume, sinks=sinks,
        )  # fmt: skip

    def _env(self, maze: str) -> str:
        return f"pointmaze-{maze}-v0" + f"?repeat=5&steps={self._decisions(1000)}" * self.small

    def _decisions(self, steps: int) -> int:
        return steps // 5 if self.small else steps

    def _data(self, maze: str, out: Path) -> Any:
        from headstart.data import transform
        from headstart.recipes.data import collected

        # The walks go on through the environment's own goals.
        env = f"{self._env(maze)}{'&' if self.small else '?'}terminate_at_goal=false"
        walks = collected(out, env, "ogbench-maze", self.episodes or (300 if self.small else 1000), noise=NOISE)
        return transform.drop_rewards(walks)

    def _algorithm(self, name: str, walks: str) -> Any:
        from headstart.algos import registry

        over_skills = name == "opal"
        found = registry.algorithm("gcivl" if over_skills else name)
        # OGBench's settings for point mazes.
        settings = {"gciql": {"alpha": 0.003}, "crl": {"alpha": 0.03}, "qrl": {"alpha": 0.0003}}.get(name, {})
        if walks == "stitch" and name != "gcbc":
            # In OGBench too: the way to most goals lies in no single episode.
            settings["actor_goals"] = (0.0, 0.5, 0.5)
        if self.small:
            # A decision is five steps, and 0.99**5 is 0.95.
            settings |= {
                "actor_widths": (128, 128), "critic_widths": (128, 128), "forward_widths": (128, 128),
                "backward_widths": (128, 128), "batch_size": 256, "latent_size": 64, "actor_lr": 1e-3,
                "critic_lr": 1e-3, "tau": 0.02, "discount": 0.95, "skill_discount": 0.95, "subgoal_steps": 5,
            }  # fmt: skip
        if over_skills:
            settings["discount"] = settings.get("discount", found.discount) ** self._skills().chunk
        fields = {field.name for field in dataclasses.fields(found)}
        return dataclasses.replace(found, **{name: value for name, value in settings.items() if name in fields})

    def _skills(self) -> Any:
        from headstart.algos.registry import algorithm

        if not self.small:
            return algorithm("opal")
        return algorithm("opal", chunk=5, actor_widths=(128, 128), posterior_widths=(128, 128))


def _pieces(data: Any, length: int) -> Any:
    """Every episode in pieces of at most so many steps."""
    parts = (
        {"observations": episode["observations"][at : at + length + 1], "actions": episode["actions"][at : at + length]}
        for episode in map(data.episode, range(data.episodes))
        for at in range(0, len(episode["actions"]), length)
    )
    return data.rebuild(parts, f"episodes in pieces of {length} steps")

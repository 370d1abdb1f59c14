"""Reaching any goal of an OGBench point maze: six goal-conditioned methods on the same walks, then one goal online."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

from headstart.errors import unknown

METHODS = ("gcbc", "gcivl", "gciql", "hiql", "crl", "qrl")

NOISE = 0.5
"""Of the actions of the walks, in units of half their range, as in OGBench's own point-maze data."""


@dataclasses.dataclass(frozen=True)
class PointmazeGoals:
    """OGBench's point maze with its five goals: GCBC, GCIVL, GCIQL, HIQL, CRL and QRL pretrained on the same walks
    between random cells, without rewards, scored by OGBench's protocol, and finetuned online on one of the goals.

    The data (OGBench's "navigate" recipe) is collected at first use and kept in the folder.
    """

    small: bool = False
    """Settings for two cores, minutes instead of days: smaller nets, decisions of five simulation steps."""
    maze: Literal["medium", "large"] = "medium"
    """Which maze."""
    seeds: int = 3
    """Training seeds side by side (published: 8)."""
    methods: tuple[str, ...] = METHODS
    """Which methods to run."""
    episodes: int | None = None
    """Episodes of data, 1000 simulation steps each (None: 1000 as published, or 300 with --small)."""
    offline_steps: int | None = None
    """Gradient steps of pretraining (None: 1,000,000 as published, or 4000 with --small)."""
    online_steps: int = 0
    """Environment steps (decisions) of finetuning on one goal; 0: none."""
    task: int = 1
    """Which of the five goals that is."""
    eval_episodes: int = 250
    """Episodes for each seed, spread over the five goals."""

    def run(self, out: Path, resume: bool = False, sinks: Collection[str] = ()) -> None:
        from headstart import api
        from headstart.recipes.compare import prepare
        from headstart.report.scores import markdown, text
        from headstart.train.run import begun, read_log

        for name in self.methods:
            if name not in METHODS:
                raise unknown("method", name, METHODS)
        prepare(self, out, resume, sinks)
        data = self._data(out / "data")
        steps = self.offline_steps or (4000 if self.small else 1_000_000)
        rows, numbers = [], {}
        for name in self.methods:
            algorithm = self._algorithm(name)
            folder = out / name / "pretrain"
            _say(f"{name}: {self.seeds} seeds, {steps:,} gradient steps")
            model = api.pretrain(
                algorithm, data, steps=steps, seeds=self.seeds, out=folder, resume=resume and begun(folder),
                sinks=sinks, log_every=max(1, steps // 20),
            )  # fmt: skip
            reached = api.evaluate(model, env=self._env, episodes=self.eval_episodes)
            seconds = read_log(folder, "timing")[-1]["seconds"]
            numbers[name] = {"goals": reached.to_json(), "seconds": seconds}
            row = [name, text(reached.success, "success"), *(f"{share:.0%}" for share in reached.tasks.values())]
            if self.online_steps:
                before, after, scratch = self._finetuned(name, algorithm, model, out, resume, sinks)
                numbers[name] |= {"before": before, "after": after, "scratch": scratch}
                row += [text(score, "success") for score in (before, after, scratch)]
            rows.append([*row, f"{seconds:.0f} s"])
            _say("  ".join(rows[-1]))
        online = [f"goal {self.task} {when}" for when in ("before", "after", "from scratch")] * bool(self.online_steps)
        table = markdown(["method", "success", *(f"goal {i}" for i in range(1, 6)), *online, "pretraining"], rows)
        notes = f"Success over {self.seeds} seeds of {self.eval_episodes} episodes, [95% bootstrap interval over both]."
        if self.online_steps:
            notes += f"\nOnline: {self.online_steps:,} decisions on one goal, with and without the pretrained model."
        (out / "results.md").write_text(f"# Point maze ({self.maze}), goals\n\n{table}\n\n{notes}\n")
        (out / "results.json").write_text(json.dumps(numbers, indent=2) + "\n")
        print(f"{table}\n\n{notes}")

    @property
    def _env(self) -> str:
        return f"pointmaze-{self.maze}-v0" + ("?repeat=5&steps=200" if self.small else "")

    def _data(self, out: Path) -> Any:
        from headstart import api
        from headstart.data import sources
        from headstart.envs.collect import collect, to_dataset
        from headstart.envs.controllers import Scripted

        if out.exists():
            return api.load(f"arrays:{out}")
        episodes = self.episodes or (300 if self.small else 1000)
        # The walks go on through the environment's own goals.
        env = f"{self._env}{'&' if self.small else '?'}terminate_at_goal=false"
        _say(f"collecting {episodes} episodes")
        walks = collect(Scripted("ogbench-maze"), env, episodes=episodes, seed=0, noise=NOISE, lanes=10)
        walks = [{name: part for name, part in walk.items() if name in ("observations", "actions")} for walk in walks]
        data = to_dataset(walks, env, (f"controller ogbench-maze, noise {NOISE:g}, without rewards",))
        sources.write(data, f"arrays:{out}")
        return data

    def _algorithm(self, name: str) -> Any:
        from headstart.algos import registry

        found = registry.algorithm(name)
        # OGBench's settings for point mazes.
        settings = {"gciql": {"alpha": 0.003}, "crl": {"alpha": 0.03}, "qrl": {"alpha": 0.0003}}.get(name, {})
        if self.small:
            # A decision is five steps: 0.97 a decision is 0.994 a step.
            settings |= {
                "actor_widths": (128, 128), "critic_widths": (128, 128), "batch_size": 256, "latent_size": 64,
                "actor_lr": 1e-3, "critic_lr": 1e-3, "tau": 0.02, "discount": 0.97, "subgoal_steps": 5,
            }  # fmt: skip
        fields = {field.name for field in dataclasses.fields(found)}
        return registry.algorithm(name, **{field: value for field, value in settings.items() if field in fields})

    def _finetuned(
        self, name: str, algorithm: Any, model: Any, out: Path, resume: bool, sinks: Collection[str]
    ) -> tuple[Any, Any, Any]:
        """Success on the one goal before and after finetuning, and after the same from scratch."""
        from headstart import api
        from headstart.train.run import begun

        env = f"{self._env}{'&' if self.small else '?'}task={self.task}"
        episodes = max(1, self.eval_episodes // 5)
        scores = [api.evaluate(model, env=env, episodes=episodes).success]
        for start, folder in ((model, out / name / "finetune"), (None, out / name / "scratch")):
            agent = api.finetune(
                start, env=env, algorithm=algorithm, steps=self.online_steps, lanes=5, seeds=self.seeds, out=folder,
                resume=resume and begun(folder), sinks=sinks, eval_episodes=0,
            )  # fmt: skip
            scores.append(api.evaluate(agent, env=env, episodes=episodes).success)
        return tuple(scores)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

"""A robot arm carries a cube to its place: flows and chunks of actions beside their peers, offline, then online."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import Any

from headstart.errors import unknown

FLOWS = ("fql", "qc", "qcfql")
METHODS = (*FLOWS, "calql", "iql", "rebrac", "rlpd")

CONTROLLER = "ogbench-cube?task=0.5"
"""Who collects: the oracle, which carries the cube to random places and half of the time to the goal."""


@dataclasses.dataclass(frozen=True)
class Cube:
    """OGBench's cube-single with a reward of -1 until the cube is in its place: pretrain on data of a scripted oracle,
    finetune online, and compare FQL, QC and QC-FQL with Cal-QL, IQL, ReBRAC and RLPD (no pretraining, same data), and
    with a clone of the data.

    With --small the data are collected at first use by OGBench's oracle and kept in the folder; otherwise they are
    OGBench's own "play" data, which OGBench downloads.
    """

    small: bool = False
    """Settings for two cores, minutes instead of days; docs/results/cube.md tells how they were found."""
    task: int = 2
    """Which of the five tasks, 1 to 5: from where to where the cube is carried (OGBench's default: 2)."""
    seeds: int = 3
    """Training seeds side by side (published: 8)."""
    methods: tuple[str, ...] = METHODS
    """Which methods to run."""
    episodes: int = 200
    """Episodes that are collected with --small."""
    offline_steps: int | None = None
    """Gradient steps offline (None: as published, or as --small has it)."""
    online_steps: int | None = None
    """Environment steps online (None: as published, or as --small has it)."""
    eval_episodes: int = 8
    """Episodes of every evaluation, of each seed."""

    def run(self, out: Path, resume: bool = False, sinks: Collection[str] = ()) -> None:
        from headstart.recipes.compare import Method, compare, prepare, say

        for name in self.methods:
            if name not in METHODS:
                raise unknown("method", name, METHODS)
        prepare(self, out, resume, sinks)
        data = self._data(out / "data")
        say(f"data: {data.episodes} episodes, {data.steps:,} steps")
        algorithms = _small(data) if self.small else _published()
        online_steps = self.online_steps or (3_000 if self.small else 1_000_000)
        online = {
            "steps": online_steps, "log_every": max(1, online_steps // 50), "eval_every": max(1, online_steps // 4)
        }  # fmt: skip
        methods = [
            Method(name, algorithms[name], self._offline_steps(name), online, offline_evaluations=2)
            for name in self.methods
        ]
        picture = compare(
            methods, data, f"{self._scene}?steps=100" if self.small else self._scene, out, seeds=self.seeds,
            score="success", title=f"Carrying a cube (OGBench, task {self.task})", eval_episodes=self.eval_episodes,
            # Flows act by samples, as published; what the others do likeliest stands in the column beside.
            eval_sample=True, baselines={"bc": self._clone(data, out / "bc", resume, sinks)}, resume=resume,
            sinks=sinks,
        )  # fmt: skip
        print(f"picture: {picture}")

    @property
    def _scene(self) -> str:
        return f"cube-single-singletask-task{self.task}-v0"

    def _clone(self, data: Any, out: Path, resume: bool, sinks: Collection[str]) -> Any:
        """What imitation alone gives: one action a state."""
        from headstart import api
        from headstart.algos.bc import BC
        from headstart.recipes.compare import resumable

        settings = {"actor_widths": (256, 256), "batch_size": 128, "actor_lr": 1e-3} if self.small else {}
        return api.pretrain(
            BC(policy_kind="deterministic", **settings), data, steps=self._offline_steps("bc"), seeds=self.seeds,
            sinks=sinks, **resumable(out, resume),
        )  # fmt: skip

    def _offline_steps(self, name: str) -> int:
        if name == "rlpd":
            return 0
        return self.offline_steps or ((8_000 if name in FLOWS else 6_000) if self.small else 1_000_000)

    def _data(self, out: Path) -> Any:
        from headstart import api
        from headstart.recipes.data import collected

        if not self.small:
            return api.load(f"ogbench:cube-single-play-singletask-task{self.task}-v0")
        return collected(out, self._scene, CONTROLLER, self.episodes, lanes=1)


def _published() -> dict[str, Any]:
    """FQL's settings for this task (Park et al. 2025): 512x4 networks, alpha 300 with Q as it is; its peers as there.

    For Cal-QL, QC, QC-FQL and RLPD no settings were published for it: they have those of their papers' code.
    """
    from headstart.algos.registry import algorithm

    wide = {"actor_widths": (512,) * 4, "critic_widths": (512,) * 4, "critic_layer_norm": True}
    peers = wide | {"actor_lr": 3e-4, "critic_lr": 3e-4}
    flow = {"alpha": 300.0, "normalize_q_loss": False}
    return {
        "fql": algorithm("fql", **flow),
        "qc": algorithm("qc"),
        "qcfql": algorithm("qcfql", **flow),
        "calql": algorithm("calql", **peers),
        "iql": algorithm("iql", **peers, expectile=0.9, inverse_temperature=1.0),
        "rebrac": algorithm("rebrac", **peers, behaviour_weight=1.0, critic_behaviour_weight=0.0),
        "rlpd": algorithm("rlpd", **wide),
    }


def _small(data: Any) -> dict[str, Any]:
    """Algorithms for two cores: networks, batches and critics alike, the reward summed over 5 steps in all of them."""
    from headstart.algos.registry import algorithm
    from headstart.recipes.compare import mean_return

    shared = {
        "actor_widths": (256, 256), "critic_widths": (256, 256), "critic_layer_norm": True, "batch_size": 128,
        "critic_bias": mean_return(data, 0.99), "actor_lr": 1e-3, "critic_lr": 1e-3, "tau": 0.01,
    }  # fmt: skip
    settings = {
        "fql": {"alpha": 30.0, "flow_steps": 5, "n_step": 5},
        "qc": {"best_of": 8, "flow_steps": 5},
        "qcfql": {"alpha": 30.0, "flow_steps": 5},
        "calql": {
            "weight": 1.0, "actions": 4, "max_target_backup": False, "initial_temperature": 0.01, "temperature_lr": 0.0,
            "bc_steps": 2000, "bc_weight": 0.3, "n_step": 5,
        },
        "iql": {"inverse_temperature": 0.5, "n_step": 5},
        "rebrac": {"behaviour_weight": 10.0, "critic_behaviour_weight": 0.0, "actor_every": 1, "n_step": 5},
        "rlpd": {"critics": 4, "actor_every": 1, "initial_temperature": 0.1, "n_step": 5},
    }  # fmt: skip
    return {name: algorithm(name, **shared | own) for name, own in settings.items()}

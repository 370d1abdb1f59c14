"""The quickstart: Cal-QL and CQL pretrained on the same data of a point maze, both finetuned, in a few minutes."""

from __future__ import annotations

import dataclasses
import os
import shlex
import shutil
import sys
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from headstart.errors import unknown

if TYPE_CHECKING:
    from headstart.data.dataset import Dataset
    from headstart.recipes.compare import Method

DECISIONS = "sparse=1&repeat=8&steps=40"
"""-1 a decision, 0 and the end at the goal; a decision moves for 8 simulation steps, and there are 40 of them."""

CONTROLLER, NOISE = "ogbench-maze?task=0.1", 1.0
"""Who collects the data: it walks between random cells, and one time in ten to the goal, with much noise."""

DISCOUNT = 0.97
LOWEST_RETURN = -1.0 / (1.0 - DISCOUNT)

CONSERVATIVE = {"actions": 4, "weight": 10.0, "max_target_backup": False, "actor_lr": 3e-4, "temperature_lr": 3e-4}
FLOW = {"actor_lr": 1e-3, "flow_steps": 5}
METHODS = {
    "calql": CONSERVATIVE,
    "cql": CONSERVATIVE,
    "fql": FLOW | {"alpha": 0.03},
    "qc": FLOW | {"chunk": 4, "best_of": 8},
}
"""What the methods have of their own; networks, batches and critics are alike."""

SHOWN = ("calql", "cql")

READING = """\
What to look for: in the lower row of the picture CQL's values sink below the lowest return that the task allows, and
finetuning has to lift them first; Cal-QL's are held up by the returns in the data. By sampled actions Cal-QL starts
finetuning ahead; at its end three seeds on a maze this small rank nothing, and now and then one of them falls late.
"""


@dataclasses.dataclass(frozen=True)
class Quickstart:
    """A point maze with a sparse reward: low-quality data of a noisy controller, Cal-QL and CQL on the same data.

    The data (walks between random cells, a tenth of them to the goal, with much noise) are collected at first use and
    kept in the run's folder. Both algorithms differ in one thing: whether values at the policy's actions are kept from
    falling below the return that the data has reached.
    """

    seeds: int = 3
    """Training seeds side by side."""
    episodes: int = 150
    """Episodes of data."""
    offline_steps: int = 2500
    """Gradient steps of pretraining."""
    online_steps: int = 2000
    """Environment steps (decisions) of finetuning."""
    eval_episodes: int = 12
    """Episodes of every evaluation, of each seed."""
    methods: tuple[str, ...] = SHOWN
    """Which methods to run: calql, cql, fql (flow Q-learning), qc (the same with chunks of actions)."""

    def run(self, out: Path, resume: bool = False, sinks: Collection[str] = ()) -> None:
        from headstart.recipes.compare import compare, prepare
        from headstart.recipes.maze import NAME

        for name in self.methods:
            if name not in METHODS:
                raise unknown("method", name, METHODS)
        prepare(self, out, resume, sinks)
        data = self.data(out / "data")
        picture = compare(
            [self.method(name, data) for name in self.methods], data, f"{NAME}?{DECISIONS}", out, seeds=self.seeds,
            score="success", title=f"Point maze: {', '.join(self.methods)} on the same data",
            eval_episodes=self.eval_episodes,
            # By their likeliest actions both solve this maze once pretrained; the curves are of sampled actions, which
            # tell them apart, and the table has both.
            eval_sample=True, lowest_return=LOWEST_RETURN, resume=resume, sinks=sinks,
        )  # fmt: skip
        if self.methods == SHOWN:
            print(READING)
        print(f"picture: {picture}")
        agent = shlex.quote(str(out / self.methods[0] / "finetune"))
        model = shlex.quote(str(out / self.methods[0] / "pretrain"))
        data_source = shlex.quote(f"arrays:{out / 'data'}")
        print(f"data: {data_source}")
        activate = Path(sys.prefix) / "bin" / "activate"
        if activate.is_file() and shutil.which("headstart") is None:
            print(f"next: . {shlex.quote(os.path.relpath(activate))}")
        print(f"next: headstart evaluate {agent} --episodes 100")
        print(f"  or: headstart diagnose {model} --data {data_source}")
        print(f"  or: headstart report {shlex.quote(str(out))} --out {shlex.quote(str(out / 'report'))}")

    def method(self, name: str, data: Dataset) -> Method:
        """Its settings of calql, cql, fql or qc."""
        from headstart.algos.registry import algorithm
        from headstart.recipes.compare import Method, mean_return

        settings = {
            "actor_widths": (64, 64), "critic_widths": (64, 64), "batch_size": 128, "critic_lr": 1e-3, "tau": 1e-2,
            "discount": DISCOUNT, "critic_bias": mean_return(data, DISCOUNT),
        }  # fmt: skip
        online = {"steps": self.online_steps, "lanes": 5, "collect": 20, "log_every": 100, "eval_every": 100}
        return Method(name, algorithm(name, **settings | METHODS[name]), self.offline_steps, online)

    def data(self, folder: Path) -> Dataset:
        """Walks of the noisy controller from everywhere in the maze, collected into the folder at first use."""
        from headstart.recipes.data import collected
        from headstart.recipes.maze import NAME

        return collected(folder, f"{NAME}?distance=0&{DECISIONS}", CONTROLLER, self.episodes, noise=NOISE)

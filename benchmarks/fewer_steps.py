"""Fewer steps count as speed: what shortens the way to a score, one setting at a time against the published recipe.

    python benchmarks/fewer_steps.py run --out study/fewer              # about 2 minutes a variant; extra ogbench
    python benchmarks/fewer_steps.py rates --out study/fewer            # seconds a gradient step, on a quiet machine
    python benchmarks/fewer_steps.py table --out study/fewer --docs docs/results

Cal-QL on the quickstart's point maze. A table of gradient steps offline, and of environment steps online (with one
gradient step each), until two successive evaluations of a seed reach the level; and, where the rates were measured, the
seconds that these gradient steps take.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import studies
import tyro

from headstart import config
from headstart.data.normalize import Normalizer
from headstart.data.views import one_batch, table
from headstart.recipes.compare import Method, mean_return
from headstart.report.scores import markdown
from headstart.train import updates

PUBLISHED = {
    "actor_lr": 1e-4, "temperature_lr": 1e-4, "critic_lr": 3e-4, "tau": 5e-3, "critic_bias": 0.0,
}  # fmt: skip
"""As in Cal-QL's code. Networks (64x2), discount, batch (128), sampled actions (4 of each kind) and weight are the
quickstart's."""

WIDE = {"actor_widths": (256, 256), "critic_widths": (256, 256)}
RATES = {"actor_lr": 3e-4, "temperature_lr": 3e-4, "critic_lr": 1e-3}


def settings(reference: float) -> dict[str, dict[str, Any]]:
    """Name -> fields in which it differs from the published recipe. reference: the data's mean return."""
    single = {
        "bias": {"critic_bias": reference}, "regression": {"reference_steps": 200}, "clone": {"bc_steps": 200},
        "tau": {"tau": 2e-2}, "rates": RATES,
    }  # fmt: skip
    together = {name: value for fields in single.values() for name, value in fields.items()}
    return {"published": {}} | single | {"all": together, "wide": WIDE}


VARIANTS = tuple(settings(0.0))


def variants(data: Any, offline: int, online: int) -> dict[str, Any]:
    """Name -> how it changes the quickstart's method."""

    def variant(fields: dict[str, Any]):
        def change(method: Method) -> Method:
            algorithm = config.replace(method.algorithm, **PUBLISHED | fields)
            steps = method.online | {"steps": online, "eval_every": max(1, online // 12)}
            return dataclasses.replace(
                method, algorithm=algorithm, offline_steps=offline, offline_evaluations=12, online=steps
            )

        return change

    reference = mean_return(data, 0.97)
    return {name: variant(fields) for name, fields in settings(reference).items()}


@dataclasses.dataclass(frozen=True)
class Run:
    """Train the variants; what is complete is kept, what was stopped goes on."""

    out: Path
    variants: tuple[str, ...] = VARIANTS
    seeds: int = 3
    offline_steps: int = 4000
    online_steps: int = 2000
    minutes: float = 0.0
    """Stop after so many minutes, to go on later; 0: never."""
    tiny: bool = False
    """To see that it works."""

    def run(self) -> int:
        task = studies.point_maze(self.tiny)
        data, _ = task.prepare(self.out)
        offline, online = (24, 100) if self.tiny else (self.offline_steps, self.online_steps)
        found = variants(data, offline, online)
        return studies.run(task, found, self.variants, self.out, self.seeds, self.minutes)


@dataclasses.dataclass(frozen=True)
class Rates:
    """Measure the seconds of a gradient step of every variant, in turn, and keep their medians in `rates.json`."""

    out: Path
    seconds: float = 2.0
    """Of each measurement."""
    repeats: int = 3

    def run(self) -> int:
        data, method = studies.point_maze().prepare(self.out)
        steps = {name: _stepper(change(method), data) for name, change in variants(data, 1, 1).items()}
        found: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(self.repeats):
            for name, step in steps.items():
                begun, count = time.perf_counter(), 0
                while time.perf_counter() - begun < self.seconds:
                    step()
                    count += 20
                found[name].append((time.perf_counter() - begun) / count)
                print(f"{name}: {1.0 / found[name][-1]:.3g} steps/s", file=sys.stderr)
        medians = {name: float(np.median(each)) for name, each in found.items()}
        (self.out / "rates.json").write_text(json.dumps(medians, indent=2) + "\n")
        return 0


def _stepper(method: Method, data: Any):
    """A function that does 20 gradient steps; it is compiled already."""
    algorithm, normalizer = method.algorithm, Normalizer.of(data.spec)
    rows = table(data, algorithm.view())
    keys = jax.random.split(jax.random.key(0), 1)
    learner = updates.learner(
        updates.fresh(algorithm, data.spec, keys), algorithm, one_batch(rows, algorithm.view(), normalizer)
    )
    rows = jax.tree.map(jax.numpy.asarray, rows)

    def step() -> None:
        nonlocal learner
        learner = updates.from_table(algorithm, frozenset(), learner, keys, 0, 20, rows, normalizer)
        jax.block_until_ready(learner.count)

    step()
    return step


@dataclasses.dataclass(frozen=True)
class Table:
    out: Path
    level: float = 0.8
    """Success, by sampled actions, of two successive evaluations."""
    docs: Path | None = None
    """Where to write the page fewer-steps.md."""

    def run(self) -> int:
        file = self.out / "rates.json"
        rates = json.loads(file.read_text()) if file.exists() else {}
        found = report(studies.curves(self.out, VARIANTS), self.level, rates)
        print(found)
        if self.docs is not None:
            (self.docs / "fewer-steps.md").write_text(f"{PAGE}\n\n{found}\n")
        return 0


PAGE = """\
# Fewer steps: what shortens the way to a score

    python benchmarks/fewer_steps.py run --out study/fewer
    python benchmarks/fewer_steps.py rates --out study/fewer
    python benchmarks/fewer_steps.py table --out study/fewer --docs docs/results

Cal-QL on the quickstart's point maze with its 64x2 networks, three seeds. published: learning rates 1e-4 (actor,
temperature) and 3e-4 (critics), tau 0.005; the other lines differ from it in one thing. bias: critics start at the
data's mean return (`critic_bias`). regression: they regress to Monte-Carlo returns for 200 steps (`reference_steps`).
clone: the actor imitates for 200 steps (`bc_steps`). tau: 0.02. rates: learning rates 3e-4 and 1e-3. all: all of these
together. wide: published, with 256x2 networks.

Steps to the level: gradient steps offline, environment steps online (one gradient step each), at which two successive
evaluations by sampled actions reach it; the median seed (and each; - where it never came), and the seconds that so many
gradient steps take, where rates were measured. Online counts on from pretraining: 0 where pretraining got there.
offline, dip, along and final as in `parity.md`; the last column is measured on two quiet cores."""


def report(curves: dict[str, Any], level: float, rates: dict[str, float]) -> str:
    """A row a variant: median over seeds of the steps to the level (and of each seed), scores, seconds."""
    rows = []
    for name, (offline, online) in curves.items():
        cells = [name]
        for curve in (offline, online):
            steps = studies.first_at(curve, level)
            each = " ".join("-" if np.isinf(step) else f"{step:.0f}" for step in np.sort(steps))
            middle = np.sort(steps)[len(steps) // 2]
            seconds = f", {middle * rates[name]:.1f} s" if name in rates and np.isfinite(middle) else ""
            cells.append(f"{'-' if np.isinf(middle) else f'{middle:.0f}'} ({each}){seconds}")
        scores = studies.Scores.of(online)
        cells += [f"{100.0 * getattr(scores, part).mean():.0f}%" for part in ("offline", "dip", "along", "final")]
        rows.append([*cells, f"{1.0 / rates[name]:.3g}" if name in rates else "-"])
    to = f"to {100.0 * level:.0f}%"
    header = ["variant", f"{to} offline", f"{to} online", "offline", "dip", "along", "final", "gradient steps/s"]
    return markdown(header, rows)


if __name__ == "__main__":
    Command = Annotated[Run, tyro.conf.subcommand("run")] | Annotated[Rates, tyro.conf.subcommand("rates")]
    Command |= Annotated[Table, tyro.conf.subcommand("table")]
    sys.exit(tyro.cli(Command, description=__doc__).run())

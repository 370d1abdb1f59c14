"""Are returns the same in fast mode? Cal-QL's recipe, exact and in three faster ways, on the same data and seeds.

    python benchmarks/parity.py maze --out study/parity                  # the quickstart's point maze; extra ogbench
    python benchmarks/parity.py door --out study/parity --minutes 9      # adroit-door --small; give it until it is done
    python benchmarks/parity.py table --out study/parity --docs docs/results

`--modes` runs some of the four, so that they may run side by side or in turn. A run that was stopped goes on with the
same command. Intervals are 95% bootstrap intervals over training seeds, stratified by task.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import studies
import tyro
from studies import Scores

from headstart import config
from headstart.recipes.compare import Method
from headstart.report.figures import learning_curves
from headstart.report.scores import markdown, text
from headstart.report.statistics import estimate, mean, probability_of_improvement

TASKS = {"maze": "point maze", "door": "adroit door, small"}
"""Folder -> title."""


def modes(samples: int, **changes: object) -> dict[str, object]:
    """Name -> how it changes the recipe's method. samples: actions that the gradient takes where it takes a sample."""

    def mode(precision: str, count: int):
        def change(method: Method) -> Method:
            algorithm = config.replace(method.algorithm, gradient_samples=count, **changes)
            return dataclasses.replace(method, algorithm=algorithm, precision=precision)

        return change

    return {
        "exact": mode("float32", 0), "bf16": mode("bfloat16", 0),
        "sampled": mode("float32", samples), "both": mode("bfloat16", samples),
    }  # fmt: skip


MODES = tuple(modes(1))


@dataclasses.dataclass(frozen=True)
class Maze:
    """10 sampled actions of each kind, as published, where the quickstart has 4: k = 4 of 30."""

    out: Path
    modes: tuple[str, ...] = MODES
    seeds: int = 5
    minutes: float = 0.0
    """Stop after so many minutes, to go on later; 0: never."""
    tiny: bool = False
    """To see that it works."""

    def run(self) -> int:
        task = studies.point_maze(self.tiny)
        return studies.run(task, modes(4, actions=10), self.modes, self.out / "maze", self.seeds, self.minutes)


@dataclasses.dataclass(frozen=True)
class Door:
    """2 sampled actions of each kind, as --small has it: k = 2 of 6."""

    out: Path
    modes: tuple[str, ...] = MODES
    seeds: int = 5
    minutes: float = 0.0
    """Stop after so many minutes, to go on later; 0: never."""
    demonstrations: str | None = None
    """Source of the human demonstrations; by default that of the recipe."""

    def run(self) -> int:
        return studies.run(
            studies.adroit(self.demonstrations), modes(2), self.modes, self.out / "door", self.seeds, self.minutes
        )


@dataclasses.dataclass(frozen=True)
class Table:
    """What the runs in `out` say: a table; with `docs` the page parity.md there, and the curves of each task."""

    out: Path
    docs: Path | None = None

    def run(self) -> int:
        scores: dict[str, dict[str, Scores]] = {}
        for task, title in TASKS.items():
            curves = studies.curves(self.out / task, MODES)
            if curves and self.docs is not None:
                learning_curves(curves, self.docs / f"parity-{task}.png", "success", f"Cal-QL, {title}")
            scores[title] = {mode: Scores.of(found[-1]) for mode, found in curves.items()}
        scores = {title: found for title, found in scores.items() if "exact" in found}
        print(table(scores))
        if self.docs is not None:
            pictures = [f"![Learning curves](parity-{task}.png)" for task, title in TASKS.items() if title in scores]
            (self.docs / "parity.md").write_text("\n\n".join([PAGE, table(scores), *pictures]) + "\n")
        return 0


PAGE = """\
# Parity: are returns the same in fast mode?

    python benchmarks/parity.py maze --out study/parity
    python benchmarks/parity.py door --out study/parity --minutes 9
    python benchmarks/parity.py table --out study/parity --docs docs/results

The recipe's Cal-QL on the same data and training seeds in four ways. exact: float32, the gradient of every sampled
action. bf16: `precision="bfloat16"`. sampled: `gradient_samples` (4 of 30 actions on the maze, where 10 of each kind
are drawn as published; 2 of 6 on the door). both: both.

Success: offline, when pretraining ends; dip, the worst evaluation in the first tenth of finetuning; along, the mean
over finetuning (1 - regret); final, the mean of the last three evaluations. On the maze by sampled actions, on the door
by the likeliest. Means over training seeds with 95% bootstrap intervals, seeds drawn anew within each task
(stratified). The last columns compare with exact: the difference of `along`, and how likely a seed of the mode is ahead
of one of exact (ties count half)."""


def table(scores: dict[str, dict[str, Scores]]) -> str:
    """scores: task -> mode -> its scores. A row a task and mode; where there are several tasks, rows of all of them
    together for the modes that ran on each."""
    groups = {title: [title] for title in scores}
    if len(scores) > 1:
        groups["all"] = list(scores)
    rows = []
    for label, titles in groups.items():
        for mode in MODES:
            if not all(mode in scores[title] for title in titles):
                continue
            ours = [scores[title][mode] for title in titles]
            exact = [scores[title]["exact"] for title in titles]
            names = [field.name for field in dataclasses.fields(Scores)]
            parts = {name: [getattr(each, name) for each in ours] for name in names}
            cells = [text(estimate(parts[name], mean), "success") for name in names]
            versus = ["-", "-"]
            if mode != "exact":
                reference = [each.along for each in exact]
                versus = [
                    text(studies.difference(parts["along"], reference), "success"),
                    text(probability_of_improvement(parts["along"], reference), "success"),
                ]
            seeds = "+".join(str(len(each.final)) for each in ours)
            rows.append([label, mode, seeds, *cells, *versus])
    header = ["task", "mode", "seeds", "offline", "dip", "along", "final", "along - exact", "P(along > exact)"]
    return markdown(header, rows)


if __name__ == "__main__":
    Command = Annotated[Maze, tyro.conf.subcommand("maze")] | Annotated[Door, tyro.conf.subcommand("door")]
    Command |= Annotated[Table, tyro.conf.subcommand("table")]
    sys.exit(tyro.cli(Command, description=__doc__).run())

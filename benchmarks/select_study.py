"""How well each criterion of `headstart select` ranks models whose real returns are known.

    python benchmarks/select_study.py maze --out study/maze             # trains its own candidates; extra ogbench
    python benchmarks/select_study.py runs --out study/door --data SOURCE RUN...

For every training seed of every candidate: its score by each criterion, and its real return by playing. Then
Spearman's rank correlation of the two over candidates, and regret@1: what is lost by taking the criterion's first
instead of the best. Intervals are 95% bootstrap over candidates. `runs` takes the real returns from the artifacts' last
evaluation, and plays where there is none. Both go on where they stopped.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

import headstart as hs
from headstart.algos import registry
from headstart.diagnostics.statistics import rank_correlation
from headstart.diagnostics.subject import Subject
from headstart.recipes.compare import say
from headstart.recipes.data import collected
from headstart.recipes.maze import NAME
from headstart.recipes.quickstart import CONTROLLER, DECISIONS, DISCOUNT, NOISE, Quickstart
from headstart.report.scores import markdown
from headstart.selection.criteria import CRITERIA, contributions
from headstart.selection.evaluation import common_discount

RESAMPLES = 2000


@dataclasses.dataclass(frozen=True)
class Maze:
    """Candidates of five algorithms at three ages on the quickstart's maze; ranked on episodes that none has seen."""

    out: Path
    ages: tuple[int, ...] = (200, 1000, 3000)
    """Gradient steps after which the candidates are taken."""
    seeds: int = 2
    episodes: int = 30
    """Played with every candidate."""
    fqe_steps: int = 5000

    def run(self) -> None:
        known, held_out = Quickstart(episodes=150).data(self.out / "data"), _held_out(self.out / "held-out")
        nets = {"actor_widths": (64, 64), "critic_widths": (64, 64), "batch_size": 128, "discount": DISCOUNT}
        rates = {"actor_lr": 3e-4, "critic_lr": 1e-3, "tau": 1e-2, "critic_bias": -25.0}
        conservative = nets | rates | {"actions": 4, "weight": 10.0, "max_target_backup": False, "temperature_lr": 3e-4}
        settings = {
            "calql": conservative, "cql": conservative, "iql": nets | rates | {"inverse_temperature": 1.0},
            "td3bc": nets | rates, "bc": {"actor_widths": (64, 64), "batch_size": 128},
        }  # fmt: skip
        runs: dict[str, Any] = {}
        for name, fields in settings.items():
            model, done = None, 0
            for age in self.ages:
                folder = self.out / f"{name}-{age}"
                if folder.exists():
                    model = hs.Artifact.load(folder)
                else:
                    options = {"steps": age - done, "seeds": self.seeds, "checkpoint_every": 0}
                    say(f"{name}: to {age} steps")
                    if model is None:
                        model = hs.pretrain(registry.algorithm(name, **fields), known, **options)
                    else:
                        model = hs.finetune(model, data=known, **options)
                    model = dataclasses.replace(
                        model,
                        evaluation=hs.evaluate(model, env=f"{NAME}?{DECISIONS}", episodes=self.episodes).to_json(),
                    )
                    model.save(folder)
                runs[folder.name], done = model, age
        study("point maze, held-out episodes", runs, held_out, self.out, self.fqe_steps)


@dataclasses.dataclass(frozen=True)
class Runs:
    """Candidates that exist already."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    data: str
    out: Path
    title: str = "runs"
    episodes: int = 40
    fqe_steps: int = 5000
    env: str | None = None
    """Where candidates without an evaluation play."""

    def run(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        models: dict[str, Any] = {}
        for path in self.runs:
            model = hs.Artifact.load(path)
            if (kept := self.out / "played" / path.name).exists():
                model = hs.Artifact.load(kept)
            elif model.evaluation is None:
                say(f"{path}: playing {self.episodes} episodes")
                played = hs.evaluate(model, env=self.env, episodes=self.episodes, seed=1_000_000)
                model = dataclasses.replace(model, evaluation=played.to_json())
                model.save(kept)
            models[str(path)] = model
        study(self.title, models, hs.load(self.data), self.out, self.fqe_steps)


def study(title: str, runs: dict[str, Any], data: hs.Dataset, out: Path, steps: int) -> None:
    """Write `scores.json` and `select.md` in `out`, print the table. Scores that are in the file are kept."""
    real: dict[str, float] = {}
    for name, model in runs.items():
        for seed, episodes in zip(model.seeds, hs.Evaluation.from_json(model.evaluation).episodes, strict=True):
            real[f"{name} seed {seed}"] = float(np.mean([episode.return_ for episode in episodes]))
    file = out / "scores.json"
    known = json.loads(file.read_text()) if file.exists() else {"scores": {}, "lacking": {}}
    scores, lacking = known["scores"], known["lacking"]
    discount = common_discount(list(runs.values()))
    # Fitted Q evaluation takes by far the longest.
    for criterion in sorted(CRITERIA, key=lambda name: name == "fqe"):
        found, without = scores.setdefault(criterion, {}), lacking.setdefault(criterion, {})
        for name, model in runs.items():
            if name in without or f"{name} seed {model.seeds[0]}" in found:
                continue
            try:
                parts = contributions(criterion, Subject(model, data, states=20_000), data, name, steps, discount)
            except hs.UsageError as error:
                without[name] = str(error)
            else:
                for seed, score in zip(model.seeds, parts.scores(np.ones((1, data.episodes)))[0].mean(-1), strict=True):
                    found[f"{name} seed {seed}"] = float(score)
            say(f"{criterion}: {name}")
            file.write_text(json.dumps({"real": real, "scores": scores, "lacking": lacking}, indent=2) + "\n")
    rows = []
    for criterion in CRITERIA:
        names = list(scores[criterion])
        if len(names) < 2:
            rows.append([criterion, "0", "-", "-", "-"])
            continue
        x, y = (np.array([of[name] for name in names]) for of in (scores[criterion], real))
        chance = y.max() - y.mean()
        rows.append([
            criterion, str(len(x)), _text(_resampled(rank_correlation, x, y)), _text(_resampled(regret, x, y)),
            f"{chance:.2f}",
        ])  # fmt: skip
    result = markdown(["criterion", "candidates", "Spearman", "regret@1", "regret of chance"], rows)
    values = np.array(list(real.values()))
    result += f"\n\n{len(values)} candidates, real returns from {values.min():.3g} to {values.max():.3g}.\n"
    (out / "select.md").write_text(f"# {title}\n\n{result}")
    print(result)


def regret(score: np.ndarray, real: np.ndarray) -> float:
    """The best real return less that of the candidate with the highest score; among ties their mean."""
    return float(real.max() - real[score == score.max()].mean())


def _resampled(statistic: Any, x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """The statistic and its 95% bootstrap interval over candidates; resamples where it is undefined do not count."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(x), size=(RESAMPLES, len(x)))
    found = np.array([statistic(x[some], y[some]) for some in drawn])
    return (statistic(x, y), *np.nanquantile(found, [0.025, 0.975]))


def _text(value: tuple[float, float, float]) -> str:
    return "{:.2f} [{:.2f}, {:.2f}]".format(*value)


def _held_out(folder: Path) -> hs.Dataset:
    """100 episodes of the same controller as the quickstart's data, from other seeds."""
    return collected(folder, f"{NAME}?distance=0&{DECISIONS}", CONTROLLER, 100, noise=NOISE, seed=10_000)


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict({"maze": Maze, "runs": Runs}, description=__doc__).run()

"""Several methods on the same data and task: pretrained, finetuned, one table and one picture."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from headstart import api, config
from headstart.algorithm import View
from headstart.artifact import Artifact
from headstart.data.dataset import Dataset
from headstart.data.views import table
from headstart.errors import UsageError
from headstart.report.figures import learning_curves
from headstart.report.scores import Curve, Finetuning, Score, Trace, markdown, text
from headstart.train.run import begun, read_log
from headstart.train.sinks import require as require_sinks


@dataclasses.dataclass(frozen=True)
class Method:
    """One line of the table.

    label: its name. algorithm: of pretraining, and of finetuning unless `online_algorithm` differs.
    offline_steps: gradient steps (0: finetuning starts from scratch). online: fields of `OnlineOptions`.
    start: an artifact whose components pretraining starts from. reward_scale, reward_shift: for this method rewards
    become scale * reward + shift; scores stay those of the task. precision: of matrix products in all updates.
    offline_evaluations: how often pretraining is evaluated, the evaluation at its end included.
    """

    label: str
    algorithm: Any
    offline_steps: int
    online: Mapping[str, Any]
    online_algorithm: Any = None
    start: Artifact | None = None
    reward_scale: float = 1.0
    reward_shift: float = 0.0
    precision: str = "float32"
    offline_evaluations: int = 5


def prepare(
    recipe: Any, out: Path, resume: bool, sinks: Collection[str] = (), joining: Collection[str] = ("methods",)
) -> None:
    """Make the folder and note the recipe's fields in `recipe.json`.

    joining: fields that may differ when the run is resumed, so that others can join later. Raises `UsageError` where
    the folder holds something and the run is not to be resumed, where there is nothing to resume, where it was started
    with other fields, and for sinks that are not installed.
    """
    require_sinks(sinks, out)
    asked = {name: value for name, value in config.to_json(recipe).items() if name not in joining}
    note = out / "recipe.json"
    if resume and not note.exists():
        raise UsageError(f"nothing to resume in {out}; leave --resume out to start a new run")
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()) and not resume:
        raise UsageError(f"{out} exists and is not empty; choose another folder, or go on with it by --resume")
    if note.exists():
        for name, value in json.loads(note.read_text()).items():
            if asked[name] != value:
                raise UsageError(f"{out} was started with {name} = {value!r}, now it is {asked[name]!r}")
    note.write_text(json.dumps(asked, indent=2) + "\n")


def mean_return(data: Dataset, discount: float) -> float:
    """Mean Monte-Carlo return over the data's transitions: where critics may start."""
    rows = table(data, View(discount=discount, mc_return=True))
    return float(rows.mc_returns[rows.rows].mean())


def compare(
    methods: Sequence[Method],
    data: Dataset,
    env: str,
    out: Path,
    *,
    seeds: int,
    score: Score,
    title: str,
    eval_episodes: int,
    eval_sample: bool = False,
    baselines: Mapping[str, Artifact] | None = None,
    lowest_return: float | None = None,
    resume: bool = False,
    sinks: Collection[str] = (),
) -> Path:
    """Run every method, write `results.md`, `results.json` and `curves.png` in `out`, print the table.

    Returns the path of the picture. Each method has a folder of its own with the runs `pretrain` and `finetune`; with
    `resume` what is complete is kept and what was cut short goes on. baselines: label -> artifact that is not
    finetuned. lowest_return: of the task; with it the picture shows the critics' values too.
    """
    acting, other = ("sampled", "likeliest") if eval_sample else ("likeliest", "sampled")
    curves: dict[str, list[Curve]] = {}
    values: dict[str, list[Trace]] = {}
    numbers: dict[str, dict[str, Any]] = {}
    for method in methods:
        say(f"{method.label}: {seeds} seeds, {method.offline_steps:,} gradient steps offline, "
             f"{method.online['steps']:,} environment steps online")  # fmt: skip
        folder = out / method.label
        model, agent = run(
            method, data, env, folder, seeds=seeds, eval_episodes=eval_episodes, eval_sample=eval_sample, resume=resume,
            sinks=sinks,
        )  # fmt: skip
        runs = [folder / "pretrain"] * (model is not None) + [folder / "finetune"]
        curves[method.label] = [Curve.read(run, score) for run in runs]
        values[method.label] = [Trace.read(run, "q_policy") for run in runs]
        finetuning = Finetuning.of(curves[method.label][-1], score)
        numbers[method.label] = finetuning.to_json() | {
            f"{other} before": model and _final(model, env, eval_episodes, not eval_sample, score),
            f"{other} after": _final(agent, env, eval_episodes, not eval_sample, score),
            "seconds": sum(read_log(run, "timing")[-1]["seconds"] for run in runs),
        }
        say(f"{method.label}: before {text(finetuning.before, score)}, after {text(finetuning.after, score)}")

    names = ("before", "dip", "after", f"{other} before", f"{other} after", "regret")
    rows = [
        [
            label,
            *(text(found[name], score) for name in names),
            f"{found['seconds']:.0f} s",
        ]
        for label, found in numbers.items()
    ]
    lines = {}
    for label, artifact in (baselines or {}).items():
        found = {
            name: _final(artifact, env, eval_episodes, sample, score)
            for name, sample in (("before", eval_sample), (f"{other} before", not eval_sample))
        }
        lines[label] = found["before"][0]
        rows.append([label, *(text(found.get(name), score) for name in names), "-"])
        numbers[label] = found
    result = markdown(["method", *names, "time"], rows)
    result += (
        f"\n\n{score}: mean over {seeds} seeds of {eval_episodes} episodes, [95% bootstrap interval over both]."
        "\nbefore: at the switch to finetuning. dip: worst evaluation in its first tenth. after: at its end."
        f"\nThe policies act by their {acting} actions; {other}: by {other} ones, on twice as many other episodes."
        "\nregret: 1 - mean success along finetuning.\n"
    )
    if "all alike" in result:
        result += "all alike: every episode came out the same, so resampling them tells nothing of how sure that is.\n"
    (out / "results.md").write_text(f"# {title}\n\n{result}")
    (out / "results.json").write_text(json.dumps({"title": title, "score": score, "methods": numbers}, indent=2) + "\n")
    traces = None if lowest_return is None else values
    picture = learning_curves(curves, out / "curves.png", score, title, lines, traces, lowest_return)
    print(result)
    return picture


def run(
    method: Method,
    data: Dataset,
    env: str,
    out: Path,
    *,
    seeds: int,
    eval_episodes: int,
    eval_sample: bool = False,
    resume: bool = False,
    sinks: Collection[str] = (),
) -> tuple[Artifact | None, Artifact]:
    """Pretrain in `out / "pretrain"` (not without offline steps), finetune in `out / "finetune"`: both artifacts."""
    common = {
        "seeds": seeds, "eval_episodes": eval_episodes, "eval_sample": eval_sample, "sinks": sinks,
        "reward_scale": method.reward_scale, "reward_shift": method.reward_shift, "precision": method.precision,
    }  # fmt: skip
    model = _pretrained(method, data, env, resumable(out / "pretrain", resume), common)
    agent = api.finetune(
        model, env=env, data=data, algorithm=method.online_algorithm or (None if model else method.algorithm),
        **resumable(out / "finetune", resume), **common, **method.online,
    )  # fmt: skip
    return model, agent


def resumable(out: Path, resume: bool) -> dict[str, Any]:
    """Where a run of the comparison goes on; one that it had not come to begins."""
    return {"out": out, "resume": resume and begun(out)}


def _pretrained(
    method: Method, data: Dataset, env: str, folder: Mapping[str, Any], common: Mapping[str, Any]
) -> Artifact | None:
    if not method.offline_steps:
        return None
    steps = method.offline_steps
    options = {
        "steps": steps, "log_every": max(1, steps // 20), "eval_every": max(1, steps // method.offline_evaluations),
        **folder,
    }  # fmt: skip
    if method.start is None:
        return api.pretrain(method.algorithm, data, env=env, **options, **common)
    return api.finetune(method.start, data=data, algorithm=method.algorithm, eval_env=env, **options, **common)


def _final(artifact: Artifact, env: str, episodes: int, sample: bool, score: Score) -> tuple[float, float, float]:
    """The score on twice as many episodes as evaluations have, none of them seen before."""
    evaluation = api.evaluate(artifact, env=env, episodes=2 * episodes, seed=2_000_000, sample=sample)
    return evaluation.across_seeds(score)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

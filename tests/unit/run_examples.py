"""Run directories written by hand, whose numbers are known."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

ENV = "headstart/chain?n=5"
DATA = {
    "source": "minari:demo", "version": "v1", "environment": "Demo-v1", "transforms": ["rewards scaled by 2"],
    "sha256": "d" * 64, "episodes": 4, "steps": 100,
}  # fmt: skip


def write_run(
    folder: Path,
    phase: str = "online",
    *,
    scores: dict[int, dict[int, list[float]]] | None = None,
    seeds: tuple[int, ...] = (0, 1),
    algorithm: str = "cql",
    source: str | None = None,
    env: str = ENV,
    success: bool = True,
    metrics: list[dict[str, Any]] = (),
    complete: bool = True,
    **config: Any,
) -> str:
    """Write a run, and return the digest of its artifact.

    scores: step -> training seed -> score of every episode (None: no evaluations); with `success` these are successes
    and returns are 10 * score - 10, else they are returns. config: fields of the algorithm.
    """
    folder.mkdir(parents=True)
    digest = hashlib.sha256(str(folder).encode()).hexdigest()
    settings = {"env": env if scores else None, "eval_episodes": 2, "eval_sample": True}
    written = {
        "phase": phase,
        "algorithm": {"name": algorithm, "config": {"weight": 1.0, "widths": [8, 8]} | config},
        "options": {"steps": max(scores or {0: 0})},
        "settings": settings,
        "seeds": list(seeds),
        "data": DATA if phase != "online" else None,
        "source": source,
    }
    (folder / "config.json").write_text(json.dumps(written))
    episodes = [
        {
            "phase": phase, "step": step, "training_seed": seed, "seed": 100 + i,
            "return": 10.0 * score - 10.0 if success else score, "length": 3, "success": score > 0 if success else None,
        }
        for step, members in (scores or {}).items()
        for seed, values in members.items()
        for i, score in enumerate(values)
    ]  # fmt: skip
    timing = [{"phase": phase, "step": 1, "seconds": 1.5, "rate": 1.0}, {"phase": phase, "step": 2, "seconds": 7.2}]
    for name, lines in (("episodes", episodes), ("metrics", metrics), ("timing", timing)):
        if lines:
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if complete:
        manifest = {
            "title": algorithm, "steps": 7, "seeds": list(seeds), "created": "2026-01-02T03:04:05+00:00",
            "digest": digest, "lineage": [], "versions": {"headstart": "0.1.0", "jax": "1", "python": "3"},
        }  # fmt: skip
        (folder / "artifact").mkdir()
        (folder / "artifact" / "artifact.json").write_text(json.dumps(manifest))
    return digest


def write_methods(folder: Path, **phases: float) -> Path:
    """A recipe's folder: for each label `pretrain` and `finetune` of two seeds; phases: label -> success at the end.

    Two episodes a seed; seed 0 starts finetuning at 1.0 and falls to 0.0 at step 10 of 100, seed 1 stays at 0.5.
    """
    for label, end in phases.items():
        metrics = [
            {"phase": "offline", "step": step, "seed": seed, "q_policy": -step - seed, "td_loss": 1.0 / step}
            for step in (5, 10)
            for seed in (0, 1)
        ]
        source = write_run(
            folder / label / "pretrain", "offline", algorithm=label, metrics=metrics,
            scores={0: {0: [0, 0], 1: [0, 0]}, 10: {0: [1, 1], 1: [1, 0]}},
        )  # fmt: skip
        write_run(
            folder / label / "finetune", "online", algorithm=label, source=source,
            scores={
                0: {0: [1, 1], 1: [1, 0]}, 10: {0: [0, 0], 1: [1, 0]}, 50: {0: [1, 0], 1: [1, 0]},
                100: {0: [end, end], 1: [1, 1]},
            },
        )  # fmt: skip
    return folder

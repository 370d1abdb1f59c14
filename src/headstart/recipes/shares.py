"""What recipes share that learn from a small share of labelled steps: scores that are kept, and one table."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from headstart import api
from headstart.artifact import Artifact
from headstart.report.scores import markdown, text
from headstart.train.evaluate import interval

Scores = list[list[float]]
"""Of every training seed its successes, episode by episode."""


def successes(folder: Path, agent: Callable[[], Artifact], env: str, episodes: int) -> list[float]:
    """Successes of one agent's episodes, as the folder has kept them from a run before, or played anew."""
    kept = folder / "successes.json"
    if kept.exists():
        return json.loads(kept.read_text())
    played = api.evaluate(agent(), env=env, episodes=episodes)
    scores = [float(episode.success) for episode in played.episodes[0]]
    folder.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(scores) + "\n")
    return scores


def cell(scores: Scores) -> str:
    return text((float(np.mean(scores)), *interval(scores, sample_members=True)[1:]), "success")


def tell(
    title: str,
    head: str,
    results: Mapping[str, Mapping[float, Scores]],
    labels: Mapping[str, str],
    shares: Sequence[float],
    steps: int,
    out: Path,
) -> None:
    """Print a line for each method with a column for each share, and keep it in `results.md` and `results.json`.

    results: method -> share -> scores; one that has no share of its own has share 1. labels: what a method is called;
    its name, where they lack it. steps: those that were observed.
    """
    heads = [f"{share:.1%} ({max(1, round(share * steps)):,} steps)" for share in shares]
    rows = [
        [labels.get(name, name), *(cell(found.get(share, found.get(1.0))) for share in shares)]
        for name, found in results.items()
    ]
    table = markdown([head, *heads], rows)
    one = next(iter(next(iter(results.values())).values()))
    notes = (
        f"Success over {len(one)} seeds of {len(one[0])} episodes, [95% bootstrap interval over both]; "
        f"{steps:,} steps were observed."
    )
    (out / "results.md").write_text(f"# {title}\n\n{table}\n\n{notes}\n")
    numbers = {name: {f"{share:g}": scores for share, scores in found.items()} for name, found in results.items()}
    (out / "results.json").write_text(json.dumps(numbers, indent=2) + "\n")
    print(f"{table}\n\n{notes}")

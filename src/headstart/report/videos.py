"""Videos of a run: what lies in its folder `videos/`, recorded there when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from headstart.errors import HeadstartError
from headstart.report.details import IMAGES, VIDEOS, Media, media
from headstart.report.runs import Method, RunFiles

NAME = "best-median-worst.mp4"


def shown(methods: Sequence[Method]) -> list[Media]:
    """What lies in `videos/` of each run, by name."""
    return [
        media(file, f"{method.label}: {file.stem}")
        for method in methods
        for run in method.runs
        for file in sorted((run.folder / "videos").glob("*"))
        if file.suffix in IMAGES | VIDEOS
    ]


def record(methods: Sequence[Method]) -> list[str]:
    """Play the last evaluation of every method's last run again, from the seeds in its records, and write the best, the
    median and the worst episode to `videos/` of that run, unless that folder is there.

    Returns a line for each run of which that cannot be done.
    """
    notes = []
    for run in dict.fromkeys(chain[-1] for method in methods for chain in method.chains):
        folder = run.folder / "videos"
        if not run.episodes or run.manifest is None or folder.exists():
            continue
        folder.mkdir()
        try:
            _record(run, folder / NAME)
        except HeadstartError as error:
            folder.rmdir()
            notes.append(f"{run.folder}: no video, {error}")
    return notes


def _record(run: RunFiles, path: Path) -> None:
    from headstart import api

    last = [line for line in run.episodes if line["step"] == run.episodes[-1]["step"]]
    seeds = {line["seed"] for line in last}
    api.evaluate(
        run.folder, env=run.env, episodes=len(seeds), seed=min(seeds), sample=run.config["settings"]["eval_sample"],
        video=path,
    )  # fmt: skip

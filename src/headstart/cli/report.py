"""`headstart report`: what runs did, as one page that opens from disk."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from headstart.cli import parse


def report(
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...")],
    out: Path,
    title: str = "",
    score: Literal["success", "return"] | None = None,
    video: bool = False,
    overwrite: bool = False,
) -> None:
    """Write a page of curves, tables, diagnostics, data, settings and lineage; every figure also as PNG and SVG.

    Args:
        runs: Folders of runs, or folders that hold runs, such as that of `headstart run`.
        out: Folder for the page (index.html), its figures, and the table as Markdown, LaTeX and CSV.
        title: Heading of the page; by default the environments.
        score: What counts; by default success where the environment tells it, else the return.
        video: Play each run's last evaluation again and record the best, the median and the worst episode, into
            `videos` in the run's folder (extra video); without it the videos are shown that are there.
        overwrite: Replace the report that is there.
    """
    from headstart.report import page

    report = page.write(runs, out, title=title, score=score, video=video, overwrite=overwrite)
    for note in report.notes:
        print(f"note: {note}", file=sys.stderr)
    print(f"report: {report.page}")


def main(args: list[str]) -> None:
    parse.call(report, args, "headstart report")

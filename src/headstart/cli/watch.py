"""`headstart watch`: curves of runs in the terminal, while they go on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from headstart.cli import parse
from headstart.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from headstart.report.live import Panel, Scene, Status

STYLES = ("cyan", "yellow", "magenta", "green", "red", "blue", "bright_white", "bright_black")
"""Of the runs in one panel, in turn."""


def watch(
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...")],
    metrics: tuple[str, ...] = (),
    once: bool = False,
    every: float = 2.0,
) -> None:
    """Show curves of runs in the terminal while they go on; ends with them. Reads their files and changes nothing.

    Where the output is no terminal, prints a line for every log step instead.

    Args:
        runs: Folders of runs, or folders that hold runs, such as that of `headstart run`.
        metrics: Names in metrics.jsonl to show, in place of the usual ones.
        once: Show what there is now and end.
        every: Seconds between two looks.
    """
    if not runs:
        raise UsageError("missing RUN: folders of runs, or folders that hold runs; see headstart watch --help")
    if not every > 0:
        raise UsageError(f"--every: expected more than 0 seconds, found {every:g}")
    from rich.console import Console

    from headstart.report.live import look

    console = Console(highlight=False)
    scene = look(runs, metrics)
    if not console.is_terminal:
        _follow(scene, runs, metrics, once, every)
    elif once or scene.complete:
        console.print(_drawn(scene, console))
    else:
        from rich.live import Live

        with Live(_drawn(scene, console), console=console, auto_refresh=False, vertical_overflow="crop") as live:
            while not scene.complete:
                time.sleep(every)
                scene = look(runs, metrics)
                live.update(_drawn(scene, console), refresh=True)


def main(args: list[str]) -> None:
    parse.call(watch, args, "headstart watch")


def _follow(scene: Scene, runs: tuple[Path, ...], metrics: tuple[str, ...], once: bool, every: float) -> None:
    """A line of text for every run that has got further since the last look."""
    from headstart.report.live import look

    seen: dict[str, tuple[int, bool]] = {}
    while True:
        for status in scene.statuses:
            if seen.get(status.run) != (status.step, status.complete):
                seen[status.run] = status.step, status.complete
                print("  ".join([status.run, status.describe(), *_latest(scene, status)]), flush=True)
        if once or scene.complete:
            return
        time.sleep(every)
        scene = look(runs, metrics)


def _latest(scene: Scene, status: Status) -> list[str]:
    """The newest value of everything that is shown of a run."""
    return [
        f"{panel.quantity} {_number(panel.quantity, trace.values[-1])}"
        for panel in scene.panels
        for trace in panel.traces
        if (panel.phase, trace.run) == (status.phase, status.run)
    ]


def _drawn(scene: Scene, console: Console) -> RenderableType:
    from rich.columns import Columns
    from rich.console import Group
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for status in scene.statuses:
        table.add_row(status.run, status.phase, status.describe())
    width = console.width // 2 - 1 if console.width >= 100 else console.width
    rows = -(-len(scene.panels) // (console.width // width)) or 1
    height = max(6, min(14, (console.height - len(scene.statuses) - 2) // rows - 2))
    panels = [_panel(panel, width, height, console.options.ascii_only) for panel in scene.panels]
    return Group(table, Columns(panels, width=width, padding=(1, 0, 0, 0)))


def _panel(panel: Panel, width: int, height: int, ascii_only: bool) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from headstart.report.braille import plot
    from headstart.report.live import PHASES

    share = panel.quantity == "success"
    name = "success in %" if share else panel.quantity
    title = Text(f"{name}, {PHASES[panel.phase]}", "bold", no_wrap=True, overflow="ellipsis")
    legend, lines = Text(overflow="ellipsis", no_wrap=True), []
    for i, trace in enumerate(panel.traces):
        style = STYLES[i % len(STYLES)]
        lines.append((trace.steps, 100.0 * trace.values if share else trace.values, style))
        legend.append(f"{trace.run} {_number(panel.quantity, trace.values[-1])}  ", style)
    return Group(title, plot(lines, width, height, (0.0, 100.0) if share else None, ascii_only), legend)


def _number(quantity: str, value: float) -> str:
    return f"{value:.0%}" if quantity == "success" else f"{value:.4g}"

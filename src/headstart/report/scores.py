"""Scores across the switch as text: in tables, and beside figures."""

from __future__ import annotations

from collections.abc import Sequence

from headstart.train.evaluate import bounds
from headstart.train.scores import Curve, Finetuning, Score, Trace

__all__ = ["Curve", "Finetuning", "Score", "Trace", "markdown", "text"]


def text(value: tuple[float, float, float] | None, score: Score) -> str:
    """`57% [43, 71]`, or `-63.2 [-70.1, -55]`; `100% [all alike]` where there is no spread."""
    if value is None:
        return "-"
    if score == "success":
        mean, low, high = (100.0 * part for part in value)
        return f"{mean:.0f}% {bounds(low, high, '.0f')}"
    mean, low, high = value
    return f"{mean:.3g} {bounds(low, high, '.3g')}"


def markdown(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns line up."""
    cells = [list(headers), *map(list, rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headers))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)

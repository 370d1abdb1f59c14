"""How figures look: one palette, quiet axes, written as PNG and SVG."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5a5a5a")
"""Okabe and Ito's palette: told apart by colour-blind readers too."""

GREY = COLOURS[-1]
"""Of reference lines and notes."""


def blank(width: float, height: float) -> Figure:
    """An empty figure of that size in inches, apart from any window system."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def quiet(axis: Any) -> None:
    """No frame above and at the right, a faint grid, lines up to the edges."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25)
    axis.margins(x=0.0)


def diagonal(axis: Any) -> None:
    """The line on which both coordinates are alike, across what is drawn."""
    low, high = (bound(*axis.get_xlim(), *axis.get_ylim()) for bound in (min, max))
    axis.plot([low, high], [low, high], "--", color=GREY, linewidth=1.0)


def save(figure: Figure, path: Path) -> Path:
    """Write `path` (PNG) and, beside it, the same as SVG; the folder is made. Returns `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for place in (path, path.with_suffix(".svg")):
        figure.savefig(place, dpi=150)
    return path

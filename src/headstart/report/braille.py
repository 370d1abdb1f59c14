"""Curves as text: every character is a braille cell of 2 by 4 dots."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.text import Text

DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bit of the dot in each row and column of a cell, above U+2800."""

MARGIN = 9
"""Characters left of the plot, for the bounds of y."""

Line = tuple[np.ndarray, np.ndarray, str]
"""x (T,), y (T,), and a Rich style."""


def plot(
    lines: Sequence[Line],
    width: int,
    height: int,
    bounds: tuple[float, float] | None = None,
    ascii_only: bool = False,
) -> Text:
    """The lines in `height` rows of `width` characters, bounds of x and y at the edges; later lines lie above.

    bounds: of y, by default those of the lines. Points that are not finite interrupt a line. ascii_only: asterisks
    instead of dots.
    """
    columns, rows = max(8, width - MARGIN - 1), max(2, height - 1)
    x_low, x_high = _bounds([line[0] for line in lines])
    y_low, y_high = bounds or _bounds([line[1] for line in lines])
    bits = np.zeros((rows, columns), int)
    styles = np.full((rows, columns), "", object)
    for x, y, style in lines:
        across = (np.asarray(x, float) - x_low) / (x_high - x_low) * (2 * columns - 1)
        up = (np.asarray(y, float) - y_low) / (y_high - y_low) * (4 * rows - 1)
        for column, row in _dots(across, 4 * rows - 1 - up):
            bits[row // 4, column // 2] |= DOTS[row % 4][column % 2]
            styles[row // 4, column // 2] = style
    text = Text(no_wrap=True)
    edges = {0: _number(y_high), rows - 1: _number(y_low)}
    for row in range(rows):
        text.append(f"{edges.get(row, ''):>{MARGIN - 1}} ", "dim")
        text.append("|" if ascii_only else "│", "dim")
        for cell, style in zip(bits[row], styles[row], strict=True):
            text.append(("*" if ascii_only else chr(0x2800 + cell)) if cell else " ", style)
        text.append("\n")
    left, right = _number(x_low), _number(x_high)
    text.append(" " * (MARGIN + 1) + left + right.rjust(columns - len(left)), "dim")
    return text


def _bounds(parts: Sequence[np.ndarray]) -> tuple[float, float]:
    """The least and the greatest finite number, apart from each other."""
    values = np.concatenate([np.asarray(part, float) for part in parts] or [np.zeros(0)])
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    # A flat line lies in the middle.
    room = 0.5 * max(abs(low), 1e-3) if low == high else 0.0
    return low - room, high + room


def _dots(x: np.ndarray, y: np.ndarray) -> set[tuple[int, int]]:
    """The dots of a polyline, in units of dots."""
    finite = np.isfinite(x) & np.isfinite(y)
    found = {(round(a), round(b)) for a, b in zip(x[finite], y[finite], strict=True)}
    for i in np.flatnonzero(finite[:-1] & finite[1:]):
        count = int(max(abs(x[i + 1] - x[i]), abs(y[i + 1] - y[i]))) + 2
        between = zip(np.linspace(x[i], x[i + 1], count), np.linspace(y[i], y[i + 1], count), strict=True)
        found |= {(round(a), round(b)) for a, b in between}
    return found


def _number(value: float) -> str:
    """At most 8 characters."""
    if value and not 1e-3 <= abs(value) < 1e5:
        return f"{value:.1e}"
    return f"{value:.4g}"

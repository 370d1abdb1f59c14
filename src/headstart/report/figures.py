"""Figures, drawn with Matplotlib: static, exact, and on every machine."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headstart.plotting import COLOURS, GREY, blank, quiet, save
from headstart.report.scores import Curve, Score, Trace


def learning_curves(
    methods: Mapping[str, Sequence[Curve]],
    out: Path,
    score: Score,
    title: str,
    lines: Mapping[str, float] | None = None,
    values: Mapping[str, Sequence[Trace]] | None = None,
    lowest_return: float | None = None,
) -> Path:
    """Scores of several methods across their phases, offline left of the switch and online right of it.

    methods: label -> curves of its phases in order (only the last one: no pretraining). lines: label -> level of a
    horizontal line, such as a baseline. Shaded: 95% bootstrap intervals over seeds and episodes; thin: each seed.
    values, lowest_return: with these a second row shows the critics' values at the policy's actions, and the lowest
    return that the task allows. Writes PNG and, beside it, SVG.
    """
    from matplotlib.ticker import PercentFormatter

    rows = 2 if values else 1
    figure = blank(8.0, 1.0 + 3.2 * rows)
    axes = figure.subplots(rows, 2, sharey="row", sharex="col", width_ratios=(1, 2), squeeze=False)
    for i, (label, curves) in enumerate(methods.items()):
        colour = COLOURS[i % len(COLOURS)]
        for axis, curve in zip(axes[0][-len(curves) :], curves, strict=True):
            mean, low, high = curve.intervals().T
            axis.plot(curve.steps, mean, color=colour, label=label, linewidth=1.8)
            axis.fill_between(curve.steps, low, high, color=colour, alpha=0.15, linewidth=0)
            axis.plot(curve.steps, curve.scores.mean(-1), color=colour, alpha=0.3, linewidth=0.7)
        if values:
            for axis, trace in zip(axes[1][-len(curves) :], values[label], strict=True):
                if not len(trace.steps):
                    # Not every algorithm has this metric.
                    continue
                axis.plot(trace.steps, trace.values.mean(-1), color=colour, linewidth=1.8)
                axis.plot(trace.steps, trace.values, color=colour, alpha=0.3, linewidth=0.7)
    marked = {0: lines or {}}
    if values and lowest_return is not None:
        marked[1] = {"lowest possible return": lowest_return}
    for row, levels in marked.items():
        for label, level in levels.items():
            for axis in axes[row]:
                axis.axhline(level, color=GREY, linestyle="--", linewidth=1.0)
            axes[row][1].annotate(
                label, (0.99, level), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8
            )
    axes[0][0].set_title("pretraining", fontsize=10)
    axes[0][1].set_title("finetuning", fontsize=10)
    axes[-1][0].set_xlabel("gradient steps")
    axes[-1][1].set_xlabel("environment steps")
    axes[0][0].set_ylabel("success" if score == "success" else "return")
    if values:
        axes[1][0].set_ylabel("Q at the policy's actions")
    if score == "success":
        axes[0][0].yaxis.set_major_formatter(PercentFormatter(1.0))
        axes[0][0].set_ylim(-0.03, 1.03)
    for axis in axes.flat:
        quiet(axis)
    axes[0][1].legend(frameon=False, fontsize=9, loc="best")
    figure.suptitle(f"{title}\n(bold: mean; thin: each seed; shaded: 95% interval)", fontsize=10)
    return save(figure, out)


TITLED = 5.2
"""Inches that the two lines of a title take."""


def goal_bars(reached: Mapping[str, Mapping[str, Mapping[str, Any]]], out: Path, title: str) -> Path:
    """Success of methods on several problems, a panel each.

    reached: problem -> method -> `success` (mean, low, high), `published` in percent, or None. Writes PNG and, beside
    it, SVG.
    """
    from matplotlib.ticker import PercentFormatter

    figure = blank(max(TITLED, 3.0 * len(reached)), 3.4)
    axes = figure.subplots(1, len(reached), sharey=True, squeeze=False)[0]
    for axis, (problem, methods) in zip(axes, reached.items(), strict=True):
        places = range(len(methods))
        mean, low, high = zip(*(found["success"] for found in methods.values()), strict=True)
        errors = [[m - a for m, a in zip(mean, low, strict=True)], [b - m for m, b in zip(mean, high, strict=True)]]
        axis.bar(places, mean, yerr=errors, color=COLOURS[0], width=0.65, error_kw={"linewidth": 1.0})
        published = [
            (i, found["published"] / 100.0)
            for i, found in enumerate(methods.values())
            if found["published"] is not None
        ]
        if published:
            axis.plot(*zip(*published, strict=True), "_", color=COLOURS[1], markersize=13, markeredgewidth=2.0)
        axis.set_xticks(places, methods, rotation=60, ha="right", fontsize=9)
        axis.set_title(problem, fontsize=10)
        quiet(axis)
        axis.margins(x=0.03)
    axes[0].yaxis.set_major_formatter(PercentFormatter(1.0))
    axes[0].set_ylim(0.0, 1.03)
    axes[0].set_ylabel("success over all goals")
    figure.suptitle(f"{title}\n(bars: here, with 95% intervals; dashes: published, full training)", fontsize=10)
    return save(figure, out)


def goal_curves(curves: Mapping[str, Sequence[Curve]], out: Path, title: str) -> Path:
    """Success on one goal online, a panel for each method.

    curves: method -> curves from the pretrained model and from scratch. Writes PNG and, beside it, SVG.
    """
    from matplotlib.ticker import PercentFormatter

    columns = min(4, len(curves))
    rows = math.ceil(len(curves) / columns)
    figure = blank(max(TITLED, 2.4 * columns + 0.6), 1.9 * rows + 0.9)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axis, (method, (pretrained, scratch)) in zip(axes.flat, curves.items(), strict=False):
        for curve, colour, style in ((pretrained, COLOURS[0], "-"), (scratch, GREY, "--")):
            mean, low, high = curve.intervals().T
            axis.plot(curve.steps, mean, style, color=colour, linewidth=1.8)
            axis.fill_between(curve.steps, low, high, color=colour, alpha=0.15, linewidth=0)
        axis.set_title(method, fontsize=10)
        quiet(axis)
    for axis in list(axes.flat)[len(curves) :]:
        axis.set_visible(False)
    # The lowest of each column, below which there may be an empty place.
    for axis in list(axes.flat)[len(curves) - columns : len(curves)]:
        axis.tick_params(labelbottom=True)
    axes[0][0].yaxis.set_major_formatter(PercentFormatter(1.0))
    axes[0][0].set_ylim(-0.03, 1.03)
    figure.supxlabel("environment steps", fontsize=9)
    figure.suptitle(f"{title}\n(solid: pretrained; dashed: from scratch; shaded: 95% interval)", fontsize=10)
    return save(figure, out)


def table_of_scores(scores: Mapping[str, Mapping[str, Sequence[float] | None]], out: Path, title: str) -> Path:
    """Success in a grid, darker where higher; a cell without one is left white.

    scores: row -> column -> (mean, low, high) or None. Writes PNG and, beside it, SVG.
    """
    rows, columns = list(scores), list(next(iter(scores.values())))
    figure = blank(1.6 + 1.35 * len(columns), 1.2 + 0.5 * len(rows))
    axis = figure.subplots()
    means = [[(scores[row][column] or [math.nan])[0] for column in columns] for row in rows]
    axis.imshow(means, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            cell = scores[row][column]
            if cell is None:
                axis.text(j, i, "makes no sense", ha="center", va="center", fontsize=7, color=GREY)
                continue
            mean, low, high = (100.0 * part for part in cell)
            colour = "white" if mean > 60.0 else "black"
            axis.text(j, i - 0.12, f"{mean:.0f}%", ha="center", va="center", fontsize=10, color=colour)
            axis.text(j, i + 0.25, f"[{low:.0f}, {high:.0f}]", ha="center", va="center", fontsize=7, color=colour)
    axis.set_xticks(range(len(columns)), columns)
    axis.set_yticks(range(len(rows)), rows)
    axis.xaxis.tick_top()
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    figure.suptitle(f"{title}\n(success, 95% intervals)", fontsize=10)
    return save(figure, out)

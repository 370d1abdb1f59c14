"""Figures, drawn with Matplotlib: static, exact, and on every machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

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

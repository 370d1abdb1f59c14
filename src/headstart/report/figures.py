"""Figures, drawn with Matplotlib: static, exact, and on every machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from headstart.report.scores import Curve, Score

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5a5a5a")
"""Okabe and Ito's palette: told apart by colour-blind readers too."""


def learning_curves(
    methods: Mapping[str, Sequence[Curve]],
    out: Path,
    score: Score,
    title: str,
    lines: Mapping[str, float] | None = None,
) -> Path:
    """Scores of several methods across their phases, offline left of the switch and online right of it.

    methods: label -> curves of its phases in order (only the last one: no pretraining). lines: label -> level of a
    horizontal line, such as a baseline. Shaded: 95% bootstrap intervals over seeds and episodes. Writes PNG and, beside
    it, SVG.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    figure = Figure(figsize=(8.0, 4.2), layout="constrained")
    offline, online = figure.subplots(1, 2, sharey=True, width_ratios=(1, 2))
    axes = {False: offline, True: online}
    for i, (label, curves) in enumerate(methods.items()):
        colour = COLOURS[i % len(COLOURS)]
        for j, curve in enumerate(curves):
            axis = axes[j == len(curves) - 1]
            mean, low, high = curve.intervals().T
            last = j == len(curves) - 1
            axis.plot(curve.steps, mean, color=colour, label=label if last else None, linewidth=1.8)
            axis.fill_between(curve.steps, low, high, color=colour, alpha=0.15, linewidth=0)
            if last:
                for seed in range(curve.scores.shape[1]):
                    axis.plot(curve.steps, curve.scores[:, seed].mean(-1), color=colour, alpha=0.25, linewidth=0.7)
    for label, level in (lines or {}).items():
        for axis in axes.values():
            axis.axhline(level, color="#5a5a5a", linestyle="--", linewidth=1.0)
        online.annotate(label, (1.0, level), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8)
    offline.set_title("pretraining", fontsize=10)
    online.set_title("finetuning", fontsize=10)
    offline.set_xlabel("gradient steps")
    online.set_xlabel("environment steps")
    offline.set_ylabel("success" if score == "success" else "return")
    if score == "success":
        offline.yaxis.set_major_formatter(PercentFormatter(1.0))
        offline.set_ylim(-0.03, 1.03)
    for axis in axes.values():
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
        axis.margins(x=0.0)
        axis.ticklabel_format(axis="x", style="plain")
    online.legend(frameon=False, fontsize=9, loc="best")
    figure.suptitle(title, fontsize=11)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=150)
    figure.savefig(out.with_suffix(".svg"))
    return out

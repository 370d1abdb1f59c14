"""The figures of a report: each for a wide page and for a phone, and in words for those who do not see it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart import plotting
from headstart.plotting import COLOURS, blank
from headstart.report.scores import Score, Trace, text
from headstart.report.statistics import Interval
from headstart.report.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#2a2f36"
"""Colour of text and axes; on the page it is that of the text around."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""With the colours, so that nothing hangs on colour alone."""

WIDE, NARROW = 9.0, 4.3
"""Widths in inches: of a figure across the page, and of one for a phone or half a page."""


POINTS = 200
"""Points of a line, at most: a page of long runs stays small."""


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A figure. name: of its files. description: what it shows, in words. draw(width in inches) makes it; narrow: it
    is no wider than half a page, so one size serves everywhere. numbers: what it shows, as a table."""

    name: str
    title: str
    description: str
    caption: str
    draw: Callable[[float], Figure]
    narrow: bool = False
    numbers: Table | None = None


@contextlib.contextmanager
def ink() -> Iterator[None]:
    """Draw text and axes in `INK`."""
    import matplotlib

    names = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "grid.color")
    sizes = {"font.size": 10, "axes.titlesize": 10, "axes.labelsize": 10, "legend.fontsize": 9.5}
    with matplotlib.rc_context(dict.fromkeys(names, INK) | sizes):
        yield


@dataclasses.dataclass(frozen=True)
class Side:
    """What a figure shows of one side of the switch: label -> curve or trace."""

    online: bool
    lines: Mapping[str, Any]

    @property
    def title(self) -> str:
        return "finetuning" if self.online else "pretraining"

    @property
    def unit(self) -> str:
        return "environment steps" if self.online else "gradient steps"


def learning_curves(
    name: str, sides: Sequence[Side], labels: Sequence[str], score: Score, dips: Mapping[str, Dip]
) -> Drawing:
    """Mean scores with their intervals, each seed, and the dips, across the switch. labels: of all methods, in the
    order of their colours."""
    bands = {(side.online, label): curve.intervals() for side in sides for label, curve in side.lines.items()}
    faint = 1.0 if len(labels) <= 3 else 0.6

    def draw(width: float) -> Figure:
        figure, axes = _sides(sides, width, 3.5 if width > NARROW else 2.7)
        for side, axis in zip(sides, axes, strict=True):
            for label, curve in side.lines.items():
                style = _style(labels, label)
                mean, low, high = bands[side.online, label].T
                axis.plot(curve.steps, mean, linewidth=1.8, markersize=4, markevery=_some(len(mean)), **style)
                axis.fill_between(curve.steps, low, high, color=style["color"], alpha=0.15 * faint, linewidth=0)
                axis.plot(curve.steps, curve.scores.mean(-1), color=style["color"], alpha=0.35 * faint, linewidth=0.7)
            _score_axis(axis, score)
        if dips:
            _mark_dips(axes[-1], dips, sides[-1], labels)
        axes[0].set_ylabel(score)
        _legend(figure, labels, [label for label in labels if any(label in side.lines for side in sides)], width)
        return figure

    said, rows = [], []
    for side in sides:
        for label, curve in side.lines.items():
            band = bands[side.online, label]
            first, last = (text(values, score) for values in band[[0, -1]])
            said.append(f"{label}, {side.title}: from {first} to {last} at step {curve.steps[-1]:,}.")
            rows += [
                (label, side.title, int(step), *map(float, values))
                for step, values in zip(curve.steps, band, strict=True)
            ]
    said += [f"{label} dips to {text(dip.low, score)} after the switch." for label, dip in dips.items()]
    caption = (
        f"Bold: mean {score}; shaded: 95% bootstrap interval over training seeds and, within them, episodes; thin: "
        "each seed."
    )
    if dips:
        caption += (
            " Arrows in the grey band, the first tenth of finetuning: the dip, from the score at the switch down to "
            "the mean of each seed's worst evaluation in the band. The worst of several noisy evaluations lies a "
            "little below the start also where nothing fell."
        )
    return Drawing(
        name, "Learning curves", " ".join(said), caption, draw,
        numbers=Table(("method", "phase", "step", "mean", "low", "high"), tuple(rows)),
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Dip:
    """before: mean score at the switch. low: the worst early score, (mean, low, high)."""

    before: float
    low: Interval


def metric(name: str, metric: str, sides: Sequence[Side], labels: Sequence[str]) -> Drawing:
    """A training metric: mean over seeds, and each seed; of long runs, means of neighbouring log steps."""
    sides = [Side(side.online, {label: _thinned(trace) for label, trace in side.lines.items()}) for side in sides]

    def draw(width: float) -> Figure:
        figure, axes = _sides(sides, width, 2.1, across=True)
        for side, axis in zip(sides, axes, strict=True):
            for label, trace in side.lines.items():
                style = _style(labels, label)
                line = {"markersize": 3.5, "markevery": _some(len(trace.steps), 4)} | style
                axis.plot(trace.steps, _mean(trace), linewidth=1.6, **line)
                axis.plot(trace.steps, trace.values, color=style["color"], alpha=0.35, linewidth=0.6)
        return figure

    said = [
        f"{label}, {side.title}: from {_mean(trace)[0]:.4g} to {_mean(trace)[-1]:.4g}."
        for side in sides
        for label, trace in side.lines.items()
    ]
    return Drawing(name, metric, " ".join(said), "", draw, narrow=True)


def intervals(
    name: str, title: str, caption: str, groups: Mapping[str, Mapping[str, Interval]], labels: Sequence[str],
    score: Score | None, level: float | None = None,
) -> Drawing:  # fmt: skip
    """Points with intervals, a row each. groups: what -> {row: interval}; the first is drawn hollow where there are
    several. labels: rows that are methods have their colours. score: what the numbers are, None: probabilities."""
    rows = list(dict.fromkeys(row for group in groups.values() for row in group))
    kind = score or "success"

    def draw(width: float) -> Figure:
        figure = blank(width, 0.9 + 0.3 * len(rows) * len(groups) ** 0.5)
        axis = figure.subplots()
        spread = 0.18 if len(groups) > 1 else 0.0
        for g, found in enumerate(groups.values()):
            for row, (value, low, high) in found.items():
                y = rows.index(row) + spread * (2 * g - 1)
                style = _style(labels, row) if row in labels else {"color": COLOURS[0], "marker": "o"}
                axis.plot([low, high], [y, y], color=style["color"], linewidth=1.6, alpha=0.8)
                hollow = len(groups) > 1 and g == 0
                axis.plot([value], [y], markersize=6, linestyle="", **style, markerfacecolor="none" if hollow else None)
        axis.set_yticks(range(len(rows)), [_plain(row) for row in rows])
        axis.set_ylim(len(rows) - 0.5, -0.5)
        _quiet(axis)
        axis.margins(x=0.04)
        if score != "return":
            _percent(axis.xaxis)
            axis.set_xlim(-0.03, 1.03)
        if level is not None:
            axis.axvline(level, color=INK, linestyle="--", linewidth=1.0)
        return figure

    said = [f"{row}, {group}: {text(v, kind)}." for group, found in groups.items() for row, v in found.items()]
    numbers = tuple((row, group, *v) for group, found in groups.items() for row, v in found.items())
    return Drawing(
        name, title, " ".join(said), caption, draw, narrow=True,
        numbers=Table(("of", "what", "value", "low", "high"), numbers),
    )  # fmt: skip


def profiles(
    name: str, title: str, caption: str, levels: np.ndarray, found: Mapping[str, np.ndarray], labels: Sequence[str],
    score: Score,
) -> Drawing:  # fmt: skip
    """Performance profiles: label -> (levels, 3) share of runs above each level, with its interval."""

    def draw(width: float) -> Figure:
        figure = blank(width, 3.1)
        axis = figure.subplots()
        for label, shares in found.items():
            style = _style(labels, label)
            value, low, high = shares.T
            every = {"markersize": 4, "markevery": _some(len(levels), 6)}
            axis.plot(levels, value, drawstyle="steps-post", linewidth=1.8, **style, **every)
            alpha = 0.15 if len(found) <= 3 else 0.08
            axis.fill_between(levels, low, high, step="post", color=style["color"], alpha=alpha, linewidth=0)
        _quiet(axis)
        _percent(axis.yaxis)
        axis.set_ylim(-0.03, 1.03)
        if score == "success":
            _percent(axis.xaxis)
        axis.set_xlabel(f"{score} at the end, τ")
        axis.set_ylabel("runs above τ")
        _legend(figure, labels, list(found), width)
        return figure

    middle = len(levels) // 2
    said = [
        f"{label}: {text(tuple(shares[middle]), 'success')} of runs above a {score} of {levels[middle]:.3g}."
        for label, shares in found.items()
    ]
    rows = tuple(
        (label, float(level), *map(float, shares))
        for label, profile in found.items()
        for level, shares in zip(levels, profile, strict=True)
    )
    return Drawing(
        name, title, " ".join(said), caption, draw, narrow=True,
        numbers=Table(("method", "level", "share", "low", "high"), rows),
    )  # fmt: skip


# -- parts --------------------------------------------------------------------------------------------------------


def _sides(sides: Sequence[Side], width: float, height: float, across: bool = False) -> tuple[Figure, list[Axes]]:
    """Axes for each side: beside one another where there is room (or with `across`), else below."""
    if across or width > NARROW:
        figure = blank(width, height)
        ratios = [2 if side.online and not across else 1 for side in sides]
        axes = figure.subplots(1, len(sides), sharey=True, squeeze=False, width_ratios=ratios)[0]
    else:
        figure = blank(width, height * len(sides))
        axes = figure.subplots(len(sides), 1, sharey=True, squeeze=False)[:, 0]
    for side, axis in zip(sides, axes, strict=True):
        _quiet(axis)
        axis.set_title(side.title)
        _thousands(axis.xaxis)
        axis.set_xlabel(side.unit)
    return figure, list(axes)


def _mark_dips(axis: Axes, dips: Mapping[str, Dip], side: Side, labels: Sequence[str]) -> None:
    band = max(curve.steps[-1] for curve in side.lines.values()) / 10.0
    axis.axvspan(0, band, color=INK, alpha=0.07, linewidth=0)
    for i, (label, dip) in enumerate(dips.items()):
        # Beside one another: where in the band each seed fell differs.
        place = band * (i + 0.5) / len(dips)
        colour = _style(labels, label)["color"]
        arrow = {
            "arrowstyle": "-|>",
            "mutation_scale": 8,
            "color": colour,
            "linewidth": 1.5,
            "shrinkA": 0,
            "shrinkB": 0,
        }
        axis.annotate("", (place, dip.low[0]), (place, dip.before), arrowprops=arrow)


def _quiet(axis: Axes) -> None:
    plotting.quiet(axis)
    axis.grid(alpha=0.13)


def _score_axis(axis: Axes, score: Score) -> None:
    if score == "success":
        _percent(axis.yaxis)
        axis.set_ylim(-0.03, 1.03)


def _percent(axis: Any) -> None:
    from matplotlib.ticker import PercentFormatter

    axis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def _thousands(axis: Any) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(5, min_n_ticks=2))
    axis.set_major_formatter(EngFormatter(sep=""))


def _legend(figure: Figure, labels: Sequence[str], shown: Sequence[str], width: float) -> None:
    from matplotlib.lines import Line2D

    if len(labels) < 2:
        return
    handles = [Line2D([], [], linewidth=1.8, markersize=5, **_style(labels, label)) for label in shown]
    longest = max(len(_plain(label)) for label in shown)
    columns = max(1, min(len(shown), int(width * 11 / (longest + 6))))
    figure.legend(handles, [_plain(label) for label in shown], loc="outside upper center", ncols=columns, frameon=False)


def _style(labels: Sequence[str], label: str) -> dict[str, Any]:
    i = list(labels).index(label)
    return {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[(i + i // len(COLOURS)) % len(MARKERS)]}


def _some(count: int, most: int = 8) -> int:
    """Which points carry a marker: every so many."""
    return max(1, count // most)


def _plain(label: str) -> str:
    """A label as Matplotlib shows it, no formulas, not too long."""
    label = label if len(label) <= 32 else f"{label[:31]}…"
    return label.replace("$", r"\$")


def _thinned(trace: Trace) -> Trace:
    """At most `POINTS` steps: each the mean of its neighbours, at the last of their steps."""
    size = -(-len(trace.steps) // POINTS)
    if size == 1:
        return trace
    starts = np.arange(0, len(trace.steps), size)
    known = np.isfinite(trace.values)
    total = np.add.reduceat(np.where(known, trace.values, 0.0), starts)
    count = np.add.reduceat(known.astype(float), starts)
    values = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return Trace(trace.steps[np.append(starts[1:], len(trace.steps)) - 1], values)


def _mean(trace: Trace) -> np.ndarray:
    return np.nanmean(trace.values, -1)

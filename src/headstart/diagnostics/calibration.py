"""Calibration: Q-hat of the policy beside returns that were really reached."""

from __future__ import annotations

from typing import Any

import numpy as np

from headstart import plotting
from headstart.diagnostics.findings import Finding, Table
from headstart.diagnostics.statistics import by_episode, rank_correlation, text
from headstart.diagnostics.subject import Subject

NAME, TITLE = "calibration", "Calibration"
QUANTILES = 5
BELOW = 0.05
"""Mean shortfall under the reference, in units of the returns' spread, that is flagged."""
ABOVE = 0.1
"""Mean overestimation of the policy's real returns, in the same units, that is flagged."""
IMPOSSIBLE = 0.05
"""Share of states valued above the highest return that rewards allow, that is flagged."""


def calibration(subject: Subject) -> Finding:
    """Q-hat of the policy against the data's Monte-Carlo returns, and against the policy's own in the environment.

    Cal-QL (Nakamoto et al. 2023, definition 4.1) calls a value function calibrated where Q-hat of the policy is nowhere
    below the value of a reference policy, here the one that collected the data. A single return scatters around that
    value, so the mean over states counts, by its interval over episodes.
    """
    values, reference = subject.values, subject.reference
    below = (values < reference).mean(1)
    highest = subject.bounds[1]
    impossible = (values > highest).mean()
    shortfall = by_episode(values - reference, subject.groups(subject.data, subject.rows))
    ends = subject.data.episode_end[subject.rows]
    cut_off = 1.0 - subject.data.terminations[ends - 1].mean()
    ranks = np.mean([rank_correlation(member, reference) for member in values])
    under = shortfall[2] < -BELOW * subject.spread
    numbers = {
        "states": len(reference),
        "share of states in cut-off episodes": cut_off,
        "Q-hat": values.mean(),
        "Monte-Carlo return": reference.mean(),
        "Q-hat less Monte-Carlo return": shortfall[0],
        "share below the reference": below.mean(),
        "highest possible return": highest,
        "share above the highest possible return": impossible,
        "rank correlation with Monte-Carlo returns": ranks,
        "spread of returns": subject.spread,
    }
    verdict = (
        f"Q-hat of the policy is below the Monte-Carlo return in {below.mean():.0%} of the "
        f"{'states it was trained on' if subject.seen else 'states'}; in the mean it lies "
        f"{_distance(shortfall)} it, where returns spread over {subject.spread:.3g}."
    )
    if impossible > IMPOSSIBLE:
        verdict += (
            f" In {impossible:.0%} of the states it is above {highest:.3g}, the highest return that rewards allow."
        )
    figure, axes = _figure(2 if subject.env else 1)
    bins = _quantiles(reference)
    _draw(axes[0], values, reference, bins, subject.artifact.seeds, "Monte-Carlo return of the data")
    over = False
    if subject.env is not None:
        found, error = _against_real_returns(subject, axes[1])
        numbers |= found
        over = error[1] > ABOVE * subject.spread
        verdict += (
            f" It lies {_distance(error)} the policy's real discounted returns in the environment, and it is too "
            f"high in {found['overestimation rate']:.0%} of the steps.{subject.strange_rewards}"
        )
    return Finding(
        NAME,
        TITLE,
        verdict,
        bool(under or over or impossible > IMPOSSIBLE),
        numbers,
        _table(subject, values, reference, bins),
        {NAME: figure},
    )


def _against_real_returns(subject: Subject, axis: Any) -> tuple[dict[str, float], np.ndarray]:
    """({label: number}, signed error with its interval); draws the figure's second part."""
    observations, actions, real = subject.at(subject.lived)
    values = subject.q(observations, actions)
    errors = [
        by_episode((q - returns)[None], subject.groups(past.data, rows))
        for q, returns, past, rows in zip(values, real, subject.experience, subject.lived, strict=True)
    ]
    error = np.mean(errors, axis=0)
    ranks = np.mean([rank_correlation(*pair) for pair in zip(values, real, strict=True)])
    for i, seed in enumerate(subject.artifact.seeds):
        axis.scatter(
            real[i], values[i], s=6, alpha=0.4, color=plotting.COLOURS[i % 7], label=f"seed {seed}", rasterized=True
        )
    _finish(axis, "real return of the policy")
    numbers = {
        "real return": real.mean(),
        "Q-hat of the actions taken": values.mean(),
        "signed error": error[0],
        "overestimation rate": (values > real).mean(),
        "rank correlation with real returns": ranks,
    }
    return numbers, error


def _distance(error: np.ndarray) -> str:
    """`2.1 [1.8, 2.4] below`."""
    return f"{text(-error[[0, 2, 1]])} below" if error[0] < 0.0 else f"{text(error)} above"


def _quantiles(reference: np.ndarray) -> list[np.ndarray]:
    """Masks (n,) of states between quantiles of the reference, in order. A return that more than a quantile's share of
    the states have, such as that of all failures, has a mask of its own."""
    rounded = np.round(reference, 4)
    found, counts = np.unique(rounded, return_counts=True)
    masks = [rounded == atom for atom in found[counts > len(reference) / QUANTILES]]
    others = ~np.any(masks, axis=0) if masks else np.ones(len(reference), bool)
    if others.any():
        edges = np.quantile(reference[others], np.linspace(0.0, 1.0, QUANTILES + 1))
        bins = np.digitize(reference, edges[1:-1], right=True)
        masks += [others & (bins == i) for i in np.unique(bins[others])]
    return sorted(masks, key=lambda inside: reference[inside].mean())


def _table(subject: Subject, values: np.ndarray, reference: np.ndarray, bins: list[np.ndarray]) -> Table:
    seeds = [f"Q-hat, seed {seed}" for seed in subject.artifact.seeds]
    rows = []
    for inside in [*bins, np.ones(len(reference), bool)]:
        part, own = reference[inside], values[:, inside]
        label = f"{part.min():.3g} to {part.max():.3g}" if len(part) < len(reference) else "all"
        rows.append((label, len(part), part.mean(), *own.mean(1), own.mean(), (own < part).mean()))
    columns = ("returns", "states", "Monte-Carlo return", *seeds, "Q-hat, mean", "share below")
    return Table(columns, tuple(rows))


def _figure(parts: int) -> tuple[Any, Any]:
    figure = plotting.blank(4.2 * parts, 4.0)
    return figure, figure.subplots(1, parts, squeeze=False)[0]


def _draw(axis: Any, values: np.ndarray, reference: np.ndarray, bins: Any, seeds: Any, label: str) -> None:
    axis.scatter(
        reference,
        values.mean(0),
        s=4,
        alpha=0.25,
        color=plotting.GREY,
        label="states, mean over seeds",
        rasterized=True,
    )
    middles = [reference[inside].mean() for inside in bins]
    for i, seed in enumerate(seeds):
        means = [values[i, inside].mean() for inside in bins]
        axis.plot(middles, means, "o-", color=plotting.COLOURS[i % 7], label=f"seed {seed}, by quantile")
    _finish(axis, label)


def _finish(axis: Any, label: str) -> None:
    plotting.diagonal(axis)
    axis.set_xlabel(label)
    axis.set_ylabel("Q-hat")
    axis.legend(frameon=False, fontsize=8)
    plotting.quiet(axis)

"""The landscape of values over two-dimensional positions, such as those of mazes."""

from __future__ import annotations

from typing import Any

import numpy as np

from headstart import plotting
from headstart.diagnostics.findings import Finding, Table, Unsupported
from headstart.diagnostics.subject import Subject
from headstart.envs import factory

NAME, TITLE = "landscape", "Value landscape"
CELLS = 24
"""Cells along the longer side."""
GOALS = "achieved_goal"
"""Where dict observations hold positions."""


def landscape(subject: Subject) -> Finding:
    """Maps of Q-hat of the policy, of its actions as arrows, and of the data's density, in cells that hold data.

    Positions are the two numbers of an observation, the two columns that were asked for, `achieved_goal` of dict
    observations, or what the environment says: one with a method `locate(observations (n, *shape)) -> (n, 2)`.
    The policy climbs its own values where the next cell along its arrow is valued higher; where it mostly does not,
    values and policy disagree, and one of them is wrong.
    """
    places = positions(subject)
    grid = Grid(places)
    counts = np.bincount(grid.cell, minlength=grid.size)
    members = [grid.means(values) for values in subject.values]
    value = np.mean(members, axis=0)
    peak = grid.centre(int(np.nanargmax(value)))
    numbers = {
        "cells with data": (counts > 0).sum(),
        "highest value": np.nanmax(value),
        "lowest value": np.nanmin(value),
    }
    verdict = (
        f"Values go from {np.nanmin(value):.3g} to {np.nanmax(value):.3g}, this at ({peak[0]:.3g}, {peak[1]:.3g})."
    )
    flag, table, arrows = None, None, None
    if subject.discrete or subject.policy_actions.shape[-1] != 2:
        verdict += " Actions are not two-dimensional, so there are no arrows."
    else:
        directions = [np.stack([grid.means(part) for part in actions.T], -1) for actions in subject.policy_actions]
        arrows = np.mean(directions, axis=0)
        climbs = [grid.climb(own, towards) for own, towards in zip(members, directions, strict=True)]
        share = float(np.nanmean(climbs))
        numbers["share of cells whose arrow climbs"] = share
        verdict += f" In {share:.0%} of the cells the policy's arrow points to a cell of higher value."
        flag = share < 0.5
        rows = (
            (str(s), np.nanmin(v), np.nanmax(v), c)
            for s, v, c in zip(subject.artifact.seeds, members, climbs, strict=True)
        )
        table = Table(("seed", "lowest value", "highest value", "share of cells whose arrow climbs"), tuple(rows))
    figure = _figure(grid, value, counts, arrows)
    return Finding(NAME, TITLE, verdict, flag, numbers, table, {NAME: figure})


def positions(subject: Subject) -> np.ndarray:
    """(n, 2) of the data's states. Raises `Unsupported` where nobody says where they are."""
    observations, chosen = subject.observations, subject.position
    if isinstance(observations, dict):
        if chosen is None and GOALS in observations and observations[GOALS].shape[1:] == (2,):
            return observations[GOALS]
        observations = np.concatenate([part.reshape(len(part), -1) for part in observations.values()], axis=1)
    if chosen is not None:
        flat = observations.reshape(len(observations), -1)
        if not all(0 <= column < flat.shape[1] for column in chosen):
            raise Unsupported(f"observations have {flat.shape[1]} numbers, and position asks for {chosen}")
        return flat[:, list(chosen)]
    if observations.shape[1:] == (2,):
        return observations
    if subject.env is not None:
        made = factory.make(subject.env)
        try:
            if made.has_wrapper_attr("locate"):
                return made.get_wrapper_attr("locate")(subject.observations)
        finally:
            made.close()
    raise Unsupported("nothing says which two numbers of an observation are a position (position)")


class Grid:
    """Square cells over positions (n, 2). cell: (n,) the cell of each; size: their number."""

    def __init__(self, places: np.ndarray):
        self._low = places.min(0)
        extent = np.maximum(places.max(0) - self._low, 1e-6)
        self._side = extent.max() / CELLS
        self.shape = np.maximum(1, np.ceil(extent / self._side - 1e-9).astype(int))
        self.size = int(self.shape.prod())
        self.extent = [*(self._low[0] + np.array([0, self.shape[0]]) * self._side),
                       *(self._low[1] + np.array([0, self.shape[1]]) * self._side)]  # fmt: skip
        inside = np.minimum(((places - self._low) / self._side).astype(int), self.shape - 1)
        self.cell = inside[:, 0] * self.shape[1] + inside[:, 1]

    def means(self, values: np.ndarray) -> np.ndarray:
        """(size,) means of values (n,) in each cell, NaN where there are none."""
        counts = np.bincount(self.cell, minlength=self.size)
        sums = np.bincount(self.cell, values, minlength=self.size)
        return np.divide(sums, counts, out=np.full(self.size, np.nan), where=counts > 0)

    def map(self, cells: np.ndarray) -> np.ndarray:
        """(y, x) of numbers (size,), as images are drawn."""
        return cells.reshape(self.shape).T

    def centre(self, cell: Any) -> np.ndarray:
        """(..., 2) the middle of cells."""
        return self._low + (np.stack(np.unravel_index(cell, self.shape), -1) + 0.5) * self._side

    def climb(self, values: np.ndarray, arrows: np.ndarray) -> float:
        """Share of cells whose neighbour along the arrow (size, 2) has a higher value (size,), of those whose neighbour
        has one; NaN where there are none."""
        lengths = np.linalg.norm(arrows, axis=-1, keepdims=True)
        steps = np.round(np.nan_to_num(arrows / np.maximum(lengths, 1e-9))).astype(int)
        here = np.stack(np.unravel_index(np.arange(self.size), self.shape), -1)
        there = here + steps
        inside = ((there >= 0) & (there < self.shape)).all(-1) & (steps != 0).any(-1)
        there = np.where(inside[:, None], there, here)
        ahead = values[there[:, 0] * self.shape[1] + there[:, 1]]
        known = inside & np.isfinite(values) & np.isfinite(ahead)
        return float((ahead > values)[known].mean()) if known.any() else float("nan")


def _figure(grid: Grid, value: np.ndarray, counts: np.ndarray, arrows: np.ndarray | None) -> Any:
    figure = plotting.blank(9.0, 3.8)
    axes = figure.subplots(1, 2, sharex=True, sharey=True)
    density = np.where(counts > 0, counts, np.nan).astype(float)
    for axis, cells, label in ((axes[0], value, "Q-hat of the policy"), (axes[1], density, "states of the data")):
        image = axis.imshow(grid.map(cells), origin="lower", extent=grid.extent, aspect="equal", cmap="viridis")
        figure.colorbar(image, ax=axis, label=label, shrink=0.85)
        axis.set_xlabel("x")
        axis.set_ylabel("y")
    if arrows is not None:
        filled = np.flatnonzero(counts > 0)
        (x, y), (dx, dy) = grid.centre(filled).T, arrows[filled].T
        axes[0].quiver(x, y, dx, dy, color="white", angles="xy", width=0.004)
    return figure

"""Which ways a point maze's walks show, and which ways models take: python benchmarks/goal_ways.py --data DATA

DATA: walks that `headstart run pointmaze-goals` collected (runs/goals/data/medium). For several discounts, prints the
loss of CRL's critic that tells half cells apart as well as the walks allow, and how many pairs of maze cells a walker
joins that always goes to the neighbour from which the walks come to the goal most: CRL's critic without an error.

For every one of --models (runs/goals/medium-navigate/*/pretrain) it prints how often the likeliest action at the middle
of a cell leads towards the next cell of the shortest way (within 60 degrees), over all pairs of cells, and how long the
actions are (1 is full speed along an axis).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from headstart import api
from headstart.envs import factory

BATCH = 256
PAIRS = 4_000_000
SPANS = ((1, 3), (4, 6), (7, 9), (10, 12))
"""Lengths of ways in cells, first and last, that are counted together."""


class Maze:
    """The free cells of an OGBench maze, numbered, and the shortest ways between them.

    centres: (n, 2). lengths: (n, n) in cells. directions: (n, n, 2) from a cell to the next one on the way to another,
    zero for the cell itself. neighbours: of each cell. tasks: OGBench's pairs of start and goal.
    """

    def __init__(self, name: str):
        env = factory.make(name)
        maze = env.unwrapped
        cells = [tuple(cell) for cell in np.argwhere(maze.maze_map == 0).tolist()]
        self.number = {cell: index for index, cell in enumerate(cells)}
        self.centres = np.array([maze.ij_to_xy(cell) for cell in cells], np.float32)
        self.lengths = np.zeros((len(cells), len(cells)), int)
        self.directions = np.zeros((*self.lengths.shape, 2), np.float32)
        for goal in range(len(cells)):
            for start in range(len(cells)):
                following, ways = maze.get_oracle_subgoal(self.centres[start], self.centres[goal])
                self.lengths[start, goal] = ways[cells[start]]
                step = np.asarray(following) - self.centres[start]
                self.directions[start, goal] = step / max(np.linalg.norm(step), 1e-6)
        self.neighbours = [np.flatnonzero(row == 1) for row in self.lengths]
        self.tasks = [(self.number[task["init_ij"]], self.number[task["goal_ij"]]) for task in maze.task_infos]
        self._cell = maze.xy_to_ij
        env.close()

    def cells(self, places: np.ndarray) -> np.ndarray:
        """Numbers (...,) of the cells that hold places (..., 2)."""
        numbers = [self.number[self._cell(place)] for place in places.reshape(-1, 2)]
        return np.array(numbers).reshape(places.shape[:-1])

    def by_length(self, right: np.ndarray) -> str:
        """Shares of (n, n) by the length of the way."""
        spans = {span: right[(self.lengths >= span[0]) & (self.lengths <= span[1])] for span in SPANS}
        return ", ".join(f"{low}-{high} cells {part.mean():.0%}" for (low, high), part in spans.items() if part.size)


@dataclasses.dataclass(frozen=True)
class Counts:
    """Visits of cells now (rows) and a geometric number of steps later (columns), as shares of all pairs."""

    joint: np.ndarray

    @classmethod
    def of(cls, cells: np.ndarray, discount: float, rng: np.random.Generator) -> Counts:
        """cells: (episodes, steps + 1) numbers from 0 on."""
        episode, step = rng.integers(cells.shape[0], size=PAIRS), rng.integers(cells.shape[1] - 1, size=PAIRS)
        later = np.minimum(step + rng.geometric(1.0 - discount, PAIRS), cells.shape[1] - 1)
        size = cells.max() + 1
        pairs = np.bincount(cells[episode, step] * size + cells[episode, later], minlength=size**2)
        return cls(pairs.reshape(size, size) / PAIRS)

    @property
    def apart(self) -> np.ndarray:
        return np.outer(self.joint.sum(1), self.joint.sum(0))

    @property
    def ratio(self) -> np.ndarray:
        """log p(goal ahead | cell) / p(goal), very low where the walks never showed it."""
        return np.log(np.maximum(self.joint, 1e-12)) - np.log(np.maximum(self.apart, 1e-12))

    @property
    def loss(self) -> float:
        """Binary cross-entropy of the best critic of these cells, mean over all pairs of a batch."""
        logits = self.ratio - np.log(BATCH - 1)
        positive, negative = self.joint * np.logaddexp(0, -logits), self.apart * np.logaddexp(0, logits)
        return float((positive + (BATCH - 1) * negative).sum()) / BATCH


def climb(ratio: np.ndarray, maze: Maze) -> np.ndarray:
    """(n, n) whether going to the neighbour with the highest ratio, again and again, leads from one cell to another."""
    joined = np.eye(len(ratio), dtype=bool)
    for goal in range(len(ratio)):
        following = np.array([around[ratio[around, goal].argmax()] for around in maze.neighbours])
        at = np.arange(len(ratio))
        for _ in range(len(ratio)):
            at = following[at]
            joined[:, goal] |= at == goal
    return joined


def headings(model: Any, maze: Maze) -> tuple[np.ndarray, float]:
    """(n, n) whether the likeliest action leads towards the next cell, and the mean length of these actions."""
    goals = np.tile(maze.centres, (len(maze.centres), 1))
    starts = np.repeat(maze.centres, len(maze.centres), axis=0)
    policy = model.prompt() if model.algorithm.view().skill else model
    along, lengths = [], []
    for member in range(model.members):
        actions = policy.policy(starts, context=goals, member=member).reshape(maze.directions.shape)
        lengths.append(np.linalg.norm(actions, axis=-1))
        along.append((actions * maze.directions).sum(-1) > 0.5 * lengths[-1])
    return np.mean(along, axis=0), float(np.mean(lengths))


def main(
    data: str, maze: str = "pointmaze-medium-v0", discounts: tuple[float, ...] = (0.9, 0.95, 0.97),
    models: tuple[Path, ...] = (),
) -> None:  # fmt: skip
    """data: folder of the walks, all of one length. discounts: for each decision. models: runs."""
    walks, ways = api.load(f"arrays:{data}"), Maze(maze)
    places = np.stack([walks.episode(index)["observations"] for index in range(walks.episodes)])
    cells = ways.cells(places)
    halves = np.unique(np.floor(places.reshape(-1, 2) / 2.0), axis=0, return_inverse=True)[1].reshape(cells.shape)

    chance = (np.log(BATCH) - (BATCH - 1) * np.log(1.0 - 1.0 / BATCH)) / BATCH
    print(f"loss of a critic that knows nothing, batches of {BATCH}: {chance:.4f}")
    rng = np.random.default_rng(0)
    for discount in discounts:
        joined = climb(Counts.of(cells, discount, rng).ratio, ways)
        reached = [index + 1 for index, task in enumerate(ways.tasks) if joined[task]]
        least = Counts.of(halves, discount, rng).loss
        print(f"discount {discount:g}: least loss {least:.4f}; joined {ways.by_length(joined)}; goals {reached}")
    for run in models:
        right, length = headings(api.Artifact.load(run), ways)
        print(f"{run}: {ways.by_length(right)}; length {length:.2f}")


if __name__ == "__main__":
    tyro.cli(main)

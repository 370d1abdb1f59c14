"""What a contrastive critic can know of a point maze's walks, by counting cells: python benchmarks/goal_counts.py DATA

DATA: walks that `headstart run pointmaze-goals` collected (runs/goals/data/medium). For several discounts, prints

- the least loss of CRL's critic that tells cells of half a maze cell apart, and the loss of one that knows nothing;
- how many of all pairs of maze cells, by the length of the way, a walker joins that always goes to the neighbour from
  which the walks come to the goal most (the exact critic of CRL, climbed without a step of doubt), and which of
  OGBench's five goals.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import tyro

from headstart import api
from headstart.envs import factory

BATCH = 256
PAIRS = 4_000_000
SPANS = ((1, 3), (4, 6), (7, 9), (10, 12))
"""Lengths of ways in cells, first and last, that are counted together."""


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
    def ratio(self) -> np.ndarray:
        """log p(goal ahead | cell) / p(goal), very low where the walks never showed it."""
        apart = np.outer(self.joint.sum(1), self.joint.sum(0))
        return np.log(np.maximum(self.joint, 1e-12)) - np.log(np.maximum(apart, 1e-12))

    @property
    def loss(self) -> float:
        """Binary cross-entropy of the best critic of these cells, mean over all pairs of a batch."""
        logits = self.ratio - np.log(BATCH - 1)
        apart = np.outer(self.joint.sum(1), self.joint.sum(0))
        return (
            float((self.joint * np.logaddexp(0, -logits) + (BATCH - 1) * apart * np.logaddexp(0, logits)).sum()) / BATCH
        )


def climb(ratio: np.ndarray, neighbours: list[list[int]], start: int, goal: int) -> bool:
    """Whether going to the neighbour with the highest ratio, again and again, leads to the goal."""
    at = start
    for _ in range(len(ratio)):
        at = max(neighbours[at], key=lambda cell: ratio[cell, goal])
        if at == goal:
            return True
    return False


def main(data: str, maze: str = "pointmaze-medium-v0", discounts: tuple[float, ...] = (0.9, 0.95, 0.97)) -> None:
    """data: folder of the walks, all of one length. discounts: for each decision."""
    walks = api.load(f"arrays:{data}")
    places = np.stack([walks.episode(index)["observations"] for index in range(walks.episodes)])
    env = factory.make(maze)
    inner = env.unwrapped
    free = [tuple(cell) for cell in np.argwhere(inner.maze_map == 0).tolist()]
    number = {cell: index for index, cell in enumerate(free)}
    cells = np.array([number[inner.xy_to_ij(place)] for place in places.reshape(-1, 2)]).reshape(places.shape[:2])
    halves = np.unique(np.floor(places.reshape(-1, 2) / 2.0), axis=0, return_inverse=True)[1].reshape(cells.shape)
    neighbours = [[number[b] for b in free if abs(a[0] - b[0]) + abs(a[1] - b[1]) == 1] for a in free]
    ways = np.array(
        [[inner.get_oracle_subgoal(inner.ij_to_xy(a), inner.ij_to_xy(b))[1][a] for b in free] for a in free]
    )
    tasks = [(number[tuple(task["init_ij"])], number[tuple(task["goal_ij"])]) for task in inner.task_infos]
    env.close()

    chance = -np.log(1.0 - 1.0 / BATCH) * (BATCH - 1) / BATCH + np.log(BATCH) / BATCH
    print(f"loss of a critic that knows nothing, batches of {BATCH}: {chance:.4f}")
    rng = np.random.default_rng(0)
    for discount in discounts:
        ratio = Counts.of(cells, discount, rng).ratio
        joined = np.array([[climb(ratio, neighbours, a, b) for b in range(len(free))] for a in range(len(free))])
        spans = {f"{low}-{high} cells": joined[(ways >= low) & (ways <= high)].mean() for low, high in SPANS}
        reached = [index + 1 for index, task in enumerate(tasks) if joined[task]]
        shares = ", ".join(f"{span} {share:.0%}" for span, share in spans.items())
        least = Counts.of(halves, discount, rng).loss
        print(f"discount {discount:g}: least loss {least:.4f}; joined {shares}; goals {reached}")


if __name__ == "__main__":
    tyro.cli(main)

"""OGBench's medium point maze with a fixed goal, seen through place cells: the quickstart's task."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

NAME = "headstart.recipes.maze:PlaceMaze-v0"
"""Its name for `headstart.envs.factory.make`, which imports this module."""


class PlaceMaze(gymnasium.Wrapper):
    """A point mass in a maze with 26 free cells and one goal cell.

    observation: (26,) one Gaussian bump a free cell, exp(-|xy - centre|**2 / (2 width**2)): as place cells in the
    hippocampus. Two raw coordinates are hard on small networks with ReLU: in pilots nothing was learned from them.
    Episodes start in a random cell at least `distance` cells of path away from the goal, off its centre by up to one
    unit (a quarter of a cell) in each direction. They end at the goal unless terminate_at_goal is false.
    goal_cell: the number of its cell, row by row from the top; by default that of OGBench's first task.
    """

    def __init__(
        self,
        distance: int = 5,
        width: float = 2.5,
        terminate_at_goal: bool = True,
        goal_cell: int | None = None,
        render_mode: str | None = None,
    ):
        import ogbench  # noqa: F401 registers the mazes

        # The time limit is that of the decisions, set by whoever makes this environment.
        name = "pointmaze-medium-singletask-task1-v0"
        options = {"terminate_at_goal": terminate_at_goal, "render_mode": render_mode}
        super().__init__(gymnasium.make(name, max_episode_steps=-1, **options))
        maze = self.env.unwrapped
        self._width = width
        self._centres = np.array([maze.ij_to_xy(cell) for cell in np.argwhere(maze.maze_map == 0)])
        if goal_cell is None:
            self._goal = np.asarray(maze.ij_to_xy(maze.task_infos[maze._reward_task_id - 1]["goal_ij"]))
        else:
            self._goal = self._centres[goal_cell]
        _, distances = maze.get_oracle_subgoal((0.0, 0.0), self._goal)
        self._starts = np.array([maze.ij_to_xy(cell) for cell in np.argwhere(distances >= distance)])
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (len(self._centres),), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        _, info = self.env.reset(seed=seed, options=options)
        rng = self.env.unwrapped.np_random
        start = self._starts[rng.integers(len(self._starts))] + rng.uniform(-1.0, 1.0, 2)
        self.env.unwrapped.set_goal(goal_xy=self._goal)
        self.env.unwrapped.set_xy(start)
        return self._observe(), info | {"goal": self._place(self._goal)}

    def step(self, action):
        _, reward, terminated, truncated, info = self.env.step(action)
        return self._observe(), reward, terminated, truncated, info

    def at_goal(self, observations: np.ndarray) -> np.ndarray:
        """(n,) whether observations (n, 26) are of places that count as the goal."""
        apart = np.linalg.norm(self.locate(observations) - self._goal, axis=1)
        return apart <= self.env.unwrapped._goal_tol

    def locate(self, observations: np.ndarray) -> np.ndarray:
        """(n, 2) positions of observations (n, 26): activities tell distances, whose differences are linear."""
        distance = -2.0 * self._width**2 * np.log(np.maximum(observations, 1e-30))
        nearest = self._centres[observations.argmax(1)]
        weights = np.asarray(observations, float)
        # |xy - c|**2 - |xy - n|**2 for the nearest centre n, weighted by activity: far cells are zero up to rounding.
        left = 2.0 * (nearest[:, None] - self._centres)
        right = distance - distance.min(1, keepdims=True) - np.square(self._centres).sum(1)
        right += np.square(nearest).sum(1)[:, None]
        gram = np.einsum("nci,nc,ncj->nij", left, weights, left)
        return np.linalg.solve(gram, np.einsum("nci,nc,nc->ni", left, weights, right)[..., None])[..., 0]

    def _observe(self) -> np.ndarray:
        return self._place(self.env.unwrapped.get_xy())

    def _place(self, position: np.ndarray) -> np.ndarray:
        distance = np.square(position - self._centres).sum(-1)
        return np.exp(-distance / (2.0 * self._width**2)).astype(np.float32)


gymnasium.register("PlaceMaze-v0", entry_point=PlaceMaze)

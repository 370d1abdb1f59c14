"""Scripted controllers that collect data: "random", "ogbench-maze", "ogbench-plan", "ogbench-cube", or
"module:attribute".

A controller is made for one environment (`factory(env, **arguments)`); its arguments follow a question mark, as in
"ogbench-maze?task=0.3".
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from headstart.envs.lanes import Lanes
from headstart.envs.names import accept, import_named, parse
from headstart.envs.seeding import global_random
from headstart.errors import UsageError, unknown


class Controller(Protocol):
    """Acts in one environment, one episode after the other. It may look inside the environment."""

    def reset(self, observation: Any, info: dict[str, Any], rng: np.random.Generator) -> None:
        """A new episode; all chance must come from `rng`."""

    def act(self, observation: Any, info: dict[str, Any]) -> Any:
        """The raw action for the present observation and the info that came with it."""


class Random:
    """Uniform actions within the bounds."""

    def __init__(self, env: Any, /):
        self._space = env.action_space
        low, high = getattr(self._space, "low", 0), getattr(self._space, "high", 0)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise UsageError("controller 'random' needs bounded actions")

    def reset(self, observation, info, rng):
        self._rng = rng

    def act(self, observation, info):
        if hasattr(self._space, "n"):
            return self._rng.integers(self._space.n)
        return self._rng.uniform(self._space.low, self._space.high).astype(self._space.dtype)


class OGBenchMaze:
    """Walks an OGBench point maze from goal to goal at full speed, along shortest paths through the cells.

    OGBench's own data are collected this way: goals are cells that are not mere corridors, drawn anew whenever one
    is reached, and noise is added to the actions.
    task: probability that a goal is the environment's own, in place of a random cell.
    """

    def __init__(self, env: Any, /, task: float = 0.0):
        self._maze, self._task = env.unwrapped, task
        if not hasattr(self._maze, "get_oracle_subgoal") or env.action_space.shape != (2,):
            raise UsageError("controller 'ogbench-maze' needs an OGBench point maze, such as pointmaze-medium-v0")
        free = self._maze.maze_map == 0
        self._cells = [cell for cell in np.argwhere(free).tolist() if not _corridor(free, *cell)]
        self._reach = np.abs(np.subtract(self._maze.ij_to_xy((0, 1)), self._maze.ij_to_xy((0, 0)))).max() / 4.0

    def reset(self, observation, info, rng):
        self._rng = rng
        self._draw_goal()

    def act(self, observation, info):
        place = self._maze.get_xy()
        if np.linalg.norm(self._goal - place) <= self._reach:
            self._draw_goal()
        cell = self._maze.xy_to_ij(place)
        if cell not in self._ways:
            self._ways[cell] = self._maze.get_oracle_subgoal(place, self._goal)[0]
        target = self._goal if cell == self._maze.xy_to_ij(self._goal) else self._ways[cell]
        step = target - place
        return (step / (np.linalg.norm(step) + 1e-6)).astype(np.float32)

    def _draw_goal(self):
        own = self._rng.uniform() < self._task
        cell = self._cells[self._rng.integers(len(self._cells))]
        self._goal = np.array(self._maze.cur_goal_xy if own else self._maze.ij_to_xy(cell))
        self._ways: dict[tuple[int, int], np.ndarray] = {}


def _corridor(free: np.ndarray, i: int, j: int) -> bool:
    """Whether a free cell has exactly two free neighbours, opposite each other."""
    vertical, horizontal = (free[i - 1, j], free[i + 1, j]), (free[i, j - 1], free[i, j + 1])
    return (all(vertical) and not any(horizontal)) or (all(horizontal) and not any(vertical))


class OGBenchPlan:
    """OGBench's planned oracles for its manipulation scenes, one random task after the other (its "play" data).

    Needs the environment's data collection mode: "cube-single-v0?mode=data_collection&terminate_at_goal=false".
    noise, smoothing: of the plan (not of the actions), as OGBench has them.
    """

    def __init__(self, env: Any, /, noise: float = 0.1, smoothing: float = 0.5):
        self._env, self._noise, self._smoothing = env, noise, smoothing
        if not hasattr(env.unwrapped, "set_new_target"):
            raise UsageError("controller 'ogbench-plan' needs an OGBench manipulation scene, such as cube-single-v0")

    def reset(self, observation, info, rng):
        if "privileged/target_task" not in info:
            raise UsageError(
                "controller 'ogbench-plan' needs the environment with ?mode=data_collection&terminate_at_goal=false"
            )
        # The oracles draw from NumPy's global generator.
        self._bits = np.random.MT19937(rng.integers(2**32))
        self._plan(observation, info)

    def act(self, observation, info):
        if self._oracle.done:
            self._plan(*self._env.unwrapped.set_new_target())
        with global_random(self._bits):
            return np.asarray(self._oracle.select_action(observation, info), np.float32)

    def _plan(self, observation, info):
        from ogbench.manipspace.oracles.plan import button_plan, cube_plan, drawer_plan, window_plan

        oracles = {
            "cube": cube_plan.CubePlanOracle,
            # Scenes of nothing but buttons are pressed with a closed gripper.
            "button": functools.partial(button_plan.ButtonPlanOracle, not hasattr(self._env.unwrapped, "_num_cubes")),
            "drawer": drawer_plan.DrawerPlanOracle,
            "window": window_plan.WindowPlanOracle,
        }
        kind = oracles[info["privileged/target_task"]]
        self._oracle = kind(env=self._env, noise=self._noise, noise_smoothing=self._smoothing)
        with global_random(self._bits):
            self._oracle.reset(observation, info)


class OGBenchCube:
    """OGBench's planned oracle at a task with one cube: carries the cube from place to place, as in its "play" data.

    The data that it leaves has the task's own starts, rewards and ends, which play has not.
    task: probability that a place is the task's goal, in place of a random one.
    noise, smoothing: of the plan (not of the actions), as OGBench has them.
    """

    def __init__(self, env: Any, /, task: float = 0.0, noise: float = 0.1, smoothing: float = 0.5):
        self._env, self._task, self._noise, self._smoothing = env, task, noise, smoothing
        if getattr(env.unwrapped, "_num_cubes", 0) != 1 or env.unwrapped._mode != "task":
            raise UsageError("controller 'ogbench-cube' needs an OGBench scene of one cube, such as cube-single-v0")

    def reset(self, observation, info, rng):
        self._rng = rng
        # The oracle draws from NumPy's global generator.
        self._bits = np.random.MT19937(rng.integers(2**32))
        self._plan(observation, info)

    def act(self, observation, info):
        if self._oracle.done:
            self._plan(observation, info)
        with global_random(self._bits):
            return np.asarray(self._oracle.select_action(observation, info), np.float32)

    def _plan(self, observation, info):
        from ogbench.manipspace.oracles.plan.cube_plan import CubePlanOracle

        scene = self._env.unwrapped
        if self._rng.uniform() < self._task:
            place = scene.cur_task_info["goal_xyzs"][0]
        else:
            place = np.array([*self._rng.uniform(*scene._target_sampling_bounds), 0.02])
        target = {"block": 0, "block_pos": place, "block_yaw": self._rng.uniform(0.0, 2.0 * np.pi, 1)}
        self._oracle = CubePlanOracle(env=self._env, noise=self._noise, noise_smoothing=self._smoothing)
        with global_random(self._bits):
            self._oracle.reset(observation, info | {f"privileged/target_{name}": of for name, of in target.items()})


CONTROLLERS: dict[str, Callable[..., Controller]] = {
    "random": Random,
    "ogbench-maze": OGBenchMaze,
    "ogbench-plan": OGBenchPlan,
    "ogbench-cube": OGBenchCube,
}


def load(text: str) -> Callable[[Any], Controller]:
    """The function that makes the named controller for an environment.

    Raises `UsageError` for unknown names and arguments, and for modules without the attribute.
    """
    name, arguments = parse(text)
    module, colon, attribute = name.partition(":")
    if colon:
        try:
            kind = getattr(import_named(module, name), attribute)
        except AttributeError as error:
            raise UsageError(f"controller {name!r}: module {module} has no {attribute!r}") from error
        if not callable(kind):
            raise UsageError(f"controller {name!r} cannot be called; expected a function or class that takes the env")
    elif name in CONTROLLERS:
        kind = CONTROLLERS[name]
        accept(kind, arguments, f"controller {name}")
    else:
        raise unknown("controller", name, CONTROLLERS)

    def make(env: Any) -> Controller:
        try:
            controller = kind(env, **arguments)
        except TypeError as error:
            raise UsageError(f"controller {name!r} cannot be made for an environment: {error}") from error
        for method in ("reset", "act"):
            if not callable(getattr(controller, method, None)):
                raise UsageError(f"controller {name!r} makes a {type(controller).__name__}, which has no {method}()")
        return controller

    return make


class Scripted:
    """An actor for lanes: one controller per lane, whose chance follows from the episode's seed."""

    def __init__(self, controller: str | Callable[[Any], Controller]):
        self._make = load(controller) if isinstance(controller, str) else controller
        self._controllers: dict[int, Controller] = {}

    def __call__(self, lanes: Lanes) -> np.ndarray:
        space = lanes.action_space
        actions = np.zeros((len(lanes), *space.shape), space.dtype)
        for lane in np.flatnonzero(lanes.running):
            if lane not in self._controllers:
                self._controllers[lane] = self._make(lanes.envs[lane])
            controller = self._controllers[lane]
            observation, info = lanes.observation(lane), lanes.infos[lane]
            if lanes.elapsed[lane] == 0:
                controller.reset(observation, info, np.random.default_rng([lanes.seeds[lane], 1]))
            actions[lane] = controller.act(observation, info)
        return actions

"""Environments from strings: "ID" or "ID?key=value&key=value".

Reserved keys, applied in this order:

    pixels=N   observations are images, (N, N, 3) bytes: of OGBench's environments as MuJoCo draws them, of the small
               MDPs a square of cells in which the state's is lit
    task=I     always task I, from 1 on, of an environment that has several (OGBench's goals); without, the seed of
               an episode chooses: seeds that follow each other take the tasks in turn
    goal=1     of observations that say where to go (`desired_goal` beside `achieved_goal`, as gymnasium-robotics has
               them): it is no longer seen, but handed out as the goal of the episode
    sparse=1   reward -1 for every decision, 0 and termination at the one that solves the task
    repeat=K   one decision is the same action K times (rewards summed, or -1 a decision with sparse)
    steps=N    time limit in decisions, in place of the environment's own

Every other key is an argument of the environment, its value parsed as JSON where it parses:
"pointmaze-medium-v0?terminate_at_goal=false&repeat=5&steps=60". The names "headstart/..." are small exact MDPs
(`headstart.envs.tabular`), everything else is Gymnasium's registry.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib
import importlib.util
import io
import os
import tempfile
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from headstart.envs.names import RESERVED, accept, import_named, parse
from headstart.errors import UsageError, install, unknown
from headstart.spec import Spec

if TYPE_CHECKING:
    import gymnasium

PACKAGES = {"ogbench": "ogbench", "gymnasium_robotics": "mujoco"}
"""Packages that add environments to Gymnasium's registry when imported -> extra that installs them."""


def make(env: str, render: bool = False) -> gymnasium.Env:
    """The environment that the string describes.

    Observations are float32 or bytes (discrete ones become one-hot vectors), a seed decides everything, and
    `env.unwrapped` is the library's own object. render: `env.render()` gives images, (H, W, 3) bytes.

    Raises `UsageError` for unknown names, arguments and unsupported spaces, where a package is missing, and for images
    of what cannot be drawn.
    """
    from gymnasium.wrappers import TimeLimit

    from headstart.envs import wrappers

    name, arguments = parse(env)
    sparse = arguments.pop("sparse", False)
    if sparse not in (0, 1):
        raise UsageError(f"{env}: sparse must be 0 or 1, found {sparse!r}")
    goal = arguments.pop("goal", False)
    if goal not in (0, 1):
        raise UsageError(f"{env}: goal must be 0 or 1, found {goal!r}")
    task = arguments.pop("task", None)
    repeat = _positive(env, "repeat", arguments.pop("repeat", 1))
    steps = arguments.pop("steps", None)
    steps = None if steps is None else _positive(env, "steps", steps)
    pixels = arguments.pop("pixels", None)
    pixels = None if pixels is None else _positive(env, "pixels", pixels)

    made = _base(name, arguments, own_limit=steps is None, render=render, pixels=pixels)
    try:
        with _quiet():
            made = wrappers.PlainObservations(wrappers.Tasks(wrappers.OwnRandomness(made), task))
        if goal:
            made = wrappers.DesiredGoals(made)
        if repeat > 1:
            made = wrappers.ActionRepeat(made, repeat, until_success=bool(sparse))
        if sparse:
            made = wrappers.SuccessReward(made)
        if steps:
            made = TimeLimit(made, steps)
        Spec.of_env(made)
    except UsageError as error:
        made.close()
        raise UsageError(f"{env}: {error}") from None
    return made


@functools.cache
def spec(env: str) -> Spec:
    """What the environment shows and takes. Raises as `make`."""
    made = make(env)
    try:
        return Spec.of_env(made)
    finally:
        made.close()


@functools.cache
def sets_goals(env: str) -> bool:
    """Whether the environment hands out a goal when it is reset (`goal` in its info). Raises as `make`."""
    return bool(goals(env, seeds=(0,)))


def goals(env: str, seeds: Iterable[int]) -> tuple[Any, ...]:
    """The goals that the environment sets for episodes of these seeds; none where it sets none. Raises as `make`."""
    made = make(env)
    try:
        infos = [made.reset(seed=seed)[1] for seed in seeds]
    finally:
        made.close()
    return tuple(info["goal"] for info in infos if "goal" in info)


def _positive(env: str, key: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UsageError(f"{env}: {key} must be a whole number of at least 1, found {value!r}")
    return value


def _base(
    name: str, arguments: dict[str, Any], own_limit: bool, render: bool, pixels: int | None = None
) -> gymnasium.Env:
    """The environment without our wrappers, with its own time limit or none."""
    import gymnasium

    from headstart.envs import tabular, wrappers

    if name.startswith(tabular.NAMESPACE):
        if render:
            raise UsageError(f"{name} is a table and cannot be drawn")
        return tabular.make(name, arguments, limit=own_limit, pixels=pixels)
    if pixels:
        from headstart.envs import drawing

        drawing.draw_here()
    _find(name)
    try:
        with _quiet():
            limit = {} if own_limit else {"max_episode_steps": -1}
            images = {"render_mode": "rgb_array"} if render or pixels else {}
            images |= {"ob_type": "pixels", "width": pixels, "height": pixels} if pixels else {}
            made = gymnasium.make(name, disable_env_checker=True, **limit, **images, **arguments)
    except (ImportError, gymnasium.error.DependencyNotInstalled) as error:
        hint = install(*PACKAGES.values())
        raise UsageError(f"{name} needs a package that is missing ({error}); try {hint}") from error
    except TypeError as error:
        if pixels and "ob_type" in str(error):
            raise UsageError(f"{name} shows no images; leave pixels out, or use an environment of OGBench") from error
        if arguments and "argument" in str(error):
            _require_known(name, arguments)
            for key in arguments:
                if difflib.get_close_matches(key, RESERVED, n=1):
                    raise unknown(f"argument of {name}", key, RESERVED) from error
            raise UsageError(
                f"{name} does not take the arguments {arguments}: {error}; every environment takes "
                f"{', '.join(RESERVED)}"
            ) from error
        raise
    _drop_model_file(made)
    return wrappers.Images(made, pixels) if pixels else made


def _require_known(name: str, arguments: dict[str, Any]) -> None:
    """Raise `UsageError` that names the known ones for an argument that the environment does not take, where its
    signature tells."""
    import gymnasium
    from gymnasium.envs.registration import load_env_creator

    # The registry knows environments without the module that registers them.
    creator = gymnasium.spec(name.rsplit(":", 1)[-1]).entry_point
    creator = load_env_creator(creator) if isinstance(creator, str) else creator
    if callable(creator):
        accept(creator, arguments, name, RESERVED)


def _drop_model_file(env: gymnasium.Env) -> None:
    """Close and remove the temporary model file that OGBench's mazes leave open: runs make thousands of them."""
    path = getattr(env.unwrapped, "fullpath", "")
    if os.path.dirname(path) != tempfile.gettempdir() or not os.path.isdir("/dev/fd"):
        return
    model = os.stat(path)
    for descriptor in map(int, os.listdir("/dev/fd")):
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(descriptor), model):
                os.close(descriptor)
    os.unlink(path)


def _find(name: str) -> None:
    """Make sure that Gymnasium's registry holds `name`, importing what may register it."""
    import gymnasium

    module, colon, name = name.rpartition(":")
    if colon:
        import_named(module, f"{module}:{name}")
    missing = []
    for package in PACKAGES:
        if name in gymnasium.registry:
            return
        if importlib.util.find_spec(package) is None:
            missing.append(package)
            continue
        # Notices about other versions' environments go to standard error.
        with _quiet(), contextlib.redirect_stderr(io.StringIO()):
            _import(package)
    if name not in gymnasium.registry:
        from headstart.envs import tabular

        error = unknown("environment", name, [*gymnasium.registry, *tabular.names()])
        if missing:
            extras = install(*(PACKAGES[package] for package in missing))
            raise UsageError(f"{error}; environments of {' and '.join(missing)} need {extras}")
        raise error


def _import(package: str) -> None:
    try:
        importlib.import_module(package)
    except (ImportError, AttributeError, RuntimeError) as error:
        if not (chosen := os.environ.get("MUJOCO_GL")):
            raise
        # MuJoCo loads its way to draw when it is imported, also where nothing is to be drawn.
        raise UsageError(
            f"{package} cannot be imported with MUJOCO_GL={chosen} ({error}); unset it, or try egl or osmesa"
        ) from error


def _quiet() -> warnings.catch_warnings:
    """Silence for what libraries say while they are imported and build environments (screens, precision, versions)."""
    return warnings.catch_warnings(action="ignore")

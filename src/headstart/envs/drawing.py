"""How MuJoCo draws on this machine: EGL and OSMesa do without a screen; MUJOCO_GL names a way in place of trying."""

from __future__ import annotations

import functools
import importlib
import os
import subprocess
import sys

from headstart.errors import UsageError

_TRIAL = "import mujoco; mujoco.Renderer(mujoco.MjModel.from_xml_string('<mujoco/>'), 8, 8).render()"

INSTALL = "without a screen MuJoCo needs libegl1 or libosmesa6"


def ways() -> list[str]:
    """Values of MUJOCO_GL to try; "": MuJoCo's own choice."""
    if chosen := os.environ.get("MUJOCO_GL"):
        return [chosen]
    if not sys.platform.startswith("linux"):
        return [""]
    screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return ["egl", "osmesa", *(["glfw"] if screen else [])]


@functools.cache
def draw_here() -> None:
    """Let MuJoCo draw in this process, by the first way that works in a process of its own, where one that does not may
    crash. It stays in MUJOCO_GL, for this process and those that it starts.

    Raises `UsageError` where none works, with the reasons.
    """
    reasons = []
    for way in ways():
        variables = os.environ | ({"MUJOCO_GL": way} if way else {})
        done = subprocess.run([sys.executable, "-c", _TRIAL], env=variables, capture_output=True, text=True)
        if done.returncode == 0:
            _choose(way)
            return
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        reasons.append(f"{way or 'MuJoCo'}: {said[:120]}")
    raise UsageError(f"images cannot be drawn here ({'; '.join(reasons)}); {INSTALL}")


def _choose(way: str) -> None:
    if not way:
        return
    os.environ["MUJOCO_GL"] = way
    # MuJoCo chooses when it is imported; where it has been already, without a way named, its choice is replaced.
    for name in ("mujoco.gl_context", "mujoco.rendering.classic.gl_context"):
        if name in sys.modules:
            sys.modules[name].GLContext = importlib.import_module(f"mujoco.{way}").GLContext

"""Videos of episodes: their actions played again in a process of its own that draws them.

A process of its own, since MuJoCo settles on one way to draw when it is imported, and a way that does not work may take
its process down. EGL and OSMesa draw without a screen; MUJOCO_GL names one in place of trying.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headstart.envs import drawing, factory
from headstart.envs.lanes import Actor, Lanes, play
from headstart.envs.names import parse
from headstart.errors import HeadstartError, UsageError, install

REFUSED = 3
"""Exit code of the drawing process where another way to draw would not help."""

BLOCK = 16
"""Video codecs want sides that are multiples of this many pixels."""


@dataclasses.dataclass(frozen=True)
class Take:
    """An episode to draw: the environment's seed, its actions (T, *shape), its return, and a line to write above it."""

    seed: int
    actions: np.ndarray
    return_: float
    caption: str = ""


def record(act: Actor, env: str, seeds: Sequence[int], path: str | Path, captions: Sequence[str] = ()) -> list[Take]:
    """Play the episodes of these seeds, one after the other, and write one video of them.

    captions: a line above each episode. Raises as `require_new` and `film`.
    """
    require_new(path)
    with Lanes(env, 1) as lanes:
        played = list(play(lanes, act, [iter(seeds)], record=True))
    takes = [
        Take(episode.seed, episode.record["actions"], float(sum(episode.rewards)), caption)
        for episode, caption in zip(played, captions or [""] * len(played), strict=True)
    ]
    film(env, takes, path)
    return takes


def require_new(path: str | Path) -> None:
    """Raise `UsageError` where no video could be written to `path`; to be asked before the work."""
    path = Path(path)
    if path.suffix != ".mp4":
        raise UsageError(f"{path}: videos are written as .mp4; choose such a name")
    if path.exists():
        raise UsageError(f"{path} exists; choose another file")
    if importlib.util.find_spec("imageio_ffmpeg") is None:
        raise UsageError(f"videos need imageio-ffmpeg; try {install('video')}")


def film(env: str, takes: Sequence[Take], path: str | Path) -> None:
    """Write a video of the episodes, one after the other. Says so where one comes out otherwise than it was.

    Raises `UsageError` where the environment cannot be drawn on this machine, naming what was tried.
    """
    path = Path(path).absolute()
    decisions = sum(len(take.actions) for take in takes)
    print(
        f"drawing {len(takes)} episode{'s' * (len(takes) > 1)} ({decisions:,} decisions)", file=sys.stderr, flush=True
    )
    with tempfile.TemporaryDirectory(prefix="headstart-video-") as folder:
        order = [{"seed": take.seed, "caption": take.caption} for take in takes]
        (Path(folder) / "order.json").write_text(json.dumps({"env": env, "takes": order}))
        np.savez(Path(folder) / "actions.npz", **{str(i): take.actions for i, take in enumerate(takes)})
        _drawn(env, folder)
        for take, again in zip(takes, json.loads((Path(folder) / "returns.json").read_text()), strict=True):
            if not np.isclose(again, take.return_, rtol=1e-4, atol=1e-6):
                print(
                    f"{env}: the episode of seed {take.seed} came out otherwise in the video (return {again:.4g}, was "
                    f"{take.return_:.4g}): the same seed and actions led elsewhere",
                    file=sys.stderr,
                )
        path.parent.mkdir(parents=True, exist_ok=True)
        # By way of a neighbour, since the temporary folder may lie on another disk.
        part = path.with_name(f".{path.name}.part")
        part.write_bytes((Path(folder) / "video.mp4").read_bytes())
        part.replace(path)


def _drawn(env: str, folder: str) -> None:
    """Run the drawing process with one way to draw after the other until one works."""
    reasons: dict[str, list[str]] = {}
    for way in drawing.ways():
        # The child finds the same modules as this process, also those of the current folder.
        variables = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        variables |= {"MUJOCO_GL": way} if way else {}
        done = subprocess.run(
            [sys.executable, "-m", "headstart.envs.video", folder], env=variables, capture_output=True, text=True
        )
        if done.returncode == 0:
            return
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        if done.returncode == REFUSED:
            raise UsageError(said)
        reasons.setdefault(said[:120], []).append(way or "MuJoCo's own way")
    tried = "; ".join(f"{', '.join(ways)}: {reason}" for reason, ways in reasons.items())
    raise UsageError(f"{env} cannot be drawn here ({tried}); {drawing.INSTALL}")


# -- the drawing process ---------------------------------------------------------------------------------------------


def main(folder: str) -> None:
    """Draw what stands in the folder's `order.json` and `actions.npz`: `video.mp4` and `returns.json`."""
    order = json.loads((Path(folder) / "order.json").read_text())
    actions = np.load(Path(folder) / "actions.npz")
    env = factory.make(order["env"], render=True)
    returns: list[float] = []
    # Decisions a second: as the environment says, fewer where each is several steps.
    rate = (env.metadata.get("render_fps") or 30) / parse(order["env"])[1].get("repeat", 1)
    rate = min(60.0, max(2.0, rate))
    frames = _frames(env, [(take, actions[str(i)]) for i, take in enumerate(order["takes"])], returns, round(rate))
    _write(Path(folder) / "video.mp4", frames, rate)
    (Path(folder) / "returns.json").write_text(json.dumps(returns))


def _frames(
    env: Any, takes: Sequence[tuple[dict[str, Any], np.ndarray]], returns: list[float], hold: int
) -> Iterator[np.ndarray]:
    """The frames (H, W, 3) of all episodes, the last one of each `hold` times more; fills in their returns."""
    for take, actions in takes:
        env.reset(seed=take["seed"])
        first = _frame(env)
        strip = _strip(take["caption"], first.shape[1])
        yield np.concatenate([strip, first])
        total = 0.0
        for action in actions:
            _, reward, terminated, truncated, _ = env.step(action)
            total += float(reward)
            last = np.concatenate([strip, _frame(env)])
            yield last
            if terminated or truncated:
                break
        yield from [last] * hold
        returns.append(total)


def _frame(env: Any) -> np.ndarray:
    frame = env.render()
    if not isinstance(frame, np.ndarray) or frame.ndim != 3:
        raise UsageError(f"{env.unwrapped} draws no images (render_mode rgb_array)")
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, -height % BLOCK), (0, -width % BLOCK), (0, 0)))


def _strip(caption: str, width: int) -> np.ndarray:
    """White on black, (2 * BLOCK, width, 3); nothing for an empty caption."""
    if not caption:
        return np.zeros((0, width, 3), np.uint8)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    dpi = 100.0
    figure = Figure((width / dpi, 2 * BLOCK / dpi), dpi, facecolor="black")
    figure.text(0.02, 0.5, caption, color="white", va="center", fontsize=9)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def _write(path: Path, frames: Iterator[np.ndarray], rate: float) -> None:
    from imageio_ffmpeg import write_frames

    first = next(frames)
    writer = write_frames(
        str(path), (first.shape[1], first.shape[0]), fps=rate, macro_block_size=BLOCK, ffmpeg_log_level="error"
    )
    writer.send(None)
    for frame in [first, *frames]:
        writer.send(np.ascontiguousarray(frame))
    writer.close()


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except HeadstartError as error:
        print(error, file=sys.stderr)
        sys.exit(REFUSED)

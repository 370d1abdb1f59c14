"""Videos on an environment whose every frame is known, drawn in a process of its own."""

from __future__ import annotations

import re
import subprocess

import jax
import numpy as np
import pytest

from headstart.envs import video
from headstart.errors import UsageError

ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="needs the extra video")

SHADES = '''
"""An environment of 5 steps: the frame is as bright as the sum of the actions, and so is the reward."""
import os
import gymnasium
import numpy as np
from gymnasium import spaces


class Shades(gymnasium.Env):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}
    observation_space = spaces.Box(-1e3, 1e3, (1,), np.float32)
    action_space = spaces.Box(0.0, 10.0, (1,), np.float32)

    def __init__(self, render_mode=None, restless=False, works="egl osmesa"):
        self.render_mode, self.restless, self.works = render_mode, restless, works

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.sum, self.steps = float(seed), 0
        return np.array([self.sum], np.float32), {}

    def step(self, action):
        self.sum += float(action[0])
        self.steps += 1
        # Another reward where it is drawn: an episode that does not come out as it was.
        reward = self.sum + 100.0 * (self.restless and self.render_mode is not None)
        return np.array([self.sum], np.float32), reward, self.steps == 5, False, {}

    def render(self):
        if os.environ.get("MUJOCO_GL") not in self.works.split():
            os._exit(139) if os.environ.get("MUJOCO_GL") == "egl" else 1 / 0
        return np.full((30, 41, 3), 2 * self.sum, np.uint8)


gymnasium.register("Shades-v0", Shades)
'''


@pytest.fixture
def shades(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "shades.py").write_text(SHADES)
    return "shades:Shades-v0"


def ten(lanes):
    return np.full((len(lanes), 1), 10.0, np.float32)


def frames(path):
    """Width, height, frames a second, and the frames (T, H, W, 3)."""
    command = [ffmpeg.get_ffmpeg_exe(), "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    width, height, rate = map(float, re.search(r", (\d+)x(\d+).*? ([\d.]+) fps", done.stderr.decode()).groups())
    return (width, height, rate), np.frombuffer(done.stdout, np.uint8).reshape(-1, int(height), int(width), 3)


def test_every_frame_of_every_episode_is_in_the_video(shades, tmp_path, capfd):
    takes = video.record(ten, shades, [20, 60], tmp_path / "out.mp4", ["one", "two"])
    assert [take.seed for take in takes] == [20, 60]
    assert takes[0].return_ == sum(20 + 10 * i for i in range(1, 6))
    about, shown = frames(tmp_path / "out.mp4")
    # Sides in whole blocks, under a strip for the caption; 6 frames of each episode, the last held for a second.
    assert about == (48, 64, 4)
    shades_of = [[2 * (seed + 10 * i) for i in (0, 1, 2, 3, 4, 5, 5, 5, 5, 5)] for seed in (20, 60)]
    np.testing.assert_allclose(shown[:, 40:55, 5:35].mean((1, 2, 3)), np.ravel(shades_of), atol=4)
    # White letters on black.
    assert shown[0, :32].max() > 150
    assert np.median(shown[0, :32]) < 20
    assert sorted(path.name for path in tmp_path.glob("*.mp4*")) == ["out.mp4"]
    assert capfd.readouterr() == ("", "drawing 2 episodes (10 decisions)\n")


def test_decisions_of_several_steps_are_shown_at_their_pace(shades, tmp_path):
    video.record(ten, f"{shades}?repeat=2", [0], tmp_path / "out.mp4")
    about, shown = frames(tmp_path / "out.mp4")
    assert about == (48, 32, 2)
    assert len(shown) == 4 + 2


def test_the_next_way_to_draw_is_tried_after_a_crash(shades, tmp_path):
    video.record(ten, f"{shades}?works=osmesa", [0], tmp_path / "out.mp4")
    assert len(frames(tmp_path / "out.mp4")[1]) == 10


def test_where_nothing_draws_one_line_says_what_was_tried(shades, tmp_path):
    match = r"cannot be drawn here \(egl: exit code 139; osmesa: ZeroDivisionError: division by zero\)"
    with pytest.raises(UsageError, match=match) as caught:
        video.record(ten, f"{shades}?works=none", [0], tmp_path / "out.mp4")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.mp4").exists()


def test_an_episode_that_comes_out_otherwise_is_named(shades, tmp_path, capsys):
    video.record(ten, f"{shades}?restless=true", [7], tmp_path / "out.mp4")
    assert "the episode of seed 7 came out otherwise in the video (return 685, was 185)" in capsys.readouterr().err


def test_what_cannot_be_drawn_or_written(shades, tmp_path):
    with pytest.raises(UsageError, match="headstart/chain is a table and cannot be drawn"):
        video.record(lambda lanes: np.zeros(len(lanes), int), "headstart/chain", [0], tmp_path / "out.mp4")
    (tmp_path / "old.mp4").touch()
    for name, match in [("out.gif", "written as .mp4"), ("old.mp4", "exists")]:
        with pytest.raises(UsageError, match=match):
            video.record(ten, shades, [0], tmp_path / name)


def test_evaluation_shows_the_best_the_median_and_the_worst(shades, tmp_path, quick_compilation):
    from headstart import api
    from headstart.algos.bc import BC
    from headstart.artifact import Artifact
    from headstart.data.normalize import Normalizer
    from headstart.envs import factory

    algorithm, spec = BC(policy_kind="deterministic", actor_widths=(4,)), factory.spec(shades)
    state = jax.jit(jax.vmap(lambda key: algorithm.init(key, spec)))(jax.random.split(jax.random.key(0), 2))
    model = Artifact(algorithm, spec, state, Normalizer.of(spec), (0, 1), settings={"env": shades})
    evaluation = api.evaluate(model, episodes=5, seed=3, video=tmp_path / "videos" / "out.mp4")
    about, shown = frames(tmp_path / "videos" / "out.mp4")
    assert about == (48, 64, 4)
    assert len(shown) == 3 * 10
    # The frame before the first action is as bright as twice the seed.
    starts = [2 * episode.seed for _, episode in evaluation.extremes.values()]
    np.testing.assert_allclose(shown[::10, 40:55, 5:35].mean((1, 2, 3)), starts, atol=3)


def test_mujoco_is_drawn_without_a_screen(tmp_path, monkeypatch):
    pytest.importorskip("mujoco", reason="needs the extra mujoco")
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    try:
        video.record(lambda lanes: np.zeros((1, 1), np.float32), "InvertedPendulum-v5?steps=2", [0], tmp_path / "o.mp4")
    except UsageError as error:
        pytest.skip(f"no renderer on this machine: {error}")
    about, shown = frames(tmp_path / "o.mp4")
    assert about[:2] == (480, 480)
    assert shown.std() > 5

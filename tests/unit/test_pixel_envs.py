"""Environments that show images, and that bytes stay bytes on their way to batches."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.algorithm import View
from headstart.data import sources
from headstart.data.normalize import Normalizer
from headstart.data.replay import Replay
from headstart.data.views import gather, table
from headstart.envs import factory, tabular
from headstart.envs.collect import collect, to_dataset
from headstart.envs.controllers import Scripted
from headstart.envs.tabular_env import DrawnState
from headstart.errors import UsageError
from headstart.spec import ArraySpec, Spec

GRID = "headstart/gridworld?pixels=9&steps=4"
MAZE = "pointmaze-medium-v0?task=1&pixels=32&steps=4"


@pytest.fixture(scope="module")
def maze():
    """The point maze drawn by MuJoCo."""
    pytest.importorskip("ogbench", reason="needs the extra ogbench")
    try:
        env = factory.make(MAZE)
    except UsageError as error:
        pytest.skip(f"no renderer on this machine: {error}")
    yield env
    env.close()


def test_small_problems_are_drawn_as_a_square_of_cells():
    env = factory.make(GRID)
    first, _ = env.reset(seed=0)
    assert env.observation_space.contains(first)
    # 4 x 4 cells on 9 x 9 pixels: the top left one is lit.
    assert (first[:3, :3] == 255).all()
    assert (first == 255).sum() == 3 * 3 * 3
    second = env.step(1)[0]
    assert (second[:3, 3:5] == 255).all()
    drawn = DrawnState(tabular.as_env(tabular.gridworld(4, 4)), 9)
    images = {drawn.observation(np.eye(16)[state]).tobytes() for state in range(16)}
    assert len(images) == 16
    assert factory.spec(GRID).images == ("",)


def test_goals_are_drawn_too():
    env = factory.make("headstart/gridworld?goals=true&pixels=8")
    observation, info = env.reset(seed=0, options={"task_id": 15})
    assert info["goal"].shape == observation.shape
    assert (info["goal"][6:, 6:] == 255).all()


def test_what_cannot_be_drawn_is_refused(monkeypatch):
    with pytest.raises(UsageError, match="16 states need at least 4 pixels each way, found 3"):
        factory.make("headstart/gridworld?pixels=3")
    with pytest.raises(UsageError, match="pixels must be a whole number of at least 1, found 'many'"):
        factory.make("headstart/gridworld?pixels=many")
    from headstart.envs import drawing

    monkeypatch.setattr(drawing, "draw_here", lambda: None)
    with pytest.raises(UsageError, match="CartPole-v1 shows no images; leave pixels out"):
        factory.make("CartPole-v1?pixels=8")
    # No way to draw works where Python finds no MuJoCo.
    monkeypatch.undo()
    monkeypatch.setattr(drawing, "_TRIAL", "raise ImportError('no such thing')")
    monkeypatch.setattr(drawing, "ways", lambda: ["egl", "osmesa"])
    with pytest.raises(UsageError, match=r"cannot be drawn here \(egl: ImportError: no such thing; osmesa: Import"):
        drawing.draw_here.__wrapped__()


def test_the_point_maze_is_drawn_by_mujoco(maze):
    first, info = maze.reset(seed=0)
    assert maze.observation_space.contains(first)
    assert maze.observation_space.contains(info["goal"])
    # Where the point is can be seen, and the goal is somewhere else.
    moved = maze.step(np.array([1.0, 0.0], np.float32))[0]
    for other in (moved, info["goal"]):
        assert 0.0 < (other != first).mean() < 0.2
    np.testing.assert_array_equal(maze.reset(seed=0)[0], first)


def test_collected_images_are_written_and_read_as_bytes(maze, tmp_path):
    episodes = collect(Scripted("ogbench-maze?task=1"), MAZE, episodes=1, seed=0)
    data = to_dataset(episodes, MAZE, ("walks",))
    assert data.spec.observation == (("", factory.spec(MAZE).observation[0][1]),)
    for target in (f"minari:{tmp_path / 'minari'}", f"arrays:{tmp_path / 'arrays'}"):
        sources.write(data, target, False)
        again = sources.load(target)
        assert again.observations.dtype == np.uint8
        np.testing.assert_array_equal(again.observations, data.observations)
        assert again.spec.images == ("",)


def test_bytes_stay_bytes_in_tables_buffers_and_batches():
    spec = Spec((("", ArraySpec((4, 4, 3), "uint8")),), ArraySpec((), "int32", categories=4))
    episodes = collect(Scripted("random"), "headstart/gridworld?pixels=4&steps=4", episodes=2, seed=0)
    data = to_dataset(episodes, "headstart/gridworld?pixels=4", ("random",))
    view = View(batch_size=2)
    replay = Replay(spec, 1, 8, 0.9)
    replay.start(0, data.observations[0])
    for row in range(3):
        replay.add(0, 1, -1.0, False, data.observations[row + 1])
    replay.settle(0)
    normalizer = Normalizer.of(spec, data)
    for rows in (table(data, view), replay):
        assert rows.observations.dtype == np.uint8
        batch = gather(rows, np.array([0, 1]), view, normalizer)
        assert batch.observation.dtype == batch.next_observation.dtype == np.uint8
        np.testing.assert_array_equal(batch.observation, data.observations[:2])

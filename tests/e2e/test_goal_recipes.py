"""The recipes of goals in mazes, whole, at a size that teaches nothing; and the task that one goal makes of data."""

import dataclasses
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from headstart import api
from headstart.errors import UsageError
from headstart.recipes.antmaze_goals import AntmazeGoals
from headstart.recipes.goals import Problem, near, task_data
from headstart.recipes.pointmaze_goals import PointmazeGoals, _pieces

ANTS = (
    Path(__file__).parents[2].parent / "shared" / "data" / "ogbench" / "antmaze-medium-navigate-d4rlpolicy-v0-val.npz"
)

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("ogbench") is None, reason="ogbench is not installed"),
    pytest.mark.usefixtures("quick_compilation"),
]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A recipe that has run with one method of skills and one of goals, and its folder."""
    out = tmp_path_factory.mktemp("goals") / "run"
    recipe = PointmazeGoals(
        small=True, mazes=("medium",), walks=("navigate",), methods=("gcbc", "hilp"), seeds=1, episodes=2,
        offline_steps=2, online_steps=20, task=2, eval_episodes=5,
    )  # fmt: skip
    # A goal that the walks meet, or there would be no rewards to prompt with.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("headstart.recipes.goals.near", lambda problem, observations: observations[:, 0] > 10.0)
        recipe.run(out)
    return recipe, out


def test_pieces_are_told_apart(done, capsys):
    recipe, out = done
    found = json.loads((out / "results.json").read_text())["medium-navigate"]
    assert list(found) == ["gcbc", "hilp"]
    for numbers in found.values():
        assert list(numbers["goals"]) == ["1", "2", "3", "4", "5"]
        assert all(0.0 <= numbers[name][0] <= 1.0 for name in ("success", "before", "after", "scratch"))
    assert found["gcbc"]["published"] == 9
    assert found["hilp"]["published"] is None
    for picture in ("goals.png", "medium-navigate-online.png"):
        assert (out / picture).read_bytes().startswith(b"\x89PNG")

    # Another part joins by itself; what is complete stays.
    dataclasses.replace(recipe, walks=("stitch",), methods=("gcbc",), online_steps=0).run(out, resume=True)
    assert json.loads((out / "results.json").read_text())["medium-stitch"]["gcbc"]["published"] == 23
    assert "goal 2: before" not in capsys.readouterr().out
    with pytest.raises(UsageError, match="did you mean 'hilp'"):
        dataclasses.replace(recipe, methods=("hlip",)).run(out, resume=True)


def test_stitch_is_the_same_walks_in_pieces(done):
    data = api.load(f"arrays:{done[1] / 'data' / 'medium'}")
    pieces = _pieces(data, 60)
    assert pieces.steps == data.steps == 400
    np.testing.assert_array_equal(pieces.ends - pieces.starts, [60, 60, 60, 20] * 2)
    np.testing.assert_array_equal(pieces.episode(1)["observations"], data.observations[60:121])
    np.testing.assert_array_equal(pieces.episode(7)["actions"], data.episode(1)["actions"][180:])


def test_a_goal_makes_a_task_of_the_data(done):
    data = api.load(f"arrays:{done[1] / 'data' / 'medium'}")
    problem = Problem("medium", "pointmaze-medium-v0", data, {}, {}, task=1, online={})
    # OGBench's first task ends in the last row and column; a cell is 4 wide, the tolerance 1.
    at = near(problem, np.array([[20.0, 20.0], [20.9, 20.0], [20.0, 21.1], [0.0, 0.0]]))
    np.testing.assert_array_equal(at, [True, True, False, False])
    met = near(problem, data.observations)
    task = task_data(problem)
    for index in range(data.episodes):
        before, after = data.episode(index), task.episode(index)
        arrivals = np.flatnonzero(met[data.starts[index] + 1 : data.ends[index] + 1])
        length = arrivals[0] + 1 if len(arrivals) else len(before["actions"])
        assert len(after["actions"]) == length
        assert after["terminated"] == bool(len(arrivals))
        wanted = np.full(length, -1.0)
        wanted[-1] += after["terminated"]
        np.testing.assert_array_equal(after["rewards"], wanted)


@pytest.mark.skipif(not ANTS.exists(), reason="the ant's walks are not on this machine")
def test_antmaze(tmp_path):
    recipe = AntmazeGoals(
        small=True, data=f"ogbench:{ANTS}", methods=("crl",), seeds=1, offline_steps=2, eval_episodes=1
    )
    recipe.run(tmp_path / "run")
    found = json.loads((tmp_path / "run" / "results.json").read_text())["medium-navigate"]["crl"]
    assert found["published"] == 95
    assert len(found["goals"]) == 1

"""The recipes, whole, at a size that teaches nothing."""

import dataclasses
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from headstart import api
from headstart.artifact import Artifact
from headstart.errors import UsageError
from headstart.recipes.adroit_door import AdroitDoor
from headstart.recipes.cube import Cube
from headstart.recipes.quickstart import Quickstart

DEMONSTRATIONS = Path(__file__).parents[2].parent / "shared" / "data" / "minari" / "adroit" / "door-human-v1"


@pytest.mark.skipif(importlib.util.find_spec("ogbench") is None, reason="ogbench is not installed")
def test_quickstart(tmp_path, capsys):
    recipe = Quickstart(seeds=2, episodes=6, offline_steps=20, online_steps=40, eval_episodes=2)
    recipe.run(tmp_path / "run")
    printed = capsys.readouterr().out
    *_, evaluate, diagnose, report = printed.strip().splitlines()
    (picture,) = (Path(line.removeprefix("picture: ")) for line in printed.splitlines() if line.startswith("picture: "))
    agent = tmp_path / "run" / "calql" / "finetune"
    assert evaluate == f"next: headstart evaluate {agent} --episodes 100"
    assert (agent / "artifact").is_dir()
    data = f"--data arrays:{tmp_path / 'run' / 'data'}"
    assert diagnose == f"  or: headstart diagnose {tmp_path / 'run' / 'calql' / 'pretrain'} {data}"
    assert report == f"  or: headstart report {tmp_path / 'run'} --out {tmp_path / 'run' / 'report'}"
    assert picture.read_bytes().startswith(b"\x89PNG")
    results = json.loads((tmp_path / "run" / "results.json").read_text())["methods"]
    assert list(results) == ["calql", "cql"]
    assert all(0.0 <= results[name]["after"][0] <= 1.0 for name in results)
    assert "calql" in printed

    # Complete parts are kept: resuming draws the same table again.
    recipe.run(tmp_path / "run", resume=True)
    again = json.loads((tmp_path / "run" / "results.json").read_text())["methods"]
    assert again == results
    with pytest.raises(UsageError, match="not empty"):
        recipe.run(tmp_path / "run")

    # Others join on the same data; chunks of actions are executed in evaluation and online.
    others = dataclasses.replace(recipe, methods=("fql", "qc"))
    others.run(tmp_path / "run", resume=True)
    assert list(json.loads((tmp_path / "run" / "results.json").read_text())["methods"]) == ["fql", "qc"]
    assert Artifact.load(tmp_path / "run" / "qc" / "finetune").chunk(np.zeros(26)).shape == (4, 2)
    with pytest.raises(UsageError, match="unknown method 'qcc'; did you mean 'qc'"):
        dataclasses.replace(recipe, methods=("qcc",)).run(tmp_path / "other")


@pytest.mark.skipif(importlib.util.find_spec("ogbench") is None, reason="ogbench is not installed")
def test_maze_shows_places_and_starts_far_from_the_goal():
    from headstart.envs import factory
    from headstart.recipes.maze import NAME

    env = factory.make(f"{NAME}?sparse=1&repeat=8&steps=40")
    maze = env.unwrapped
    distances = []
    for seed in range(20):
        observation, _ = env.reset(seed=seed)
        assert observation.shape == (26,)
        assert observation.max() > 0.8  # the bump of the cell it stands in
        distances.append(np.linalg.norm(maze.get_xy() - maze.cur_goal_xy))
    assert min(distances) > 6.0  # more than a cell and a half, whatever the walls
    again, _ = env.reset(seed=19)
    np.testing.assert_array_equal(observation, again)
    assert env.step(env.action_space.sample() * 0)[1] == -1.0
    env.close()
    drawn = factory.make(NAME, render=True)
    assert drawn.render_mode == "rgb_array"
    drawn.close()


@pytest.mark.skipif(not DEMONSTRATIONS.exists(), reason="the human demonstrations are not on this machine")
@pytest.mark.skipif(
    importlib.util.find_spec("gymnasium_robotics") is None, reason="gymnasium-robotics is not installed"
)
def test_adroit_door(tmp_path, capsys, monkeypatch):
    # The clone of a few steps opens no door: the demonstrations' own successes are all there is.
    monkeypatch.setattr("headstart.recipes.adroit_door.CLONE_STEPS", 20)
    recipe = AdroitDoor(
        small=True, seeds=1, methods=("calql", "rebrac", "rlpd"), demonstrations=f"minari:{DEMONSTRATIONS}", rollouts=2,
        offline_steps=2, online_steps=40, eval_episodes=1,
    )  # fmt: skip
    recipe.run(tmp_path / "run")
    results = json.loads((tmp_path / "run" / "results.json").read_text())["methods"]
    assert list(results) == ["calql", "rebrac", "rlpd", "bc"]
    assert Path(capsys.readouterr().out.strip().splitlines()[-1].removeprefix("picture: ")).exists()


@pytest.mark.skipif(importlib.util.find_spec("ogbench") is None, reason="ogbench is not installed")
def test_cube(tmp_path, capsys):
    recipe = Cube(
        small=True, task=3, seeds=1, methods=("qcfql", "rlpd"), episodes=2, offline_steps=2, online_steps=20,
        eval_episodes=1,
    )  # fmt: skip
    recipe.run(tmp_path / "run")
    results = json.loads((tmp_path / "run" / "results.json").read_text())["methods"]
    assert list(results) == ["qcfql", "rlpd", "bc"]
    assert results["rlpd"]["likeliest before"] is None
    assert Path(capsys.readouterr().out.strip().splitlines()[-1].removeprefix("picture: ")).exists()
    agent = Artifact.load(tmp_path / "run" / "qcfql" / "finetune")
    assert agent.chunk(np.zeros(28)).shape == (5, 5)
    assert api.load(f"arrays:{tmp_path / 'run' / 'data'}").provenance.environment == "cube-single-singletask-task3-v0"


@pytest.mark.parametrize("recipe", [AdroitDoor, Cube])
def test_unknown_methods_are_refused(recipe, tmp_path):
    with pytest.raises(UsageError, match="did you mean 'calql'"):
        recipe(methods=("calqll",)).run(tmp_path)

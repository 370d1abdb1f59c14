"""The recipe of goals as tasks, as small as it can be."""

from __future__ import annotations

import dataclasses
import importlib.util
import json

import numpy as np
import pytest

from headstart.artifact import Artifact
from headstart.data import sources
from headstart.errors import UsageError
from headstart.recipes import multi_task

pytestmark = [
    pytest.mark.usefixtures("quick_compilation"),
    pytest.mark.skipif(importlib.util.find_spec("ogbench") is None, reason="ogbench is not installed"),
]


def test_every_way_is_run_and_reported(tmp_path, capsys):
    recipe = multi_task.MultiTask(
        seeds=1, episodes=2, demonstrations=(1,), offline_steps=3, adapt_steps=2, eval_episodes=1,
        sharing=("none", "all known"),
    )  # fmt: skip
    recipe.run(tmp_path / "run")
    assert "| PTR" in capsys.readouterr().out
    found = json.loads((tmp_path / "run" / "results.json").read_text())
    assert list(found["sharing"]) == ["none", "all known"]
    assert list(found["sharing"]["none"]) == [*multi_task.GOALS, "all"]
    assert list(found["new task"]) == ["pretrained", "bc alone", "iql alone", "pretrained, then alone", "PTR"]
    model = Artifact.load(tmp_path / "run" / "new" / "1-PTR")
    assert model.tasks.names == (*multi_task.GOALS, multi_task.NEW)
    assert model.settings["prior_share"] == 0.7
    # What is complete is not done again.
    recipe.run(tmp_path / "run", resume=True)
    assert json.loads((tmp_path / "run" / "results.json").read_text()) == found
    with pytest.raises(UsageError, match="did you mean 'cds'"):
        dataclasses.replace(recipe, sharing=("cdss",)).run(tmp_path / "other")

    # The reward that other tasks' data is relabelled with is that which the task's own data has.
    own = sources.load(f"arrays:{tmp_path}/run/examples")
    episode = own.episode(0)
    rewards, ends = multi_task.at_goal(episode, multi_task.NEW)
    np.testing.assert_array_equal(rewards, episode["rewards"])
    np.testing.assert_array_equal(ends, episode["successes"])

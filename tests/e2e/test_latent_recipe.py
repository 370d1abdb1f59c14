"""The recipe of latent actions, whole, at a size that teaches nothing; and the same by commands."""

from __future__ import annotations

import dataclasses
import importlib.util
import json

import pytest

from headstart.errors import UsageError
from headstart.recipes.latent_actions import METHODS, LatentActions

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ogbench") is None, reason="ogbench is not installed")


def test_latent_actions(tmp_path, capsys):
    recipe = LatentActions(
        methods=tuple(METHODS), shares=(0.1,), seeds=2, episodes=3, width=8, passive_steps=2, steps=2, eval_episodes=1
    )  # fmt: skip
    recipe.run(tmp_path / "run")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert list(results) == list(METHODS)
    assert all(len(scores) == 2 for cells in results.values() for scores in cells.values())
    assert "BC on the labelled steps alone" in capsys.readouterr().out
    # What is there is not made again.
    recipe.run(tmp_path / "run", resume=True)
    assert json.loads((tmp_path / "run" / "results.json").read_text()) == results
    with pytest.raises(UsageError, match="unknown method 'lapoo'; did you mean 'lapo'"):
        dataclasses.replace(recipe, methods=("lapoo",)).run(tmp_path / "other")

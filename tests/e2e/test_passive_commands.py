"""From observations alone to an agent on the command line, in each of the ways; and the recipe that compares them."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest

from headstart.artifact import Artifact
from headstart.data import sources, transform
from headstart.envs.collect import collect, to_dataset
from headstart.envs.controllers import Scripted
from headstart.errors import UsageError
from headstart.recipes.passive import Passive

pytestmark = pytest.mark.usefixtures("quick_compilation")

ENV = "headstart/chain?n=4&continuous=1&steps=15"
SMALL = ["--steps", 5, "--checkpoint-every", 0]


@pytest.fixture
def folders(tmp_path):
    data = to_dataset(collect(Scripted("random"), ENV, episodes=10, seed=0), ENV, ())
    sources.write(data, f"arrays:{tmp_path / 'data'}")
    sources.write(transform.drop_rewards(transform.drop_actions(data)), f"arrays:{tmp_path / 'seen'}")


def test_a_representation_serves_iql(headstart, folders, tmp_path):
    net = ["--critic-widths", 8, "--batch-size", 16]
    code, said, _ = headstart(
        "pretrain", "icvf", "--data", "arrays:seen", "--activation", "relu", *net, *SMALL, "--out", "icvf"
    )
    assert code == 0
    assert "--use trunks --data SOURCE" in said
    code, _, error = headstart("evaluate", "icvf", "--env", ENV)
    assert code == 2
    assert "icvf has learned from observations alone, so it has no policy" in error
    iql = ["--algo", "iql", "--set", "actor_widths=[8]", "critic_widths=[8]", "batch_size=16", "--data", "arrays:data"]
    for use, line in (("trunks", "actor      loaded  1 hidden layer"), ("features+observation", "features   loaded")):
        code, _, error = headstart("finetune", "icvf", "--use", use, *iql, *SMALL, "--out", use)
        assert code == 0, error
        assert line in error
        assert headstart("evaluate", use, "--env", ENV, "--episodes", 2)[0] == 0
    agent = Artifact.load(tmp_path / "features+observation")
    assert [entry["algorithm"] for entry in agent.lineage] == ["icvf"]
    assert agent.settings["use"] == "features+observation"

    shape = ["--by", "distance", "--artifact", "icvf", "--goal", "[0, 0, 0, 1]", "--reward", "shaped"]
    code, _, error = headstart("data", "label", "arrays:data", *shape, "--out", "arrays:shaped")
    assert code == 0, error
    assert "distance shaped, of icvf" in sources.load("arrays:shaped").provenance.transforms[-1]


def test_data_without_actions_says_how_to_learn_from_it(headstart, folders):
    code, _, error = headstart("pretrain", "hiql", "--data", "arrays:seen", *SMALL, "--out", "hiql")
    assert code == 2
    assert "holds no actions, from which the policy of hiql learns; action_free (--action-free" in error


@pytest.mark.skipif(importlib.util.find_spec("ogbench") is None, reason="ogbench is not installed")
def test_the_recipe_compares_ways(tmp_path, capsys):
    recipe = Passive(
        methods=("scratch", "icvf-features", "icvf-potential"), shares=(0.1,), seeds=1, episodes=8, width=8,
        passive_steps=2, steps=2, eval_episodes=1,
    )  # fmt: skip
    recipe.run(tmp_path / "run")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert list(results) == ["scratch", "icvf-features", "icvf-potential"]
    assert np.shape(results["scratch"]["0.1"]) == (1, 1)
    assert "| icvf-potential |" in capsys.readouterr().out
    shaped = Artifact.load(tmp_path / "run" / "icvf-potential" / "0.1" / "0" / "iql")
    assert any("distance shaped, of icvf" in line for line in shaped.data["transforms"])
    recipe.run(tmp_path / "run", resume=True)
    assert json.loads((tmp_path / "run" / "results.json").read_text()) == results


def test_unknown_ways_are_refused(tmp_path):
    with pytest.raises(UsageError, match="unknown method 'icvf-feature'; did you mean 'icvf-features'"):
        Passive(methods=("icvf-feature",)).run(tmp_path)
    with pytest.raises(UsageError, match="the antmaze needs data; say where it is"):
        Passive(maze="antmaze").run(tmp_path)

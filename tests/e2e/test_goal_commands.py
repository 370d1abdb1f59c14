"""Goals from the data to an agent: pretrained without rewards, scored by task, finetuned on one goal, resumed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from test_resume import interrupted, require_same

from headstart import api
from headstart.algos import registry
from headstart.artifact import Artifact
from headstart.cli.main import main
from headstart.data.dataset import Dataset
from headstart.errors import UsageError
from headstart.train.run import read_log

pytestmark = pytest.mark.usefixtures("quick_compilation")

PLAIN = "headstart/chain?n=4&continuous=1&steps=15"
ENV = PLAIN + "&goals=1"
SETTINGS = {
    "actor_widths": (16,), "critic_widths": (16,), "batch_size": 32, "actor_lr": 3e-3, "critic_lr": 3e-3,
    "discount": 0.9, "tau": 0.05,
}  # fmt: skip


@pytest.fixture(scope="module")
def pretrained(walks, tmp_path_factory, quick_compilation):
    out = tmp_path_factory.mktemp("goals") / "run"
    algorithm = registry.algorithm("gcivl", **SETTINGS)
    api.pretrain(algorithm, walks, steps=400, env=ENV, eval_episodes=6, out=out, data_on="host")
    return out


def test_a_pretrained_model_reaches_every_goal(pretrained, tmp_path, capsys):
    assert [line["task"] for line in read_log(pretrained, "episodes")[:6]] == [2, 3, 1, 2, 3, 1]
    assert main(["evaluate", str(pretrained), "--episodes", "9", "--json", str(tmp_path / "scores.json")]) == 0
    assert "success 100% [all alike], by task 100% 100% 100%" in capsys.readouterr().out
    episodes = json.loads((tmp_path / "scores.json").read_text())["episodes"][0]
    assert [episode["task"] for episode in episodes] == [1, 2, 3] * 3
    only = api.evaluate(pretrained, env=f"{ENV}&task=3", episodes=4)
    assert only.tasks == {3: 1.0}
    assert "by task" not in only.describe()


def test_the_goal_is_an_argument_of_the_policy(pretrained):
    artifact = Artifact.load(pretrained)
    assert artifact.goals
    assert artifact.spec.context.shape == (4,)
    states = np.eye(4, dtype=np.float32)
    there, back = artifact.policy(states[1], context=states[3]), artifact.policy(states[1], context=states[0])
    assert there > 0 > back
    np.testing.assert_allclose(artifact.policy(states[[1, 1]], context=states[[3, 0]]), [there, back], atol=1e-5)
    with pytest.raises(UsageError, match="acts towards a goal; give one as context"):
        artifact.policy(states[1])
    with pytest.raises(UsageError, match=r"has shape \(3,\), expected \(4,\)"):
        artifact.policy(states[1], context=states[0, :3])


def test_finetuning_on_one_goal_goes_on_from_the_same_artifact(pretrained, tmp_path):
    tuned = api.finetune(pretrained, env=f"{ENV}&task=3", steps=32, collect=32, out=tmp_path / "run", eval_episodes=2)
    assert tuned.steps == 432
    assert {line["task"] for line in read_log(tmp_path / "run", "episodes")} == {3}
    (line,) = [line for line in read_log(tmp_path / "run", "metrics") if line["step"] == 32]
    assert line["train_success"] > 0.0


def test_goals_of_running_episodes_are_brought_back_bit_for_bit(tmp_path):
    whole, resumed = interrupted(ENV, tmp_path, 40, name="gcivl")
    assert resumed.digests == whole.digests
    require_same(tmp_path / "run", tmp_path / "whole")


def test_what_lacks_goals_or_actions_is_refused(pretrained, walks):
    with pytest.raises(UsageError, match=r"gcivl acts towards goals, and headstart/chain.* sets none"):
        api.evaluate(pretrained, env=PLAIN)
    with pytest.raises(UsageError, match="acts towards goals"):
        api.finetune(pretrained, env=PLAIN, steps=5)
    passive = Dataset.from_episodes([{"observations": walks.episode(0)["observations"]}])
    with pytest.raises(UsageError, match="holds no actions, which this algorithm learns from"):
        api.pretrain("gcbc", passive, steps=5)
    with pytest.raises(UsageError, match="shares of current, future and random goals must sum to 1"):
        registry.algorithm("gcivl", value_goals=(0.5, 0.1, 0.1))

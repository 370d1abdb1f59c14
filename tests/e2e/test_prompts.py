"""Skills from the data to an agent: pretrained without a task, told what to do, finetuned on a task of its own."""

from __future__ import annotations

import numpy as np
import pytest

from headstart import api
from headstart.algos import registry
from headstart.artifact import Artifact
from headstart.cli.main import main
from headstart.errors import UsageError
from headstart.train.run import read_log

pytestmark = pytest.mark.usefixtures("quick_compilation")

PLAIN = "headstart/chain?n=4&continuous=1&steps=15"
ENV = PLAIN + "&goals=1"
STATES = np.eye(4, dtype=np.float32)
RIGHTWARDS = (STATES, np.arange(4.0))
SETTINGS = {
    "skill_size": 3, "actor_widths": (16,), "critic_widths": (16,), "batch_size": 32, "actor_lr": 3e-3,
    "critic_lr": 3e-3, "discount": 0.9, "skill_discount": 0.9, "tau": 0.05,
}  # fmt: skip


@pytest.fixture(scope="module")
def pretrained(walks, tmp_path_factory, quick_compilation):
    out = tmp_path_factory.mktemp("skills") / "run"
    algorithm = registry.algorithm("hilp", **SETTINGS)
    api.pretrain(algorithm, walks, steps=500, env=ENV, eval_episodes=6, out=out, data_on="host")
    return out


@pytest.fixture
def rewards(tmp_path):
    observations, rewards = RIGHTWARDS
    np.savez(tmp_path / "rewards.npz", observations=observations, rewards=rewards)
    return str(tmp_path / "rewards.npz")


def test_a_model_of_skills_is_told_the_goals_of_an_environment(pretrained, capsys):
    # In training as well: the last evaluation was after all updates.
    assert np.mean([line["success"] for line in read_log(pretrained, "episodes")[-6:]]) > 0.6
    assert main(["evaluate", str(pretrained), "--prompt", "goal", "--episodes", "9"]) == 0
    assert "by task" in capsys.readouterr().out
    only = api.evaluate(Artifact.load(pretrained).prompt(), env=f"{ENV}&task=3", episodes=4)
    assert set(only.tasks) == {3}


def test_it_is_told_rewards_by_examples(pretrained, rewards, capsys):
    # In an environment that sets no goals.
    assert main(["evaluate", str(pretrained), "--prompt-rewards", rewards, "--env", PLAIN, "--episodes", "5"]) == 0
    assert "success 100%" in capsys.readouterr().out


def test_a_prompted_policy_is_called_like_that_of_an_artifact(pretrained):
    artifact = Artifact.load(pretrained)
    assert not artifact.goals
    assert artifact.spec.context.shape == (3,)
    free, towards = artifact.prompt(), artifact.prompt(goal=STATES[3])
    action = towards.policy(STATES[1])
    assert action.shape == (1,)
    assert action > 0 > artifact.prompt(goal=STATES[0]).policy(STATES[1])
    np.testing.assert_allclose(free.policy(STATES[1], context=STATES[3]), action, atol=1e-5)
    both = free.policy(STATES[[1, 1]], context=STATES[[3, 0]])
    np.testing.assert_allclose(both[0], action, atol=1e-5)
    np.testing.assert_allclose(towards.act(STATES[None])[0], towards.policy(STATES), atol=1e-5)
    collecting = artifact.prompt(reward_examples=RIGHTWARDS)
    np.testing.assert_allclose(collecting.act(STATES[None])[0], collecting.policy(STATES), atol=1e-5)
    np.testing.assert_allclose(artifact.policy(STATES[1], context=collecting.contexts[0]), collecting.policy(STATES[1]))


def test_what_does_not_say_what_to_do_is_refused(pretrained, walks, rewards, tmp_path, capsys):
    assert main(["evaluate", str(pretrained), "--episodes", "1"]) == 2
    told = capsys.readouterr().err
    assert "hilp acts on skills: say what to do by" in told
    assert "--prompt goal or --prompt-rewards FILE.npz" in told
    assert main(["evaluate", str(pretrained), "--prompt", "goal", "--prompt-rewards", rewards]) == 2
    assert main(["evaluate", str(pretrained), "--prompt-rewards", str(tmp_path / "none.npz")]) == 1
    np.savez(tmp_path / "other.npz", observations=STATES)
    assert main(["evaluate", str(pretrained), "--prompt-rewards", str(tmp_path / "other.npz")]) == 1
    assert "no 'rewards'" in capsys.readouterr().err
    artifact = Artifact.load(pretrained)
    with pytest.raises(UsageError, match="all rewards are the same"):
        artifact.prompt(reward_examples=(STATES, np.ones(4)))
    with pytest.raises(UsageError, match="states are all the same to the model"):
        artifact.prompt(reward_examples=(STATES[[0, 0]], np.arange(2.0)))
    with pytest.raises(UsageError, match="one number for each of the 4 observations, found float64 of shape"):
        artifact.prompt(reward_examples=(STATES, np.ones(3)))
    with pytest.raises(UsageError, match="either a goal or reward examples"):
        artifact.prompt(goal=STATES[0], reward_examples=RIGHTWARDS)
    with pytest.raises(UsageError, match="give one as context"):
        artifact.prompt().policy(STATES[0])
    with pytest.raises(UsageError, match="prompted already"):
        artifact.prompt(goal=STATES[0]).policy(STATES[0], context=STATES[1])
    with pytest.raises(UsageError, match=r"hilp is told goals by the environment, and .* sets none"):
        api.pretrain(artifact.algorithm, walks, steps=1, env=PLAIN)


def test_a_model_without_skills_is_not_prompted(walks):
    cloned = api.pretrain(registry.algorithm("bc", actor_widths=[8]), walks, steps=1)
    with pytest.raises(UsageError, match="bc learns no skills, .* the one task that it was trained on"):
        cloned.prompt(goal=STATES[0])
    cloned = api.pretrain(registry.algorithm("gcbc", actor_widths=[8]), walks, steps=1)
    with pytest.raises(UsageError, match="gcbc learns no skills, .* acts towards the goals"):
        cloned.prompt(reward_examples=RIGHTWARDS)


def test_the_model_of_one_skill_is_finetuned_by_the_learner_of_skills(pretrained, rewards, tmp_path, capsys):
    out = tmp_path / "tuned"
    line = [
        "finetune",
        str(pretrained),
        "--prompt-rewards",
        rewards,
        "--env",
        PLAIN,
        "--steps",
        "40",
        "--out",
        str(out),
    ]
    assert main([*line, "--eval-episodes", "4"]) == 0
    told = capsys.readouterr().err
    for name in ("actor", "critic", "value"):
        assert any(row.split()[:2] == [name, "loaded"] for row in told.splitlines()), told
    # Before the first update it acts as the skill does.
    assert all(line["success"] for line in read_log(out, "episodes")[:4])
    tuned = Artifact.load(out)
    assert tuned.title == "iql"
    assert [entry["algorithm"] for entry in tuned.lineage] == ["hilp", "iql"]
    assert main(["evaluate", str(out), "--episodes", "2"]) == 0


def test_the_model_of_one_skill_of_fb_is_one_of_td3(walks, tmp_path):
    fb = registry.algorithm("fb", skill_size=3, actor_widths=[8], forward_widths=[8], backward_widths=[8], batch_size=8)
    model = api.pretrain(fb, walks, steps=3, seeds=2).prompt(reward_examples=RIGHTWARDS)
    path = model.specialised().save(tmp_path / "skill")
    loaded = Artifact.load(path)
    assert (loaded.title, loaded.algorithm.behaviour_weight, loaded.seeds) == ("td3bc", 0.0, (0, 1))
    both = np.stack([STATES, STATES])
    np.testing.assert_allclose(loaded.act(both), model.act(both), atol=1e-5)
    # Towards a goal it needs no regard for the state.
    towards = model.artifact.prompt(goal=STATES[3])
    # It goes on online.
    assert api.finetune(model, env=PLAIN, steps=20, collect=20, eval_episodes=0).title == "td3bc"
    np.testing.assert_allclose(towards.act(both)[1], towards.policy(STATES, member=1), atol=1e-5)


def test_finetuning_skills_without_saying_which_is_refused(pretrained):
    with pytest.raises(UsageError, match=r"hilp learns skills from data, not a task online; prompt it"):
        api.finetune(pretrained, env=PLAIN, steps=5)
    with pytest.raises(UsageError, match="towards a goal changes with the state"):
        api.finetune(Artifact.load(pretrained).prompt(goal=STATES[3]), env=PLAIN, steps=5)

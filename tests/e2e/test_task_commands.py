"""Several tasks from the data to agents: pretrained together, told which to do, adapted to one more."""

from __future__ import annotations

import json

import numpy as np
import pytest

from headstart import api
from headstart.algos import registry
from headstart.artifact import Artifact
from headstart.cli.main import main
from headstart.data import sources
from headstart.data.dataset import Dataset
from headstart.envs.tabular import chain
from headstart.errors import UsageError
from headstart.train.run import Run, read_log

pytestmark = pytest.mark.usefixtures("quick_compilation")

MDP = chain(4)
ENV = "headstart/chain?n=4&continuous=1&steps=15"
SETTINGS = {"actor_widths": (16,), "critic_widths": (16,), "batch_size": 32, "actor_lr": 3e-3, "critic_lr": 3e-3}
START = MDP.one_hot(1)


def walks(right: float, episodes: int = 30) -> Dataset:
    """Walks that go right with that probability."""
    policy = np.tile([1.0 - right, right], (4, 1))
    return Dataset.from_episodes(MDP.sample_episodes(policy, episodes, 15, np.random.default_rng(0), continuous=True))


@pytest.fixture(scope="module")
def place(tmp_path_factory, quick_compilation):
    """Data of the tasks "right" and "left", without a task ("still") and together; and a model of the two."""
    folder = tmp_path_factory.mktemp("tasks")
    for name, right in {"right": 0.9, "left": 0.1, "still": 0.5}.items():
        sources.write(walks(right), f"arrays:{folder / name}")
    listed = {name: f"arrays:{folder / name}" for name in ("right", "left")}
    (folder / "both.json").write_text(json.dumps({"tasks": listed}))
    fields = [
        f"--{name.replace('_', '-')}={value[0] if isinstance(value, tuple) else value}"
        for name, value in SETTINGS.items()
    ]
    out = str(folder / "run")
    command = ["pretrain", "iql", "--tasks", "--data", f"tasks:{folder}/both.json", "--steps", "400", "--out", out]
    assert main([*command, *fields, "--env", ENV, "--task", "right", "--eval-episodes", "5"]) == 0
    return folder


def test_one_model_does_each_task_as_it_is_told(place, capsys):
    run = str(place / "run")
    assert np.mean([line["success"] for line in read_log(place / "run", "episodes")[-5:]]) == 1.0
    assert main(["evaluate", run, "--env", ENV, "--task", "right", "--episodes", "5"]) == 0
    assert "success 100%" in capsys.readouterr().out
    assert main(["evaluate", run, "--env", ENV, "--task", "left", "--episodes", "5"]) == 0
    assert "success 0%" in capsys.readouterr().out
    assert main(["evaluate", run, "--env", ENV, "--task", "rigt"]) == 2
    assert "did you mean 'right'" in capsys.readouterr().err


def test_a_model_of_tasks_is_prompted_by_name_or_vector(place):
    model = Artifact.load(place / "run")
    assert model.tasks.names == ("right", "left")
    by_name, by_vector = model.prompt(task="left"), model.prompt(task=np.array([0.0, 1.0, 0.0]))
    np.testing.assert_array_equal(by_name.policy(START), by_vector.policy(START))
    np.testing.assert_array_equal(by_name.policy(START), model.policy(START, context=np.array([0.0, 1.0, 0.0])))
    assert by_name.policy(START)[0] < 0 < model.prompt(task="right").policy(START)[0]
    with pytest.raises(UsageError, match=r"task has shape \(2,\), expected \(3,\)"):
        model.prompt(task=np.zeros(2))
    with pytest.raises(UsageError, match="prompt it with a skill or a task"):
        model.policy(START)
    with pytest.raises(UsageError, match="acts on tasks; name one"):
        model.prompt()
    with pytest.raises(UsageError, match="either a task, a goal or reward examples"):
        model.prompt(task="left", goal=START)
    plain = api.pretrain(registry.algorithm("bc", actor_widths=(8,)), walks(0.5), steps=1)
    with pytest.raises(UsageError, match="knows no tasks by name or vector; it does the one task"):
        plain.prompt(task="left")


def test_finetuned_online_on_one_task_whose_name_it_keeps(place, tmp_path, capsys):
    out = str(tmp_path / "left")
    command = ["finetune", str(place / "run"), "--env", ENV, "--task", "left", "--steps", "40", "--out", out]
    assert main([*command, "--eval-episodes", "2", "--data", f"tasks:{place}/both.json"]) == 0
    assert "carried over" in capsys.readouterr().err
    model = Artifact.load(out)
    assert model.settings["task"] == "left"
    # What it was trained for last is what it does when nobody says.
    assert api.evaluate(model, episodes=3).returns == api.evaluate(model.prompt(task="left"), episodes=3).returns
    assert main(["finetune", str(place / "run"), "--env", ENV, "--steps", "40", "--out", f"{out}2"]) == 0
    assert Artifact.load(f"{out}2").settings["task"] == "right"


def test_a_new_task_from_few_demonstrations_beside_the_old_data(place, tmp_path):
    out = str(tmp_path / "new")
    command = ["finetune", str(place / "run"), "--data", f"arrays:{place}/still", "--task", "still", "--steps", "20"]
    assert main([*command, "--prior-data", f"tasks:{place}/both.json", "--prior-share", "0.75", "--out", out]) == 0
    model = Artifact.load(out)
    assert model.tasks.names == ("right", "left", "still")
    np.testing.assert_array_equal(model.tasks.array, np.eye(3))
    assert (model.settings["task"], model.settings["prior_share"]) == ("still", 0.75)
    assert model.data["tasks"] == "3 tasks (right, left, still), one-hot vectors of 3"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"task": "still", "algorithm": "iql", "env": ENV}, "is not set to act on tasks"),
        ({"prior_data": "right", "env": ENV}, "joins that of the task"),
        ({"data": "still", "task": "still", "prior_data": "right", "prior_share": 1.5}, "leaves one of the two"),
        ({"data": "right", "task": None, "env": ENV}, "say on which task to act"),
    ],
)
def test_what_does_not_fit(place, more, message):
    more = {key: f"arrays:{place}/{value}" if key in ("data", "prior_data") else value for key, value in more.items()}
    model = Artifact.load(place / "run")
    del model.settings["task"]
    with pytest.raises(UsageError, match=message):
        api.finetune(model, steps=5, **more)


@pytest.mark.parametrize("verb", ["offline", "online"])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(verb, place, tmp_path, monkeypatch):
    options = {"log_every": 20, "checkpoint_every": 20, "eval_episodes": 0, "task": "still", "prior_share": 0.5}
    options |= {"data": f"arrays:{place}/still", "prior_data": f"tasks:{place}/both.json", "steps": 60}
    options |= {"env": ENV, "collect": 5} if verb == "online" else {}
    whole = api.finetune(place / "run", out=tmp_path / "whole", **options)
    write = Run.write

    def stopping(self, log, lines):
        write(self, log, lines)
        if log == "metrics" and lines[0]["step"] == 40:
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "write", stopping)
    with pytest.raises(KeyboardInterrupt):
        api.finetune(place / "run", out=tmp_path / "cut", **options)
    monkeypatch.setattr(Run, "write", write)
    resumed = api.finetune(place / "run", out=tmp_path / "cut", resume=True, **options)
    assert resumed.digests == whole.digests
    assert (tmp_path / "cut" / "metrics.jsonl").read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()

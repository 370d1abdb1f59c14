"""Skills as actions on the command line: learned, decided on, evaluated, finetuned, stopped and gone on with."""

from __future__ import annotations

import signal

import numpy as np
import pytest
import stopped

from headstart import api
from headstart.algos import registry
from headstart.artifact import Artifact, Skills
from headstart.cli.main import main
from headstart.data import sources
from headstart.train.loop import Interrupted
from headstart.train.run import Run, read_log

pytestmark = pytest.mark.usefixtures("quick_compilation")

ENV = stopped.ENV
OPAL = ["--actor-widths", "8", "--posterior-widths", "8", "--skill-size", "2", "--chunk", "3", "--batch-size", "16"]
SMALL = {"actor_widths": (8,), "critic_widths": (8,), "batch_size": 16}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, quick_compilation):
    """Data, and a model of skills with two training seeds."""
    folder = tmp_path_factory.mktemp("skills")
    sources.write(stopped.data(), f"arrays:{folder / 'data'}")
    line = ["pretrain", "opal", "--data", f"arrays:{folder / 'data'}", "--steps", "20", "--seeds", "2", *OPAL]
    assert main([*line, "--out", str(folder / "opal")]) == 0
    return folder


def test_from_data_to_an_agent_that_decides_on_skills(folder, capsys):
    data, high = f"arrays:{folder / 'data'}", folder / "high"
    line = ["pretrain", "iql", "--data", data, "--skills", str(folder / "opal"), "--env", ENV, "--eval-episodes", "2"]
    sizes = ["--steps", "5", "--actor-widths", "8", "--critic-widths", "8", "--batch-size", "16", "--out", str(high)]
    assert main([*line, *sizes]) == 2
    assert "choose one (--skill-seed)" in capsys.readouterr().err
    assert main([*line, *sizes, "--skill-seed", "1"]) == 0
    # Lengths are in steps of the environment, in which the end is four steps away, not in decisions.
    assert all(line["length"] >= 4 for line in read_log(high, "episodes"))
    assert main(["evaluate", str(high), "--episodes", "2"]) == 0
    online = ["finetune", str(high), "--env", ENV, "--steps", "12", "--collect", "6", "--eval-episodes", "0"]
    assert main([*online, "--data", data, "--out", str(folder / "online")]) == 0
    assert "skills of opal, 3 steps each, frozen" in capsys.readouterr().err
    tuned = Artifact.load(folder / "online")
    assert tuned.skills.artifact.seeds == (1,)
    assert tuned.policy(np.zeros(5)).shape == (1,)
    assert main(["data", "collect", "--env", ENV, "--artifact", str(high), "--episodes", "2", "--out",
                 str(folder / "collected")]) == 0  # fmt: skip
    assert sources.load(f"minari:{folder / 'collected'}").actions.shape[1] == 1
    assert main([*online, "--skill-steps", "3", "--out", str(folder / "none")]) == 2
    assert "--skill-steps and --skill-seed are of --skills" in capsys.readouterr().err


def test_online_training_by_skills_goes_on_bit_for_bit_where_it_was_stopped(folder):
    algorithm, skills = registry.algorithm("sac", **SMALL), Skills.of(folder / "opal", seed=0)

    def train(out, resume=False):
        return api.finetune(
            None, algorithm=algorithm, env=ENV, skills=skills, steps=60, lanes=2, collect=5, log_every=10,
            eval_episodes=0, checkpoint_every=20, out=out, resume=resume,
        )  # fmt: skip

    whole = train(folder / "whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "write", Run.write)
        stopped.stop_at(30, signal.SIGTERM)
        with pytest.raises(Interrupted):
            train(folder / "run")
    assert train(folder / "run", resume=True).digest == whole.digest
    assert (folder / "run" / "metrics.jsonl").read_text() == (folder / "whole" / "metrics.jsonl").read_text()

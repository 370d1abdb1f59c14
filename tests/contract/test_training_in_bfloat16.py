"""Training in bfloat16: every promise of training holds, and the artifact acts in float32."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from problems import small

from headstart import api
from headstart.envs.collect import collect, to_dataset
from headstart.envs.controllers import Scripted
from headstart.errors import UsageError
from headstart.train.run import Run, read_log

pytestmark = pytest.mark.usefixtures("quick_compilation")

ENV = "headstart/chain?n=5&continuous=1&steps=20"
ALGORITHM = dataclasses.replace(small("calql", gradient_samples=2), actor_widths=(64,), critic_widths=(64,))
LOW = {"precision": "bfloat16", "eval_episodes": 0, "log_every": 4}


@pytest.fixture(scope="module")
def data():
    return to_dataset(collect(Scripted("random"), ENV, episodes=20, seed=0), ENV, ())


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    return api.pretrain(ALGORITHM, data, steps=12, out=tmp_path_factory.mktemp("bfloat16") / "run", **LOW)


def test_the_artifact_holds_float32_and_acts_in_it(data, trained, tmp_path):
    again = api.Artifact.load(trained.save(tmp_path / "artifact"))
    assert again.digests == trained.digests
    assert again.settings["precision"] == "bfloat16"
    assert {leaf.dtype.name for leaf in again.arrays()["weights"].values()} <= {"float32", "int32"}
    exact = api.pretrain(ALGORITHM, data, steps=12, **LOW | {"precision": "float32"})
    assert exact.digest != trained.digest
    actor = again.member(0).state.nets["actor"].trunk
    observation = data.observations[:7].astype(np.float64)
    hidden = np.maximum(observation @ actor.hidden[0].weight[0] + actor.hidden[0].bias[0], 0.0)
    mean = np.split(hidden @ actor.output.weight[0] + actor.output.bias[0], 2, -1)[0]
    np.testing.assert_allclose(again.policy(data.observations[:7]), np.tanh(mean), rtol=1e-5, atol=1e-6)


def test_a_run_that_stopped_goes_on_bit_for_bit(data, trained, tmp_path, monkeypatch):
    write = Run.write

    def stopping(self, log, lines):
        write(self, log, lines)
        if log == "metrics" and lines[0]["step"] == 8:
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "write", stopping)
    with pytest.raises(KeyboardInterrupt):
        api.pretrain(ALGORITHM, data, steps=12, out=tmp_path / "run", checkpoint_every=4, **LOW)
    monkeypatch.undo()
    with pytest.raises(UsageError, match="precision"):
        api.pretrain(
            ALGORITHM, data, steps=12, out=tmp_path / "run", checkpoint_every=4, resume=True,
            **LOW | {"precision": "float32"},
        )  # fmt: skip
    done = api.pretrain(ALGORITHM, data, steps=12, out=tmp_path / "run", checkpoint_every=4, resume=True, **LOW)
    assert done.digests == trained.digests


def test_finetuning_chooses_for_itself(data, trained, tmp_path):
    online = {"env": ENV, "data": data, "steps": 20, "out": tmp_path / "run"}
    after = api.finetune(trained, **online, **LOW)
    assert after.settings["precision"] == "bfloat16"
    assert all(np.isfinite(v) for line in read_log(tmp_path / "run", "metrics") for v in line.values() if v != "online")
    exact = api.finetune(trained, data=data, steps=4, eval_episodes=0)
    assert exact.settings["precision"] == "float32"

"""Sinks: what they get, that a resumed run goes on with the same one, and that their failures are theirs alone."""

from __future__ import annotations

import importlib.util
import json
import struct
from pathlib import Path

import pytest

from headstart.errors import UsageError
from headstart.train import sinks
from headstart.train.run import Run

CONFIG = {"phase": "online", "algorithm": {"name": "iql", "config": {"tau": 0.005}}, "options": {}, "settings": {},
          "seeds": [3, 4], "data": None, "source": None}  # fmt: skip


def installed(package):
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"{package} is not installed")


def step(run, number):
    run.metrics("online", number, [{"loss": 1.0 * number}, {"loss": 3.0 * number}], (3, 4))
    run.write("timing", [{"phase": "online", "step": number, "seconds": 2.0, "rate": number / 2}])


class Kept:
    def __init__(self, fails_at=None):
        self.calls, self.closed, self.fails_at = [], 0, fails_at

    def log(self, step, values):
        if step == self.fails_at:
            raise ConnectionError("no route\nto the service")
        self.calls.append((step, dict(values)))

    def close(self):
        self.closed += 1


def test_an_object_gets_means_and_seeds_and_is_closed(tmp_path):
    kept = Kept()
    for folder in (tmp_path / "run", None):
        run = Run(folder, CONFIG, sinks=[kept])
        step(run, 10)
        run.write(
            "episodes",
            [{"phase": "online", "step": 10, "training_seed": seed, "seed": episode, "return": float(episode),
              "length": 5, "success": None} for seed in (3, 4) for episode in (0, 1)],
        )  # fmt: skip
        run.close()
        run.close()
    assert kept.closed == 2
    assert kept.calls[:3] == kept.calls[3:]
    assert kept.calls[:3] == [
        (10, {"online/loss": 20.0, "online/loss/seed_3": 10.0, "online/loss/seed_4": 30.0}),
        (10, {"online/seconds": 2.0, "online/rate": 5.0}),
        (10, {"online/return": 0.5, "online/return/seed_3": 0.5, "online/return/seed_4": 0.5, "online/length": 5.0,
              "online/length/seed_3": 5.0, "online/length/seed_4": 5.0}),
    ]  # fmt: skip


def test_a_failing_sink_is_told_once_and_left_while_files_and_other_sinks_go_on(tmp_path, capsys):
    broken, whole = Kept(fails_at=20), Kept()
    run = Run(tmp_path / "run", CONFIG, sinks=[broken, whole])
    for number in (10, 20, 30):
        step(run, number)
    run.close()
    said = capsys.readouterr().err
    assert said == (
        "the sink Kept failed and gets no more of this run, whose own files are whole: ConnectionError: no route\n"
    )
    assert [number for number, _ in broken.calls] == [10, 10]
    assert [number for number, _ in whole.calls] == [10, 10, 20, 20, 30, 30]
    assert (broken.closed, whole.closed) == (0, 1)
    assert [line["step"] for line in run.read("metrics")] == [10, 10, 20, 20, 30, 30]


def test_a_sink_that_cannot_be_made_is_left_too(tmp_path, monkeypatch, capsys):
    def make(folder, config, first):
        raise RuntimeError("not logged in")

    monkeypatch.setitem(sinks.SINKS, "wandb", (make, "json"))
    run = Run(tmp_path / "run", CONFIG, sinks=["wandb"])
    step(run, 10)
    step(run, 20)
    assert capsys.readouterr().err.count("the sink wandb failed") == 1
    assert len(run.read("metrics")) == 4


def test_what_is_unknown_or_missing_is_said_before_the_run(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="unknown sink 'tensorbord'; did you mean 'tensorboard'?"):
        sinks.require(["tensorbord"], tmp_path)
    monkeypatch.setitem(sinks.SINKS, "mlflow", (sinks.MLflow, "absent_package"))
    with pytest.raises(UsageError, match=r"mlflow needs absent_package; try `pip install \S*\[mlflow\]'?`"):
        sinks.require(["mlflow"], tmp_path)
    monkeypatch.setitem(sinks.SINKS, "wandb", (sinks.WandB, "json"))
    with pytest.raises(UsageError, match="wandb needs the folder of the run"):
        sinks.require(["wandb"], None)
    sinks.require([Kept()], None)


def test_every_sink_has_an_extra():
    import tomllib

    extras = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert sinks.SINKS.keys() <= extras["optional-dependencies"].keys()


def events(folder):
    """Every event in the folder's files, in order: a record is its length, a checksum, the bytes, a checksum."""
    from tensorboardX.proto.event_pb2 import Event

    for file in sorted(folder.glob("events.*")):
        content = file.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            yield Event.FromString(content[12 : 12 + length])
            content = content[12 + length + 4 :]


@installed("tensorboardX")
def test_tensorboard_reads_back_what_was_logged(tmp_path):
    run = Run(tmp_path / "run", CONFIG, sinks=["tensorboard"])
    for number in (10, 20):
        step(run, number)
    run.close()
    found, config = [], None
    for event in events(tmp_path / "run" / "tensorboard"):
        for value in event.summary.value:
            if value.HasField("simple_value"):
                found.append((event.step, value.tag, value.simple_value))
            else:
                config = value.tensor.string_val[0].decode()
    assert found == [
        (number, f"online/{name}", value * number)
        for number in (10, 20)
        for name, value in (("loss", 2.0), ("loss/seed_3", 1.0), ("loss/seed_4", 3.0), ("seconds", 2.0 / number),
                            ("rate", 0.5))
    ]  # fmt: skip
    assert json.loads(config.strip("`json\n")) == CONFIG


@installed("tensorboardX")
def test_tensorboard_goes_on_where_the_resumed_run_does(tmp_path):
    from tensorboardX.proto.event_pb2 import SessionLog

    run = Run(tmp_path / "run", CONFIG, sinks=["tensorboard"])
    for number in (10, 20):
        step(run, number)
    run.close()
    # Goes on from a checkpoint at step 10.
    run = Run(tmp_path / "run", CONFIG, resume=True, sinks=["tensorboard"])
    step(run, 20)
    run.close()
    purged = [event.step for event in events(tmp_path / "run" / "tensorboard")
              if event.session_log.status == SessionLog.START]  # fmt: skip
    assert purged[-1] == 20


@installed("wandb")
def test_wandb_offline_keeps_its_run(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for resume in (False, True):
        run = Run(tmp_path / "run", CONFIG, resume, sinks=["wandb"])
        step(run, 20 if resume else 10)
        run.close()
    (name,) = json.loads((tmp_path / "run" / "sinks.json").read_text()).values()
    files = list((tmp_path / "run" / "wandb").rglob("*.wandb"))
    assert {file.name for file in files} == {f"run-{name}.wandb"}
    content = b"".join(file.read_bytes() for file in files)
    assert b"online/loss/seed_4" in content
    assert b"algorithm" in content


@installed("mlflow")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_mlflow_keeps_its_run(tmp_path, monkeypatch):
    from mlflow import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for resume in (False, True):
        run = Run(tmp_path / "run", CONFIG, resume, sinks=["mlflow"])
        step(run, 20 if resume else 10)
        run.close()
    (name,) = json.loads((tmp_path / "run" / "sinks.json").read_text()).values()
    client = MlflowClient(f"sqlite:///{tmp_path / 'run' / 'mlflow.db'}")
    found = client.get_run(name)
    assert found.info.status == "FINISHED"
    assert found.data.params["algorithm.config.tau"] == "0.005"
    history = client.get_metric_history(name, "online/loss")
    assert [(point.step, point.value) for point in history] == [(10, 20.0), (20, 40.0)]

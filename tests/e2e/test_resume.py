"""A run that was killed and resumed is the run that was not, byte for byte."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import stopped

from headstart import api
from headstart.algos import registry
from headstart.artifact import Artifact
from headstart.envs import factory
from headstart.errors import UsageError
from headstart.train.loop import Interrupted
from headstart.train.run import Run, read_log

pytestmark = pytest.mark.usefixtures("quick_compilation")
SOURCE = Path(__file__).parents[2] / "src"


@pytest.fixture(scope="module")
def whole(tmp_path_factory, quick_compilation):
    """Both runs, never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    stopped.pretrain(folder / "pretrain")
    stopped.finetune(folder / "finetune", folder / "pretrain")
    return folder


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    return os.environ.get("JAX_COMPILATION_CACHE_DIR") or str(tmp_path_factory.mktemp("compiled"))


def run(compiled, *arguments):
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": compiled,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "true",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(SOURCE),
    }
    command = [sys.executable, stopped.__file__, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def require_same(folder, other):
    for log in ("metrics", "episodes"):
        assert (folder / f"{log}.jsonl").read_bytes() == (other / f"{log}.jsonl").read_bytes()
    mine, theirs = Artifact.load(folder), Artifact.load(other)
    assert mine.digests == theirs.digests
    assert mine.evaluation == theirs.evaluation
    names = [sorted(path.name for path in each.iterdir()) for each in (folder, other)]
    assert names[0] == names[1] == ["artifact", "config.json", "episodes.jsonl", "metrics.jsonl", "timing.jsonl"]


@pytest.mark.parametrize("verb", ["pretrain", "finetune"])
def test_killed_stopped_and_resumed(verb, whole, compiled, tmp_path):
    out, source = tmp_path / "run", whole / "pretrain"
    killed = run(compiled, verb, out, source, "SIGKILL", 60, 0)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (out / "artifact").exists()

    asked = run(compiled, verb, out, source, "SIGTERM", 90, 1)
    assert asked.returncode == 128 + signal.SIGTERM, asked.stderr
    *_, saving, last = asked.stderr.splitlines()
    assert saving == "stopping: saving a checkpoint (Ctrl-C again stops at once)"
    step = max(int(path.name) for path in (out / "checkpoints").iterdir())
    assert last == f"stopped at step {step}; go on with the same command and --resume ({out})"
    assert 90 <= step < 130

    done = run(compiled, verb, out, source, "none", 0, 1)
    assert done.returncode == 0, done.stderr
    require_same(out, whole / verb)


def test_a_complete_run_is_not_run_again(whole, monkeypatch, capsys):
    monkeypatch.setattr("headstart.train.offline.train", None)
    again = stopped.pretrain(whole / "pretrain", resume=True)
    assert again.digest == Artifact.load(whole / "pretrain").digest
    assert capsys.readouterr().err == f"{whole / 'pretrain'}: this run is complete, nothing was left to do\n"
    monkeypatch.setattr(stopped, "WRITING", stopped.WRITING | {"log_every": 31})
    with pytest.raises(UsageError, match="was started with log_every = 30, now it is 31"):
        stopped.pretrain(whole / "pretrain", resume=True)


@pytest.mark.parametrize("verb", ["pretrain", "finetune"])
def test_stopped_after_the_last_step(verb, whole, tmp_path, monkeypatch):
    """All is trained and evaluated, but the artifact was not written yet."""

    def refuse(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Artifact, "save", refuse)
        with pytest.raises(KeyboardInterrupt):
            getattr(stopped, verb)(tmp_path / "run", whole / "pretrain")
    getattr(stopped, verb)(tmp_path / "run", whole / "pretrain", resume=True)
    require_same(tmp_path / "run", whole / verb)


# -- environments -------------------------------------------------------------------------------------------------


def interrupted(env, out, step, steps=60, name="sac", **settings):
    """Finetuning from scratch in `env`, stopped after the metrics of `step`; and the same with resume."""
    algorithm = registry.algorithm(name, actor_widths=(8,), critic_widths=(8,), batch_size=16, **settings)

    def train(folder, resume=False):
        return api.finetune(
            None, algorithm=algorithm, env=env, steps=steps, lanes=2, log_every=10, eval_every=30, eval_episodes=1,
            checkpoint_every=20, out=folder, resume=resume,
        )  # fmt: skip

    whole = train(out / "whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "write", Run.write)
        stopped.stop_at(step, signal.SIGTERM)
        with pytest.raises(Interrupted):
            train(out / "run")
    return whole, train(out / "run", resume=True)


@pytest.mark.parametrize("env", ["PointMaze_UMaze-v3", "AdroitHandDoor-v1"])
def test_episodes_in_mujoco_are_brought_back_bit_for_bit(env, tmp_path, capsys):
    try:
        factory.make(env).close()
    except UsageError as error:
        pytest.skip(str(error))
    whole, resumed = interrupted(env, tmp_path, 40)
    assert resumed.digests == whole.digests
    require_same(tmp_path / "run", tmp_path / "whole")
    assert "could not be brought back" not in capsys.readouterr().err


def test_chunks_under_way_are_finished_bit_for_bit(tmp_path):
    """The run stops in the middle of chunks that were decided on before the last updates; lanes are at odds."""
    env = "headstart/chain?n=5&continuous=1&slip=0.3&steps=13"
    whole, resumed = interrupted(env, tmp_path, 40, name="qc", chunk=4, best_of=3, flow_steps=2)
    assert resumed.digests == whole.digests
    require_same(tmp_path / "run", tmp_path / "whole")


class Moody(gymnasium.Env):
    """No seed reaches it: each episode starts from the number of episodes that were played before."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
    played = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        Moody.played += 1
        return np.full(1, Moody.played, np.float32), {}

    def step(self, action):
        return np.full(1, Moody.played, np.float32), 1.0, False, False, {}


def test_an_environment_that_does_not_come_back_is_named_and_the_run_goes_on(tmp_path, capsys):
    gymnasium.register("tests/Moody-v0", Moody, max_episode_steps=13)
    try:
        _, resumed = interrupted("tests/Moody-v0", tmp_path, 40)
    finally:
        del gymnasium.registry["tests/Moody-v0"]
    said = capsys.readouterr().err
    assert said.count("tests/Moody-v0: the running episode could not be brought back") == 2  # one a lane
    assert "it counts as cut off and the run goes on, but not bit for bit" in said
    assert resumed.steps == 60
    assert [line["step"] for line in read_log(tmp_path / "run", "metrics")] == [20, 40, 60]

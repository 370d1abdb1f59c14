"""Every wrong input gives an error of a line or two that names the culprit, and leaves alone what was there."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import h5py
import jax
import numpy as np
import pytest

import headstart as hs
from headstart.algos.bc import BC
from headstart.algos.cql import CalQL

ENV = "headstart/chain?n=5&continuous=1&steps=20"
ROWS = 64
BC_SMALL = ("--actor-widths", "16", "--batch-size", "16")

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture
def fails(headstart):
    """fails(code, arguments, parts of the message): the command fails with one line on standard error."""

    def check(code: int, args: str | list, *parts: str) -> str:
        found, out, err = headstart(*(args.split() if isinstance(args, str) else args))
        assert (found, out) == (code, ""), err
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert len(err) < 320
        for part in parts:
            assert part in err
        return err

    return check


def columns(**changes) -> dict[str, np.ndarray]:
    """Four episodes of 16 steps on five numbers and one action; None leaves a column out."""
    made = {
        "observations": np.random.default_rng(0).normal(size=(ROWS, 5)).astype(np.float32),
        "actions": np.zeros((ROWS, 1), np.float32),
        "rewards": np.zeros(ROWS, np.float32),
        "terminals": np.arange(ROWS) % 16 == 15,
    } | changes
    return {name: column for name, column in made.items() if column is not None}


def write_npz(name: str, **changes) -> str:
    np.savez(name, **columns(**changes))
    return f"arrays:{name}"


def save_model(folder: str, algorithm, seeds=(0,), env: str | None = ENV) -> Path:
    """An artifact with fresh weights for `ENV`; nothing is trained."""
    from headstart.data.normalize import Normalizer
    from headstart.envs import factory

    spec = factory.spec(ENV)
    shapes = jax.eval_shape(lambda key: algorithm.init(key, spec), jax.random.key(0))
    rng = np.random.default_rng(0)
    state = jax.tree.map(lambda leaf: rng.normal(size=(len(seeds), *leaf.shape)).astype(leaf.dtype), shapes)
    model = hs.Artifact(algorithm, spec, state, Normalizer.of(spec), seeds, settings={"env": env})
    return model.save(folder)


@pytest.fixture
def model(headstart):
    return save_model("model", CalQL(actor_widths=(16,), critic_widths=(16,), batch_size=16))


# -- data ---------------------------------------------------------------------------------------------------------


def test_data_that_is_absent_or_of_another_layout(fails):
    fails(1, "data inspect d4rl:absent.hdf5", "absent.hdf5 does not exist", "HDF5 file in the D4RL layout")
    fails(1, "pretrain bc --data arrays:absent.npz --steps 3 --out r", "absent.npz does not exist")
    fails(2, "data inspect nosuch:thing", "unknown data format 'nosuch'", "arrays, d4rl, minari, ogbench")
    fails(2, "data inspect thing.npz", "names no format", "arrays")
    source = write_npz("states.npz", observations=None, qpos=np.zeros((ROWS, 5)))
    fails(2, f"data inspect {source}", "states.npz", "'qpos'", "observations")
    with h5py.File("other.hdf5", "w") as file:
        file["states"] = np.zeros((ROWS, 5))
    fails(1, "data inspect d4rl:other.hdf5", "other.hdf5", "observations")
    Path("noise.npz").write_bytes(np.random.default_rng(0).bytes(4096))
    fails(1, "data inspect arrays:noise.npz", "noise.npz is not a readable .npz file")
    fails(1, "data inspect ogbench:noise.npz", "noise.npz is not a readable .npz file")
    source = write_npz("short.npz", actions=np.zeros((ROWS - 5, 1), np.float32))
    fails(1, f"data inspect {source}", "short.npz: actions has 59 rows, observations has 64")


def test_truncated_hdf5(fails):
    with h5py.File("door.hdf5", "w") as file:
        for name, column in columns().items():
            file[name] = column
    whole = Path("door.hdf5").read_bytes()
    Path("door.hdf5").write_bytes(whole[: len(whole) // 2])
    fails(1, "pretrain bc --data d4rl:door.hdf5 --steps 3 --out r", "door.hdf5 is not readable HDF5", "cut short")


@pytest.mark.parametrize("name", ["observations", "actions", "rewards"])
def test_nan_in_data(name, fails):
    column = columns()[name]
    column[37] = np.nan
    source = write_npz("bad.npz", **{name: column})
    fails(
        1,
        f"pretrain calql --data {source} --steps 3 --out r",
        f"bad.npz: {name} holds NaN",
        "episode 2, step 5",
        "inspect",
    )
    assert not Path("r").exists()


def test_data_that_does_not_fit_the_algorithm(fails):
    whole = write_npz("whole.npz")
    discrete = write_npz("discrete.npz", actions=np.arange(ROWS) % 3)
    fails(2, f"pretrain discrete_cql --data {whole} --steps 3 --out r", "discrete_cql needs discrete", "calql")
    fails(2, f"pretrain calql --data {discrete} --steps 3 --out r", "calql needs continuous", "3 choices", "bc")
    passive = write_npz("passive.npz", rewards=None)
    fails(2, f"pretrain calql --data {passive} --steps 3 --out r", "passive.npz holds no rewards", "imitates")
    mute = write_npz("mute.npz", actions=None)
    said = fails(2, f"pretrain bc --data {mute} --steps 3 --out r", "mute.npz holds no actions", "use data that has")
    assert "algorithm that" not in said
    wide = write_npz("wide.npz", rewards=np.zeros((ROWS, 2), np.float32))
    fails(1, f"pretrain calql --data {wide} --steps 3 --out r", "rewards has rows of shape (2,), expected one number")
    assert not Path("r").exists()


def test_data_that_disagrees_with_the_environment(fails, model):
    whole = write_npz("whole.npz")
    start = ("pretrain", "bc", "--data", whole, "--steps", "3", "--out", "r", "--env")
    fails(2, [*start, "headstart/chain?n=7&continuous=1"], "observation differs", "whole.npz", "(5,)", "n=7", "(7,)")
    fails(2, [*start, "headstart/chain?n=5"], "actions differ", "float32[1]", "2 choices")
    fails(2, ["evaluate", model, "--env", "headstart/chain?n=7&continuous=1"], "(5,)", "(7,)", "n=7")
    discrete = write_npz("discrete.npz", actions=np.arange(ROWS) % 3)
    fails(2, ["finetune", model, "--data", discrete, "--steps", "3", "--out", "r"], "actions differ", "3 choices")
    assert not Path("r").exists()


# -- names and flags ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        ("pretrian bc", ["unknown verb 'pretrian'", "'pretrain'"]),
        ("pretrain calqll --data arrays:x.npz", ["unknown algorithm 'calqll'", "did you mean 'calql'?"]),
        ("pretrain", ["expected an algorithm first", "calql"]),
        ("pretrain --steps 3 calql", ["expected an algorithm first", "--steps"]),
        ("run nosuchrecipe", ["unknown recipe 'nosuchrecipe'", "quickstart"]),
        ("run quickstrat --out x", ["did you mean 'quickstart'?"]),
        ("list algorithm", ["unknown kind 'algorithm'", "'algorithms'"]),
        ("list algorithms calql", ["takes no more arguments", "calql"]),
        ("data inspct", ["unknown verb 'inspct'", "'inspect'"]),
        ("data inspect", ["missing SOURCE"]),
        ("pretrain bc", ["missing --data STR, --out PATH, --steps INT", "pretrain bc --help"]),
        ("pretrain bc --data x --out r --steps minus", ["--steps", "expected a whole number, found 'minus'"]),
        ("pretrain bc --data x --out r --steps 1e5", ["--steps", "expected a whole number, found '1e5'"]),
        ("pretrain bc --data x --out r --steps 3 --actor-lr low", ["--actor-lr", "expected a number, found 'low'"]),
        ("pretrain bc --data x --out r --steps 3 --actor-widths 16 wide", ["--actor-widths", "'wide'"]),
        ("pretrain bc --data x --out r --steps 3 --policy-kind gauss", ["--policy-kind", "gauss", "tanh_gaussian"]),
        ("pretrain bc --data x --out r --stepz 3", ["unknown option", "'--stepz'", "did you mean '--steps'?"]),
        ("pretrain bc --data x --out r --steps 3 --wieght 1", ["unknown option", "'--wieght'"]),
        ("pretrain bc --data x --out r --steps 3 --steps 4", ["--steps is given twice"]),
        ("pretrain bc --data x --out r --steps 3 more", ["more"]),
        ("pretrain bc --data x --out r --steps", ["--steps"]),
        ("pretrain bc --data x --out r --steps 0", ["error: --steps: expected at least 1, found 0"]),
        ("pretrain bc --data x --out r --steps 3 --log-every -1", ["error: --log-every: expected at least 0"]),
        ("pretrain bc --data x --out r --steps 3 --dropout 0.5", ["dropout", "gaussian"]),
        ("pretrain bc --data x --out r --steps 3 --batch-size 0", ["error: --batch-size: expected at least 1"]),
        ("pretrain iql --data x --out r --steps 3 --critic-widths 16 0", ["--critic-widths: expected at least 1"]),
        ("pretrain cql --data x --out r --steps 3 --critics 0", ["--critics: expected at least 1"]),
        ("pretrain sac --data x --out r --steps 3 --discount 1.5", ["--discount: expected at most 1"]),
        ("pretrain td3bc --data x --out r --steps 3 --critic-lr -1", ["error: --critic-lr: expected at least 0"]),
        ("finetune scratch --env e --steps 3 --out r", ["--algo"]),
        ("pretrain bc --data x --out r --steps 3 --sink tensorbord", ["unknown sink 'tensorbord'", "'tensorboard'"]),
        ("run quickstart --out r --sink tensorbord", ["unknown sink 'tensorbord'"]),
        ("finetune x --steps 3 --out r --env e --weight 3", ["--weight is a field of algorithms", "--set weight="]),
        ("finetune x --steps 3 --out r --data d --warmup 3", ["--warmup", "--env", "does not apply"]),
        ("finetune x --steps 3 --out r --env e --data-on host", ["--data-on", "--data alone", "does not apply"]),
        ("finetune x --steps 3 --out r --env e --set weight", ["--set", "NAME=VALUE", "'weight'"]),
        ("finetune x --steps 3 --out r --env e --set a=1 a=2", ["--set", "a is given twice"]),
        ("finetune x --steps 3 --out r --env e --lanes 0", ["error: --lanes: expected at least 1"]),
        ("finetune x --steps 3 --out r --env e --offline-share 2", ["--offline-share: expected at most 1"]),
    ],
)  # fmt: skip
def test_what_is_unknown_missing_or_of_another_type(args, parts, fails):
    fails(2, args, *parts)


def test_environments_and_their_arguments(fails, model):
    fails(
        2, ["evaluate", model, "--env", "headstart/chian"], "unknown environment 'headstart/chian'", "'headstart/chain'"
    )
    fails(2, ["evaluate", model, "--env", "headstart/chain?length=5"], "'length'", "headstart/chain", "slip")
    fails(2, ["evaluate", model, "--env", "headstart/chain?continous=1"], "did you mean 'continuous'?")
    fails(2, ["evaluate", model, "--env", f"{ENV}&repeat=0"], "repeat", "at least 1")
    fails(2, ["evaluate", model, "--env", "Pendulum-v1?reapet=5"], "unknown argument", "did you mean 'repeat'?")
    fails(2, ["evaluate", model, "--prompt", "gaol"], "invalid choice 'gaol'", "Expected one of ('goal')")
    fails(2, ["evaluate", model, "--episodes", "0"], "an evaluation needs at least one episode, found 0 (--episodes)")
    nowhere = save_model("nowhere", CalQL(actor_widths=(16,), critic_widths=(16,), batch_size=16), env=None)
    fails(2, ["evaluate", nowhere], "names no environment; say which one (--env)")
    collect = ("data", "collect", "--env", ENV, "--out", "x", "--controller")
    fails(2, [*collect, "randm"], "unknown controller 'randm'", "did you mean 'random'?")
    fails(2, [*collect, "json:loads"], "controller 'json:loads' cannot be made for an environment")
    fails(2, [*collect, "builtins:id"], "controller 'builtins:id' makes a int, which has no reset()")
    fails(2, [*collect, "random", "--lanes", "0"], "at least one environment")
    fails(2, ["data", "collect", "--env", ENV, "--out", "x"], "--controller NAME or --artifact FOLDER")


def test_finetuning_that_does_not_fit(fails, model):
    start = ("finetune", model, "--steps", "3", "--out", "r", "--env", ENV)
    fails(2, ["finetune", model, "--steps", "3", "--out", "r"], "environment (--env)", "data")
    fails(2, [*start, "--set", "weigth=1"], "unknown field of CQL 'weigth'", "did you mean 'weight'?")
    fails(2, [*start, "--set", "weight=high"], "error: --set weight: expected float, found 'high'")
    fails(2, [*start, "--algo", "sacc"], "unknown algorithm 'sacc'", "did you mean 'sac'?")
    fails(2, [*start, "--freeze", "actr"], "component to freeze 'actr'", "did you mean 'actor'?")
    fails(2, [*start, "--normalizer", "extend"], "extend", "needs an artifact and data")
    fails(2, [*start, "--offline-share", "1"], "offline data is asked for in batches (--offline-share)")
    fails(2, [*start, "--eval-episodes", "-1"], "at least 0 episodes (--eval-episodes)")
    fails(2, [*start, "--eval-env", ENV], "(--env); another place (--eval-env) is for data alone")
    assert not Path("r").exists()


# -- artifacts ----------------------------------------------------------------------------------------------------


def test_artifacts_that_are_absent(fails):
    Path("empty").mkdir()
    fails(1, ["evaluate", "absent", "--env", ENV], "absent does not exist", "artifact.json")
    fails(1, ["evaluate", "empty", "--env", ENV], "empty is empty", "artifact.json")
    fails(1, ["finetune", "empty", "--env", ENV, "--steps", "3", "--out", "r"], "empty is empty")


def test_an_artifact_of_a_newer_format(fails, model):
    manifest = json.loads((model / "artifact.json").read_text())
    manifest |= {"format": 7, "versions": {"headstart": "9.9.0"}}
    (model / "artifact.json").write_text(json.dumps(manifest))
    fails(1, ["evaluate", model], "artifact.json has format 7", "headstart 9.9.0", "upgrade headstart")


@pytest.mark.parametrize("damage", ["cut short", "changed"])
def test_a_damaged_weight_file(damage, fails, model):
    file = model / "weights.safetensors"
    content = file.read_bytes()
    # The last bytes are those of an array.
    file.write_bytes(content[:-100] if damage == "cut short" else content[:-1] + bytes([content[-1] ^ 1]))
    fails(1, ["evaluate", model], "weights.safetensors", damage)


# -- runs ---------------------------------------------------------------------------------------------------------


def test_nothing_is_overwritten(fails, model):
    source = write_npz("whole.npz")
    Path("run").mkdir()
    Path("run/notes.txt").write_text("mine")
    fails(2, f"pretrain bc --data {source} --steps 3 --out run {' '.join(BC_SMALL)}", "run exists and is not empty")
    assert [file.name for file in Path("run").iterdir()] == ["notes.txt"]
    fails(2, f"pretrain bc --data {source} --steps 3 --out whole.npz {' '.join(BC_SMALL)}", "whole.npz exists")
    fails(2, ["evaluate", model, "--json", "whole.npz"], "whole.npz exists")
    fails(2, ["data", "convert", source, "arrays:run"], "run already exists")
    # Told before anything is loaded.
    fails(2, "pretrain bc --data arrays:absent.npz --steps 3 --out run", "run exists and is not empty")
    again = ["finetune", model, "--data", "arrays:absent.npz", "--steps", "3", "--out", "run"]
    fails(2, again, "run exists and is not empty")


def test_where_nothing_began_there_is_nothing_to_resume(fails):
    hint = "leave --resume (resume=True) out"
    fails(2, "pretrain bc --data arrays:absent.npz --steps 3 --out r --resume", "nothing to resume in r", hint)
    fails(2, "run quickstart --out r --resume", "nothing to resume in r", "leave --resume out")
    assert not Path("r").exists()


def test_a_loss_that_turns_nan_keeps_the_last_good_checkpoint(headstart):
    import orbax.checkpoint as ocp

    source = write_npz("whole.npz")
    args = ("pretrain", "bc", "--data", source, "--out", "r", *BC_SMALL, "--actor-lr", "1e30", "--steps", "20",
            "--log-every", "10", "--checkpoint-every", "1")  # fmt: skip
    code, out, err = headstart(*args)
    assert (code, out) == (1, "")
    assert "turned NaN or infinite" in err
    assert "checkpoint of step " in err
    assert err.count("\n") == 1
    step = int(err.partition("checkpoint of step ")[2].split()[0])
    with ocp.CheckpointManager(Path("r/checkpoints").absolute()) as manager:
        assert manager.latest_step() == step
        kept = manager.restore(step, args=ocp.args.Composite(arrays=ocp.args.StandardRestore()))["arrays"]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(kept))
    assert not Path("r/artifact").exists()


@contextlib.contextmanager
def full_disk(size: int):
    """No file grows beyond `size` bytes: what a full disk does to a program, without filling one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)


# Orbax's writer gives up while parts of it still write.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("checkpoints", [0, 1])
def test_a_full_disk(checkpoints, headstart, caplog):
    source = write_npz("whole.npz")
    args = ("pretrain", "bc", "--data", source, "--steps", "3", *BC_SMALL, "--checkpoint-every", checkpoints)
    before = save_model("good", BC(actor_widths=(16,), batch_size=16))
    kept = {file.name: file.read_bytes() for file in before.iterdir()}
    threads = threading.active_count()
    with full_disk(2000):
        code, out, err = headstart(*args, "--out", "r")
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert "cannot" in err
    assert "File too large" in err
    assert caplog.records == []
    assert err.count("\n") == 1
    assert not Path("r/artifact").exists()
    assert [file.name for file in Path("r").iterdir() if file.name.startswith(".")] == []
    assert {file.name: file.read_bytes() for file in before.iterdir()} == kept
    assert threading.active_count() <= threads + 1
    # With room again the same command and --resume go on.
    assert headstart(*args, "--out", "r", "--resume")[0] == 0
    assert hs.Artifact.load("r").steps == 3


def test_plain_failures_of_the_system(headstart, monkeypatch):
    def verb(error):
        def main(args):
            raise error

        monkeypatch.setattr("headstart.cli.list.main", main)
        return headstart("list")

    assert verb(OSError(28, "No space left on device", "r/x")) == (1, "", "error: r/x: No space left on device\n")
    assert verb(OSError("no reason given")) == (1, "", "error: no reason given\n")
    assert verb(KeyboardInterrupt()) == (130, "", "interrupted\n")


def test_debug_shows_where_an_error_comes_from(tmp_path):
    command = [sys.executable, "-m", "headstart", "data", "inspect", "d4rl:absent.hdf5"]
    plain = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=os.environ)
    assert plain.returncode == 1
    assert plain.stderr.splitlines() == ["error: absent.hdf5 does not exist; expected an HDF5 file in the D4RL layout"]
    debug = subprocess.run([*command, "--debug"], capture_output=True, text=True, cwd=tmp_path, env=os.environ)
    assert debug.returncode == 1
    assert debug.stderr.startswith("Traceback")
    assert "absent.hdf5 does not exist" in debug.stderr.splitlines()[-1]

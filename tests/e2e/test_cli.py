"""The command line end to end, on a chain of five states."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest

import headstart as hs
from headstart.algos.registry import ALGORITHMS
from headstart.cli import parse
from headstart.cli.cache import keep_compiled_programs
from headstart.cli.main import main
from headstart.cli.run import recipe
from headstart.recipes import RECIPES
from headstart.train.options import OfflineOptions
from headstart.train.run import read_log

ENV = "headstart/chain?n=5&continuous=1&steps=20"
SMALL = ("--actor-widths", "16", "--critic-widths", "16", "--actions", "2", "--batch-size", "16")

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with collected data (`data`) and a pretrained run of two seeds (`run`)."""
    place = tmp_path_factory.mktemp("home")
    data, run = str(place / "data"), str(place / "run")
    assert main(["data", "collect", "--env", ENV, "--out", data, "--controller", "random", "--episodes", "20"]) == 0
    source = f"minari:{data}"
    training = ["--steps", "6", "--log-every", "3", "--env", ENV, "--eval-episodes", "2", "--seeds", "2"]
    assert main(["pretrain", "calql", "--data", source, "--out", run, *training, *SMALL]) == 0
    return place


def lines(folder: Path, log: str, key: str) -> list:
    return [line[key] for line in read_log(folder, log)]


def test_help_names_every_verb_and_version(headstart):
    code, out, _ = headstart("--help")
    assert code == 0
    for verb in ("run", "pretrain", "finetune", "evaluate", "data", "list"):
        assert f"\n  {verb} " in out
    assert headstart()[1] == out
    assert headstart("--version") == (0, f"headstart {hs.__version__}\n", "")


def test_help_of_pretrain_lists_the_algorithms(headstart):
    code, out, _ = headstart("pretrain", "--help")
    assert code == 0
    for name in ("bc", "calql", "cql", "discrete_cql", "iql", "rebrac", "rlpd", "sac", "td3bc"):
        assert f"\n  {name} " in out


@pytest.mark.parametrize("name", ["bc", "calql", "discrete_cql", "iql", "rebrac", "rlpd", "sac", "td3bc"])
def test_help_of_an_algorithm_explains_every_field(name, headstart, monkeypatch):
    from headstart.algos import registry

    # Wider ones may have two boxes side by side.
    monkeypatch.setenv("COLUMNS", "120")
    code, out, _ = headstart("pretrain", name, "--help")
    assert code == 0
    rows = [line.strip("│ ") for line in out.splitlines()]
    fields = registry.fields(name) + list(dataclasses.fields(OfflineOptions))
    for flag in ("--data", "--out", *(f"--{field.name.replace('_', '-')}" for field in fields)):
        at = next(i for i, row in enumerate(rows) if row.split(" ")[0].rstrip(",") == flag)
        # Flag and type, then what it is, then the default: on one row or two.
        about = " ".join(rows[at : at + 2]).split("(")[0].split("  ")
        assert any(len(part.split()) >= 2 for part in about[1:]) or len(rows[at + 1].split()) >= 2, flag


def test_the_collected_data_is_inspected_and_converted(home, headstart):
    code, out, _ = headstart("data", "inspect", f"minari:{home / 'data'}", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["episodes"] == 20
    assert {"bc", "calql", "iql"} <= set(found["algorithms"])
    assert found["online_algorithms"] == ["rlpd", "sac"]
    assert "with finetune --env  " in headstart("data", "inspect", f"minari:{home / 'data'}")[1]
    # Relative folders too, and data comes back as it was.
    assert headstart("data", "convert", f"minari:{home / 'data'}", "minari:copies/one")[0] == 0
    assert headstart("data", "convert", "minari:copies/one", "arrays:copies/two")[0] == 0
    one, two = hs.load(f"minari:{home / 'data'}"), hs.load("arrays:copies/two")
    assert one.digest == two.digest
    np.testing.assert_array_equal(one.observations, two.observations)


def test_a_run_directory_holds_everything(home):
    run = home / "run"
    assert lines(run, "metrics", "step") == [3, 3, 6, 6]
    assert lines(run, "metrics", "seed") == [0, 1, 0, 1]
    assert lines(run, "episodes", "step") == [0] * 4 + [6] * 4
    config = json.loads((run / "config.json").read_text())
    assert config["algorithm"]["config"]["actor_widths"] == [16]
    assert config["settings"]["env"] == ENV
    assert not (run / "checkpoints").exists()
    model = hs.Artifact.load(run)
    assert (model.title, model.steps, model.seeds) == ("calql", 6, (0, 1))
    assert model.lineage == ()


def test_report_of_a_run(home, headstart):
    assert headstart("report", home / "run", "--out", "report", "--title", "A < B") == (
        0,
        "report: report/index.html\n",
        "",
    )
    (row,) = csv.DictReader(Path("report/results.csv").read_text().splitlines())
    last = [line for line in read_log(home / "run", "episodes") if line["step"] == 6]
    assert float(row["after"]) == pytest.approx(np.mean([line["success"] for line in last]))
    page = Path("report/index.html").read_text()
    digests = (
        hs.Artifact.load(home / "run").digest,
        json.loads((home / "run" / "config.json").read_text())["data"]["sha256"],
    )
    for words in ("<h1>A &lt; B</h1>", "algorithm.critic_lr", "training-1-q_policy", *digests):
        assert words in page
    assert Path("report/figures/curves-1.png").read_bytes().startswith(b"\x89PNG")


def test_mistakes_in_a_report_take_a_line(home, headstart):
    shutil.copytree(home / "run", "broken")
    with Path("broken/episodes.jsonl").open("a") as file:
        file.write("{]\n")
    Path("full").mkdir()
    Path("full/thesis.txt").touch()
    for args, code, said in (
        (("--out", "new"), 2, "no run is named"),
        ((home / "data", "--out", "new"), 2, "holds no run"),
        ((home / "run" / "artifact", "--out", "new"), 2, "it is an artifact"),
        (("broken", "--out", "new"), 1, "episodes.jsonl: line 9 is damaged"),
        ((home / "run",), 2, "missing --out"),
        ((home / "run", "--out", "new", "--score", "reward"), 2, "reward"),
        ((home / "run", "--out", "full"), 2, "full exists"),
    ):
        found, out, err = headstart("report", *args)
        assert (found, out, err.count("\n")) == (code, "", 1), err
        assert said in err
    assert not Path("new").exists()


def test_evaluate_prints_a_line_for_each_seed_and_writes_json(home, headstart):
    code, out, _ = headstart("evaluate", home / "run", "--episodes", "3", "--json", "scores.json")
    assert code == 0
    found = json.loads(Path("scores.json").read_text())
    assert [len(member) for member in found["episodes"]] == [3, 3]
    mean = np.mean([[episode["return"] for episode in member] for member in found["episodes"]])
    assert found["returns"][0] == pytest.approx(mean)
    title, *rows = out.splitlines()
    assert title == f"{ENV}, by the likeliest actions"
    assert [row.split("  ")[1].strip() for row in rows] == ["seed 0", "seed 1", "all"]
    assert f"return {mean:.4g} " in rows[-1]
    assert rows[-1].endswith("(3 episodes x 2 seeds)")
    # The same start states give the same scores.
    assert headstart("evaluate", home / "run", "--episodes", "3", "--env", ENV)[1] == out
    code, _, err = headstart("evaluate", home / "run", "--json", "absent/scores.json")
    assert (code, err) == (2, "error: absent, the folder of --json, does not exist; make it or choose another\n")


def test_finetune_online_goes_on_and_resume_of_a_finished_run_changes_nothing(home, headstart):
    args = ("finetune", home / "run", "--env", ENV, "--data", f"minari:{home / 'data'}", "--steps", "20", "--out", "on",
            "--eval-episodes", "2", "--set", "weight=1", "critic_lr=1e-3")  # fmt: skip
    code, out, err = headstart(*args)
    assert (code, err.splitlines()[0].split()) == (0, ["actor", "loaded"])
    assert "artifact: on/artifact" in out
    assert "headstart evaluate on --env 'headstart/chain?n=5&continuous=1&steps=20'" in out
    before, after = hs.Artifact.load(home / "run"), hs.Artifact.load("on")
    assert after.algorithm == dataclasses.replace(before.algorithm, weight=1.0, critic_lr=1e-3)
    # One update a step, on top of the six of pretraining.
    assert after.steps == 26
    assert [entry["digest"] for entry in after.lineage] == [before.digest]
    assert lines(Path("on"), "metrics", "updates") == [20, 20]

    kept = {file: file.read_bytes() for file in Path("on").rglob("*") if file.is_file()}
    code, again, _ = headstart(*args, "--resume")
    assert (code, again) == (0, out)
    assert {file: file.read_bytes() for file in Path("on").rglob("*") if file.is_file()} == kept
    code, _, err = headstart(*args)
    assert code == 2
    assert "on exists" in err
    code, _, err = headstart(*args, "--resume", "--seed", "0", "--warmup", "3")
    assert code == 2
    assert "warmup" in err


def test_finetune_with_another_algorithm(home, headstart):
    small = ("--set", "actor_widths=[16]", "critic_widths=[16]", "batch_size=16")
    code, _, err = headstart("finetune", home / "run", "--env", ENV, "--steps", "20", "--out", "sac", "--algo", "sac",
                             "--eval-episodes", "0", "--freeze", "critic", *small)  # fmt: skip
    rows = [line.split()[:2] for line in err.splitlines()]
    assert code == 0
    assert rows == [["actor", "loaded"], ["critic", "loaded"], ["temperature", "loaded"], ["optimiser", "fresh"]]
    before, after = hs.Artifact.load(home / "run"), hs.Artifact.load("sac")
    assert (after.title, after.steps) == ("sac", 20)
    old, new = before.arrays()["weights"], after.arrays()["weights"]
    moved = {
        path.split("/")[1] for path in new if path.startswith("nets/") and not np.array_equal(old[path], new[path])
    }
    assert moved == {"actor", "temperature"}


def test_finetune_on_data_is_supervised_with_bc(home, headstart):
    code, out, err = headstart("finetune", home / "run", "--data", f"minari:{home / 'data'}", "--steps", "5", "--out",
                               "bc", "--algo", "bc", "--set", "actor_widths=[16]", "batch_size=16")  # fmt: skip
    rows = [line.split()[:2] for line in err.splitlines()]
    assert code == 0
    assert rows == [["actor", "loaded"], ["critic", "unused"], ["temperature", "unused"], ["optimiser", "fresh"]]
    assert (hs.Artifact.load("bc").title, hs.Artifact.load("bc").steps) == ("bc", 5)
    # The environment of the artifact's past suggests itself.
    assert "headstart finetune bc --algo ALGO --env 'headstart/chain" in out


def test_list_names_what_there_is(tiny, headstart):
    everything = headstart("list")[1]
    for kind, name in (
        ("algorithms", "calql"), ("recipes", "tiny"), ("formats", "minari"), ("controllers", "ogbench-maze"),
        ("environments", "headstart/chain"),
    ):  # fmt: skip
        code, out, _ = headstart("list", kind)
        assert code == 0
        assert f"  {name} " in out
        assert out in everything


@dataclasses.dataclass(frozen=True)
class Tiny:
    """Writes how often it was asked to."""

    times: int = 2
    """How often."""
    small: bool = False
    """Less of it."""

    def run(self, out: Path, resume: bool = False, sinks: tuple[str, ...] = ()) -> None:
        out.mkdir(exist_ok=resume)
        (out / "said").write_text(f"{self} {resume} {sinks}")
        print(out / "curves.png")


@pytest.fixture
def tiny(monkeypatch):
    module = types.ModuleType("tiny_recipe")
    module.Tiny = Tiny
    monkeypatch.setitem(sys.modules, "tiny_recipe", module)
    monkeypatch.setitem(RECIPES, "tiny", "tiny_recipe:Tiny")


def test_run_makes_flags_of_a_recipes_fields(tiny, headstart):
    assert headstart("run", "tiny", "--out", "here", "--times", "5", "--small") == (0, "here/curves.png\n", "")
    assert Path("here/said").read_text() == "Tiny(times=5, small=True) False ()"
    assert headstart("run", "tiny", "--out", "here", "--resume")[0] == 0
    assert Path("here/said").read_text() == "Tiny(times=2, small=False) True ()"
    assert re.search(r"\n  tiny +Writes how often it was asked to\n", headstart("run", "--help")[1])
    assert "How often." in headstart("run", "tiny", "--help")[1]


def test_every_recipe_is_a_frozen_dataclass_that_runs():
    for name in RECIPES:
        kind = recipe(name)
        assert kind.__dataclass_params__.frozen
        assert callable(kind.run)
        assert parse.first_line(kind)


def test_compiled_programs_are_kept_where_that_is_possible(tmp_path, monkeypatch):
    def kept(**environment: str) -> str | None:
        for name in ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "XDG_CACHE_HOME"):
            # Set first, so that what the function sets is taken back after the test.
            monkeypatch.setenv(name, environment.get(name, ""))
            if name not in environment:
                monkeypatch.delenv(name)
        keep_compiled_programs()
        return os.environ.get("JAX_COMPILATION_CACHE_DIR")

    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert kept() == str(tmp_path / "home/.cache/headstart/jax")
    assert kept(XDG_CACHE_HOME=str(tmp_path / "xdg")) == str(tmp_path / "xdg/headstart/jax")
    assert (tmp_path / "xdg/headstart/jax").is_dir()
    assert kept(JAX_COMPILATION_CACHE_DIR="elsewhere", XDG_CACHE_HOME=str(tmp_path / "xdg")) == "elsewhere"
    assert kept(JAX_COMPILATION_CACHE_DIR="") == ""
    (tmp_path / "file").write_text("")
    assert kept(XDG_CACHE_HOME=str(tmp_path / "file")) is None


# -- what it costs to ask -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "args", [["--help"], ["pretrain", "calql", "--help"], ["finetune", "--help"], ["run", "--help"]]
)
def test_help_needs_no_jax(args):
    check = (
        "import sys, headstart\n"
        "from headstart.cli.main import main\n"
        f"code = main({args})\n"
        "sys.exit(code or ' '.join({'jax', 'gymnasium', 'minari', 'matplotlib'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage: headstart" in done.stdout


def test_module_and_broken_pipe():
    """`python -m headstart` is the command; a reader that leaves early gets no complaint."""
    started = time.perf_counter()
    command = subprocess.Popen(
        [sys.executable, "-m", "headstart", "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    command.stdout.close()
    _, said = command.communicate()
    assert (command.returncode, said) == (141, b"")
    assert time.perf_counter() - started < 10.0


def test_the_public_names():
    algorithms = {algorithm.__name__ for algorithm in ALGORITHMS.values()}
    assert algorithms <= set(hs.__all__)
    assert len(set(hs.__all__) - algorithms) <= 30
    assert sorted(dir(hs)) == sorted(hs.__all__)
    for name in hs.__all__:
        assert getattr(hs, name) is not None
    assert hs.CalQL(weight=1.0) == hs.CQL(weight=1.0, calibrated=True)
    assert issubclass(hs.UsageError, hs.HeadstartError)
    with pytest.raises(AttributeError, match="no attribute 'Pretrain'"):
        hs.Pretrain  # noqa: B018

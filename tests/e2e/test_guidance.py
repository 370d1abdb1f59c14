"""What commands say so that the user knows what comes next."""

from __future__ import annotations

import importlib
import os
import sys
from importlib import metadata
from pathlib import Path

import pytest

from headstart import errors
from headstart.recipes import quickstart
from headstart.report.scores import text
from headstart.train.evaluate import Episode, Evaluation

pytestmark = pytest.mark.usefixtures("quick_compilation")

ENV = "headstart/chain?n=4&continuous=1&steps=15"
SMALL = ("--actor-widths", "8", "--batch-size", "8", "--log-every", "2")


def test_collect_says_what_to_do_with_the_data(headstart):
    code, out, _ = headstart(
        "data", "collect", "--env", ENV, "--out", "walks", "--controller", "random", "--episodes", "2"
    )
    assert code == 0
    last = out.splitlines()[-1]
    assert last == "next: headstart data inspect minari:walks"
    assert headstart(*last.removeprefix("next: headstart ").split())[0] == 0


def test_help_of_pretrain_says_how_fields_are_set(headstart):
    out = headstart("pretrain", "--help")[1]
    assert "Every field of an algorithm is a flag: --batch-size 512, lists as --actor-widths 256 256" in out


def test_resuming_says_from_where(headstart, monkeypatch):
    from headstart.artifact import Artifact

    headstart("data", "collect", "--env", ENV, "--out", "walks", "--controller", "random", "--episodes", "2")
    command = ("pretrain", "bc", "--data", "minari:walks", "--out", "run", "--steps", "6", *SMALL)
    command = (*command, "--checkpoint-every", "4")

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Artifact, "save", killed)
        assert headstart(*command)[0] == 130
    code, _, said = headstart("evaluate", "run", "--env", ENV)
    assert code == 1
    assert "run is a run that is not complete; go on with it by the command that started it and --resume" in said
    code, _, said = headstart(*command, "--resume")
    assert code == 0
    assert "run: going on from step 6" in said


def test_intervals_without_spread_are_shown_as_such():
    episodes = [[Episode(seed, 1.0, 3, True, None) for seed in range(4)]]
    said = Evaluation("headstart/chain", (0,), episodes).describe()
    assert said.startswith("return 1 [all alike], success 100% [all alike]")
    assert text((1.0, 1.0, 1.0), "success") == "100% [all alike]"
    assert text((0.5, 0.25, 0.75), "success") == "50% [25, 75]"


def test_hints_name_what_installs_from_where_this_came(monkeypatch, tmp_path):
    clone = Path(errors.__file__).parents[2]
    if (clone / "pyproject.toml").is_file():
        assert errors.install("ogbench") == f"`pip install '{clone}[ogbench]'`"
    monkeypatch.setattr(errors, "__file__", str(tmp_path / "a" / "b" / "errors.py"))

    def installed(told):
        class Distribution:
            def read_text(self, name):
                return told

        monkeypatch.setattr(metadata, "distribution", lambda name: Distribution())

    installed('{"url": "file:///home/me/my%20clone", "dir_info": {}}')
    assert errors.install("video") == "`pip install '/home/me/my clone[video]'`"
    installed(None)
    assert (
        errors.install("mujoco", "ogbench") == "`pip install 'headstart[mujoco]'` or `pip install 'headstart[ogbench]'`"
    )


def test_the_quickstart_ends_with_what_to_try(monkeypatch, tmp_path, capsys):
    from headstart.recipes import compare

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compare, "compare", lambda *_, **__: tmp_path / "curves.png")
    monkeypatch.setattr(compare, "mean_return", lambda *_: 0.0)
    monkeypatch.setattr(quickstart.Quickstart, "data", lambda *_: None)
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "activate").touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    monkeypatch.setenv("PATH", os.devnull)
    importlib.invalidate_caches()
    quickstart.Quickstart().run(Path("runs/quickstart"))
    lines = capsys.readouterr().out.splitlines()
    assert "data: arrays:runs/quickstart/data" in lines
    assert "next: . venv/bin/activate" in lines
    assert "  or: headstart diagnose runs/quickstart/calql/pretrain --data arrays:runs/quickstart/data" in lines

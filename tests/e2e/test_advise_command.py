"""`headstart advise` on walks along a chain, and the recipe that its labels are judged by."""

from __future__ import annotations

import json

import pytest

from headstart.cli.main import main
from headstart.data import sources

pytestmark = pytest.mark.usefixtures("quick_compilation")

ENV = "headstart/chain?n=4&continuous=1&steps=15&goals=1"


def test_advice_as_table_and_json(walks, headstart, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "120")
    sources.write(walks, f"arrays:{tmp_path / 'walks'}")
    code, out, err = headstart("advise", "arrays:walks", "--env", ENV)
    assert (code, err) == (0, "")
    assert "1. goal-conditioned: GCIVL" in out
    assert "headstart pretrain gcivl --data arrays:walks --steps 20000 --out runs/goals" in out
    assert "the environment sets another goal in every episode" in out
    assert "ms an update" in out
    assert "against" in out
    code, out, _ = headstart("advise", "arrays:walks", "--json")
    found = json.loads(out)
    assert [part["name"] for part in found["recommended"]] == ["goals", "labels", "skills"]
    assert found["env"] is None
    assert headstart("advise", "arrays:nowhere")[0] == 1


def test_the_recipe_of_labels(tmp_path, monkeypatch, capsys):
    pytest.importorskip("ogbench")
    monkeypatch.chdir(tmp_path)
    command = [
        "run",
        "labels",
        "--out",
        "out",
        "--seeds",
        "2",
        "--episodes",
        "12",
        "--steps",
        "4",
        "--value-steps",
        "4",
    ]
    command += ["--eval-episodes", "1", "--methods", "zero", "distance"]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "| zero " in out
    assert "| distance " in out
    scores = json.loads((tmp_path / "out" / "results.json").read_text())
    assert len(scores["distance"]["seeds"]) == 2
    assert scores["distance"]["seeds"][0]["measures"][0].startswith("rank correlation of -V with steps")
    assert (tmp_path / "out" / "results.md").read_text().startswith("# Labels, point maze")
    # What is there is not done again.
    assert main([*command, "--resume"]) == 0
    assert capsys.readouterr().out == out
    assert main(["run", "labels", "--out", "new", "--methods", "tru"]) == 2

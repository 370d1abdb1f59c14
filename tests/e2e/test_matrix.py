"""`headstart run matrix --quick`, whole, at a size that teaches nothing."""

import dataclasses
import importlib.util
import json

import pytest

from headstart.errors import UsageError
from headstart.recipes.matrix import ADAPTATIONS, NO_CELL, ROUTES, Matrix

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ogbench") is None, reason="ogbench is not installed")

TINY = Matrix(
    quick=True, pretraining_steps=4, adaptation_steps=4, online_steps=20, pile_episodes=8, task_episodes=3,
    eval_episodes=2,
)  # fmt: skip


def test_every_cell_is_scored_or_says_why_it_makes_no_sense(tmp_path, capsys):
    out = tmp_path / "run"
    first = dataclasses.replace(TINY, pretraining=("none",), adaptation=("zero-shot", "online"))
    first.run(out)
    assert "- none, zero-shot: there is no model yet." in capsys.readouterr().out
    with pytest.raises(UsageError, match="not empty"):
        TINY.run(out)
    # Others join; what is complete is kept.
    kept = (out / "none" / "online" / "metrics.jsonl").stat().st_mtime_ns
    TINY.run(out, resume=True)
    assert (out / "none" / "online" / "metrics.jsonl").stat().st_mtime_ns == kept
    cells = json.loads((out / "results.json").read_text())
    assert list(cells) == list(ROUTES)
    for row, found in cells.items():
        assert list(found) == list(ADAPTATIONS)
        for column, cell in found.items():
            if (row, column) in NO_CELL:
                assert cell == {"reason": NO_CELL[row, column]}
            else:
                mean, low, high = cell["success"]
                assert 0.0 <= low <= mean <= high <= 1.0
                assert cell["algorithm"]
    assert (out / "matrix.png").read_bytes().startswith(b"\x89PNG")
    table = (out / "results.md").read_text()
    assert all(f"| {row} (" in table for row in ROUTES)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pretraining": ("gaols",)}, "unknown route of pretraining 'gaols'; did you mean 'goals'"),
        ({"adaptation": ("of-line",)}, "unknown route of adaptation 'of-line'; did you mean 'offline'"),
    ],
)
def test_unknown_routes_are_refused(tmp_path, changes, message):
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(TINY, **changes).run(tmp_path / "run")

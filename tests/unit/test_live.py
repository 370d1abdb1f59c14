"""Watching runs: what is read from their files while they are written, and how it is drawn."""

from __future__ import annotations

import io
import json
import threading
import time

import numpy as np
import pytest
from rich.console import Console

from headstart.cli import watch
from headstart.cli.main import main
from headstart.errors import DataError, UsageError
from headstart.report.braille import plot
from headstart.report.live import look


def begin(folder, phase="online", steps=40):
    folder.mkdir(parents=True)
    config = {"phase": phase, "algorithm": {"name": "iql"}, "options": {"steps": steps}, "settings": {"env": "e"},
              "seeds": [0, 1], "data": None, "source": None}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))


def add(folder, log, *lines, end="\n"):
    with (folder / f"{log}.jsonl").open("a") as file:
        file.write("".join(json.dumps(line) + end for line in lines))


def advance(folder, step, success=True, phase="online"):
    """A log step of two seeds, with an evaluation of two episodes each."""
    now, seeds = {"phase": phase, "step": step}, (0, 1)
    add(folder, "metrics", *(
        now | {"seed": seed, "q_policy": step + 2.0 * seed, "td_loss": 1.0 / step, "temperature": 0.1} for seed in seeds
    ))  # fmt: skip
    add(folder, "timing", now | {"seconds": step / 5, "rate": 5.0})
    add(folder, "episodes", *(
        now | {"training_seed": seed, "seed": episode, "return": -3.0 * episode, "length": 3,
               "success": success and bool(seed)} for seed in (0, 1) for episode in (0, 1)
    ))  # fmt: skip


def finish(folder):
    (folder / "artifact").mkdir()
    (folder / "artifact" / "artifact.json").write_text(json.dumps({"title": "iql", "digest": folder.name}))


def panels(scene):
    return {(panel.phase, panel.quantity): panel.traces for panel in scene.panels}


def test_means_over_seeds_are_read_and_a_line_that_is_being_written_is_not(tmp_path):
    run = tmp_path / "run"
    begin(run)
    assert look([run]).panels == ()
    assert look([run]).statuses[0].describe() == "0 of 40 steps"
    for step in (10, 20):
        advance(run, step)
    add(run, "metrics", {"phase": "online", "step": 30, "seed": 0, "q_policy": 1e9}, end="")
    add(run, "episodes", {"step": 30, "training_seed": 0}, end="")
    scene = look([run])
    found = panels(scene)
    assert list(found) == [("online", "success"), ("online", "q_policy"), ("online", "td_loss")]
    trace = found["online", "q_policy"][0]
    assert trace.run == "run"
    np.testing.assert_array_equal(trace.steps, [10, 20])
    np.testing.assert_array_equal(trace.values, [11.0, 21.0])
    np.testing.assert_array_equal(found["online", "success"][0].values, [0.5, 0.5])
    status = scene.statuses[0]
    assert (status.step, status.total, status.rate, status.complete, scene.complete) == (20, 40, 5.0, False, False)
    assert status.describe() == "20 of 40 steps, 5/s, 0:04 left"
    finish(run)
    assert look([run]).complete
    assert look([run]).statuses[0].describe() == "20 of 40 steps, complete"


def test_runs_of_a_recipe_stand_beside_each_other_until_its_table_is_written(tmp_path):
    (tmp_path / "recipe.json").write_text("{}")
    for name in ("calql", "cql"):
        begin(tmp_path / name / "pretrain", "offline")
        advance(tmp_path / name / "pretrain", 40, phase="offline")
        finish(tmp_path / name / "pretrain")
    begin(tmp_path / "cql" / "finetune")
    advance(tmp_path / "cql" / "finetune", 40, success=None)
    finish(tmp_path / "cql" / "finetune")
    scene = look([tmp_path])
    found = panels(scene)
    assert [trace.run for trace in found["offline", "success"]] == ["calql/pretrain", "cql/pretrain"]
    # Where the environment tells no success, the return.
    np.testing.assert_array_equal(found["online", "return"][0].values, [-1.5])
    assert not scene.complete
    (tmp_path / "results.json").write_text("{}")
    assert look([tmp_path]).complete


def test_other_metrics_and_what_does_not_exist(tmp_path):
    run = tmp_path / "run"
    begin(run)
    assert look([run], ["anything"]).panels == ()
    advance(run, 10)
    assert list(panels(look([run], ["temperature"]))) == [("online", "success"), ("online", "temperature")]
    with pytest.raises(UsageError, match="unknown metric 'temprature'; did you mean 'temperature'?"):
        look([run], ["temprature"])
    (empty := tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="empty holds no run"):
        look([run, empty])
    (run / "metrics.jsonl").write_text("{broken\n")
    with pytest.raises(DataError, match="metrics.jsonl: line 1 is damaged"):
        look([run])


def test_a_silent_run_is_said_to_be_stopped(tmp_path, monkeypatch):
    begin(tmp_path / "run")
    advance(tmp_path / "run", 10)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 100)
    assert not look([tmp_path]).statuses[0].stopped
    monkeypatch.setattr(time, "time", lambda: now + 3700)
    said = look([tmp_path]).statuses[0].describe()
    assert said.endswith("steps, stopped: no news for 1:01:40 (--resume goes on)")
    assert "left" not in said


def test_a_run_whose_log_steps_take_long_is_given_time(tmp_path, monkeypatch):
    begin(tmp_path / "run")
    advance(tmp_path / "run", 10)
    lines = [
        {"phase": "online", "step": step, "seconds": seconds, "rate": 1.0} for step, seconds in ((5, 9), (10, 209))
    ]
    (tmp_path / "run" / "timing.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 900)
    assert not look([tmp_path]).statuses[0].stopped
    monkeypatch.setattr(time, "time", lambda: now + 1100)
    assert look([tmp_path]).statuses[0].stopped


def test_lines_run_from_corner_to_corner():
    text = plot([(np.array([0.0, 100.0]), np.array([-2.0, 6.0]), "red")], width=30, height=6).plain.splitlines()
    assert text[0].startswith("       6 │")
    assert text[4].startswith("      -2 │")
    rows = [line[10:] for line in text[:5]]
    # The top right and the bottom left dot.
    assert ord(rows[0][-1]) & 0x08
    assert ord(rows[4][0]) & 0x40
    # Every column has its part, and every row a part of its own.
    filled = [[column for column in range(20) if row[column] != " "] for row in reversed(rows)]
    assert sorted({column for columns in filled for column in columns}) == list(range(20))
    assert [columns[0] for columns in filled] == [0, 4, 8, 12, 16]
    assert text[5].split() == ["0", "100"]


def test_what_cannot_be_drawn_leaves_a_gap():
    x = np.arange(4.0)
    text = plot([(x, np.array([1.0, np.nan, np.inf, 1.0]), "")], width=30, height=4, ascii_only=True).plain
    assert text.count("*") == 2
    assert text.isascii()
    assert plot([], width=30, height=4).plain.splitlines()[-1].split() == ["0", "1"]


def test_the_picture_names_runs_phases_and_newest_values(tmp_path):
    for name in ("a", "b"):
        begin(tmp_path / name)
        for step in (10, 20, 30):
            advance(tmp_path / name, step)
    for width in (80, 140):
        console = Console(width=width, height=40, force_terminal=True, record=True, file=io.StringIO())
        console.print(watch._drawn(look([tmp_path]), console))
        shown = console.export_text()
        assert max(map(len, shown.splitlines())) <= width
        for part in (
            "success in %, finetuning online",
            "a 50%",
            "q_policy, finetuning online",
            "b 31",
            "30 of 40 steps",
        ):
            assert part in shown
        # Side by side where there is room.
        row = next(line for line in shown.splitlines() if line.startswith("success in %"))
        assert ("q_policy" in row) == (width == 140)


def test_elsewhere_than_in_a_terminal_a_line_tells_of_each_log_step(tmp_path, capsys):
    run = tmp_path / "run"
    begin(run)
    advance(run, 10)
    assert main(["watch", str(run), "--once"]) == 0
    line = "run  {} of 40 steps, 5/s, 0:{:02} left  success 50%  q_policy {}  td_loss {}\n"
    assert capsys.readouterr().out == line.format(10, 6, 11, 0.1)

    def go_on():
        time.sleep(0.2)
        advance(run, 20)
        time.sleep(0.3)
        advance(run, 40)
        finish(run)

    writer = threading.Thread(target=go_on)
    writer.start()
    before = {file.name for file in run.iterdir()} | {"artifact"}
    assert main(["watch", str(run), "--every", "0.05"]) == 0
    writer.join()
    told = capsys.readouterr().out.splitlines(keepends=True)
    assert told[0] == line.format(10, 6, 11, 0.1)
    assert told[-1] == "run  40 of 40 steps, complete  success 50%  q_policy 41  td_loss 0.025\n"
    assert {file.name for file in run.iterdir()} == before


@pytest.mark.parametrize(
    ("args", "message"),
    [([], "missing RUN"), (["absent"], "absent does not exist"), (["x", "--every", "0"], "more than 0 seconds")],
)
def test_mistakes(args, message, capsys):
    assert main(["watch", *args]) == 2
    assert message in capsys.readouterr().err

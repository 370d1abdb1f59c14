"""The run directory: what it refuses, keeps, cuts back and says."""

from __future__ import annotations

import errno
import gc
import json
import resource
from pathlib import Path

import numpy as np
import pytest

from headstart.errors import TrainingError, UsageError
from headstart.train import run as rooms
from headstart.train.run import Run, read_log

CONFIG = {"phase": "offline", "options": {"steps": 10, "widths": (8, 8)}, "data": None}


def learner(value=0.0, size=3):
    return {"state": {"w": np.full(size, value, np.float32)}, "count": np.zeros(2, np.int32)}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_that_holds_something_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(UsageError, match="exists and is not empty; choose another folder, or resume that run"):
        Run(tmp_path, CONFIG)
    with pytest.raises(UsageError, match="exists and is not empty"):
        Run(tmp_path / "mine.txt", CONFIG)
    assert names(tmp_path) == ["mine.txt"]
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_new_and_empty_folders_are_taken(tmp_path):
    for folder in (tmp_path, tmp_path / "a" / "b"):
        Run(folder, CONFIG).close()
        assert json.loads((folder / "config.json").read_text())["options"] == {"steps": 10, "widths": [8, 8]}


def test_settings_that_came_later_have_their_defaults(tmp_path):
    """A run that an older version began, which did not know of `crop`, goes on without it."""
    Run(tmp_path, CONFIG).close()
    asked = CONFIG | {"options": CONFIG["options"] | {"crop": 0}}
    with pytest.raises(UsageError, match="was started with crop = None, now it is 0"):
        Run(tmp_path, asked, resume=True)
    defaults = {"options": {"crop": 0}}
    Run(tmp_path, asked, resume=True, defaults=defaults).close()
    asked["options"]["crop"] = 4
    with pytest.raises(UsageError, match="was started with crop = 0, now it is 4"):
        Run(tmp_path, asked, resume=True, defaults=defaults)


def test_where_nothing_began_there_is_nothing_to_resume(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UsageError, match=f"nothing to resume in {folder}; leave --resume"):
            Run(folder, CONFIG, resume=True)
    assert names(tmp_path) == ["mine.txt"]


def test_without_a_folder_records_stay_in_memory():
    run = Run(None, CONFIG)
    run.write("episodes", [{"return": 1.0}])
    run.metrics("offline", 5, [{"loss": 2.0}], (3,))
    run.save(5, learner())
    assert run.restore(learner()) is None
    assert run.read("episodes") == [{"return": 1.0}]
    assert run.read("metrics") == [{"phase": "offline", "step": 5, "seed": 3, "loss": 2.0}]
    run.drop_checkpoints()
    with pytest.raises(UsageError, match="resuming needs the folder of the run"):
        Run(None, CONFIG, resume=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"options": {"steps": 20, "widths": (8, 8)}}, "was started with steps = 10, now it is 20"),
        ({"options": {"steps": 10, "widths": (8, 9)}}, r"was started with widths = \[8, 8\], now it is \[8, 9\]"),
        ({"data": {"sha256": "ab"}}, r"was started with data = None, now it is \{'sha256': 'ab'\}"),
        ({"extra": 1}, "was started with extra = None, now it is 1"),
    ],
)
def test_resuming_with_other_settings_names_the_difference(tmp_path, changes, message):
    Run(tmp_path, CONFIG)
    Run(tmp_path, CONFIG, resume=True)
    with pytest.raises(UsageError, match=f"^{tmp_path} {message}; resume with the same settings$"):
        Run(tmp_path, CONFIG | changes, resume=True)


def test_a_damaged_config_is_said_to_be_damaged(tmp_path):
    Run(tmp_path, CONFIG)
    (tmp_path / "config.json").write_text('{"phase": "off')
    with pytest.raises(UsageError, match="config.json is damaged .*; remove .* and start again"):
        Run(tmp_path, CONFIG, resume=True)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="file/run cannot be used for a run: Not a directory"):
        Run(tmp_path / "file" / "run", CONFIG)


def test_a_run_goes_back_to_its_last_checkpoint(tmp_path):
    run = Run(tmp_path, CONFIG)
    assert run.restore(learner()) is None
    run.write("episodes", [{"step": 0}])
    run.metrics("offline", 5, [{"loss": 1.0}, {"loss": 2.0}], (0, 1))
    more = {"updates": np.int64(2**40), "players": {"0": {"head": np.arange(3), "seen": np.array([True, False])}}}
    run.save(5, learner(1.5), more)
    run.metrics("offline", 6, [{"loss": 1.0}, {"loss": 2.0}], (0, 1))
    run.write("episodes", [{"step": 6}])
    run.write("timing", [{"step": 6}])
    run.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"phase": "offl')  # a line that a kill cut short
    assert [line["step"] for line in read_log(tmp_path, "metrics")] == [5, 5, 6, 6]

    run = Run(tmp_path, CONFIG, resume=True)
    step, found, kept = run.restore(learner())
    assert step == 5
    assert found["state"]["w"].tolist() == [1.5] * 3
    assert found["count"].dtype == np.int32
    assert int(kept["updates"]) == 2**40
    assert kept["players"]["0"]["head"].tolist() == [0, 1, 2]
    assert kept["players"]["0"]["head"].dtype == np.int64
    assert np.asarray(kept["players"]["0"]["seen"]).tolist() == [True, False]
    assert [(line["step"], line["seed"]) for line in run.read("metrics")] == [(5, 0), (5, 1)]
    assert run.read("episodes") == [{"step": 0}]
    assert run.read("timing") == []
    run.close()


def test_a_run_killed_before_its_first_checkpoint_starts_over(tmp_path):
    run = Run(tmp_path, CONFIG)
    run.write("episodes", [{"step": 0}])
    run = Run(tmp_path, CONFIG, resume=True)
    assert run.restore(learner()) is None
    assert run.read("episodes") == []
    run.close()


def test_the_two_newest_checkpoints_are_kept_and_go_with_the_run(tmp_path):
    run = Run(tmp_path, CONFIG)
    for step in (10, 20, 30):
        run.save(step, learner(step))
    run.close()
    assert names(tmp_path / "checkpoints") == ["20", "30"]
    run = Run(tmp_path, CONFIG, resume=True)
    step, found, more = run.restore(learner())
    assert (step, found["state"]["w"][0], more) == (30, 30.0, {})
    run.drop_checkpoints()
    assert names(tmp_path) == ["config.json"]
    run.close()


def test_a_checkpoint_is_a_copy(tmp_path):
    run, kept = Run(tmp_path, CONFIG), np.arange(100_000.0)
    run.save(1, learner(), {"kept": kept})
    kept[:] = -1.0
    run.close()
    _, _, more = Run(tmp_path, CONFIG, resume=True).restore(learner())
    np.testing.assert_array_equal(more["kept"], np.arange(100_000.0))


def test_nan_names_metric_step_seed_and_the_last_good_checkpoint(tmp_path):
    run = Run(tmp_path, CONFIG)
    bad = [{"loss": 1.0, "q": 0.0}, {"loss": float("nan"), "q": float("inf")}]
    with pytest.raises(
        TrainingError, match=r"^loss, q turned NaN or infinite before offline step 10 \(seed 4\); .*"
    ) as e:
        run.metrics("offline", 10, bad, (3, 4))
    assert str(e.value).endswith("no checkpoint was written yet")
    assert run.read("metrics") == []
    run.save(7, learner())
    with pytest.raises(TrainingError, match="the checkpoint of step 7 is whole$"):
        run.metrics("offline", 10, bad, (3, 4))
    with pytest.raises(TrainingError, match="^state/w turned NaN or infinite before step 9; the checkpoint of step 7"):
        run.save(9, learner(np.nan))
    run.close()
    assert names(tmp_path / "checkpoints") == ["7"]
    with pytest.raises(TrainingError, match=r"nothing was kept \(no folder\)$"):
        Run(None, CONFIG).metrics("offline", 10, bad, (3, 4))


# Orbax's threads die of it too, some of them after the error was handed on.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_full_disk_is_an_error_and_the_last_checkpoint_is_whole(tmp_path):
    """A limit on the size of files, so that the failure is the system's own."""
    run = Run(tmp_path, CONFIG)
    run.save(1, learner(1.0))
    run.close()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    noise = {"noise": np.random.default_rng(0).random(100_000)}
    run = Run(tmp_path, CONFIG, resume=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        run.save(2, learner(2.0), noise)  # in the background: the error comes with the next call
        with pytest.raises(TrainingError, match="cannot write a checkpoint in .*; the checkpoint of step 1 is whole"):
            run.save(3, learner(2.0), noise)
        message = "cannot write .*metrics.jsonl: File too large; the checkpoint of step 1 is whole"
        with pytest.raises(TrainingError, match=message):
            run.write("metrics", [{"text": "x" * 30_000}])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    run = Run(tmp_path, CONFIG, resume=True)
    step, found, _ = run.restore(learner())
    assert (step, found["state"]["w"][0]) == (1, 1.0)
    assert run.read("metrics") == []
    run.save(2, learner(2.0))
    run.close()
    assert "2" in names(tmp_path / "checkpoints")
    gc.collect()  # what the dead threads left is told here and not in a later test


def test_a_folder_that_turned_unwritable(tmp_path, monkeypatch):
    run, real = Run(tmp_path, CONFIG), Path.open

    def refuse(path, mode="r", *arguments, **options):
        if path.name == "metrics.jsonl" and mode == "a":
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, mode, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(
        TrainingError, match="cannot write .*metrics.jsonl: Permission denied; no checkpoint was written"
    ):
        run.metrics("offline", 1, [{"loss": 1.0}], (0,))


def test_a_checkpoint_of_something_else_or_damaged(tmp_path):
    run = Run(tmp_path, CONFIG)
    run.save(1, learner())
    run.save(2, learner())
    run.close()
    with pytest.raises(
        TrainingError, match=r"checkpoints/2 is damaged: state/w .*\(3,\).*\(4,\).*; remove it to go on"
    ):
        Run(tmp_path, CONFIG, resume=True).restore(learner(size=4))
    (tmp_path / "checkpoints" / "2" / "logs" / "metadata").unlink()
    with pytest.raises(TrainingError, match=r"checkpoints/2 is damaged: .*; remove it to go on from the one before"):
        Run(tmp_path, CONFIG, resume=True).restore(learner())


def test_logs_are_what_the_module_says():
    assert all(f"{log}.jsonl" in rooms.__doc__ for log in rooms.LOGS)

"""Marks, pace, progress and interruption of the training loops."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from headstart.train.loop import Interrupted, Interruption, Pace, Progress, due, next_mark


@pytest.mark.parametrize(
    ("step", "intervals", "expected"),
    [
        (0, (10, 25), 10),
        (10, (10, 25), 20),
        (20, (10, 25), 25),
        (25, (10, 25), 30),
        (90, (10, 25), 99),
        (3, (0, 0), 99),
        (3, (), 99),
        (98, (0, 7), 98 + 0 + 1),
        (90, (0, 7), 91),
    ],
)
def test_next_mark(step, intervals, expected):
    assert next_mark(step, 99, *intervals) == expected


def test_marks_visit_every_multiple_once_and_the_end():
    step, seen = 0, []
    while step < 50:
        before, step = step, next_mark(step, 50, 12, 20)
        seen.append((step, due(before, step, 50, 12), due(before, step, 50, 20)))
    assert seen == [
        (12, True, False),
        (20, False, True),
        (24, True, False),
        (36, True, False),
        (40, False, True),
        (48, True, False),
        (50, True, True),
    ]


def test_due_when_a_round_goes_past_a_multiple():
    assert due(95, 105, 1000, 100)
    assert not due(100, 110, 1000, 100)
    assert due(90, 100, 1000, 100)
    assert not due(90, 100, 1000, 0)
    assert not due(990, 1000, 1000, 0)
    assert due(995, 1005, 1000, 600)


def test_the_pace_settles_at_a_second_and_grows_slowly():
    pace = Pace()
    assert pace.count == 1
    pace.measured(1, 20.0)  # the first call compiles
    assert pace.count == 1
    counts = []
    for _ in range(6):
        pace.measured(pace.count, pace.count / 100)  # a hundred a second
        counts.append(pace.count)
    assert counts == [4, 16, 64, 100, 100, 100]
    pace.measured(100, 0.0)
    assert pace.count == 400
    for _ in range(5):
        pace.measured(pace.count, 0.0)
    assert pace.count == 10_000


def test_a_signal_asks_and_the_second_stops_at_once(capsys):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with Interruption.watch() as interruption:
        assert not interruption.asked
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.asked
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert capsys.readouterr().err == "stopping: saving a checkpoint (Ctrl-C again stops at once)\n"


def test_other_threads_listen_to_nothing():
    asked = []

    def body():
        with Interruption.watch() as interruption:
            asked.append(interruption.asked)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert asked == [False]


def test_stopping_says_how_to_go_on():
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        with Interruption.watch() as interruption:
            os.kill(os.getpid(), number)
        with pytest.raises(Interrupted, match=r"^stopped at step 7; go on with the same command and --resume \(a\)$"):
            interruption.stop(7, Path("a"))
        with pytest.raises(Interrupted, match=r"^stopped at step 7; nothing was kept \(no folder\)$") as caught:
            interruption.stop(7, None)
        assert caught.value.exit_code == code


def test_rates_count_from_where_a_run_goes_on(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    with Progress("online", 1000) as progress:
        progress.start(500)
        now[0] = 110.0
        progress.update(520)
    assert progress.timing(520) == {"phase": "online", "step": 520, "seconds": 10.0, "rate": 2.0}


def test_a_bar_is_gone_after_an_error(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    progress = Progress("offline", 10)
    with pytest.raises(ZeroDivisionError), progress:
        progress.update(3 if progress._bar.live.is_started else None, 1 // 0)
    assert not progress._bar.live.is_started

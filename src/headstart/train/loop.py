"""What offline and online loops share: marks, interruptions, progress."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

from headstart.errors import HeadstartError


class Interrupted(HeadstartError):
    """A run that was asked to stop, by the signal of this number, and saved itself."""

    def __init__(self, text: str, number: int):
        super().__init__(text)
        self.exit_code = 128 + number


class Interruption:
    """Whether SIGTERM or Ctrl-C has asked the run to stop; a second Ctrl-C stops at once."""

    def __init__(self):
        self._number: int | None = None

    @property
    def asked(self) -> bool:
        return self._number is not None

    def _ask(self, number: int, frame) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self._number = number
        print("stopping: saving a checkpoint (Ctrl-C again stops at once)", file=sys.stderr)

    @classmethod
    @contextlib.contextmanager
    def watch(cls) -> Iterator[Interruption]:
        """Listen while the block runs (main thread only; elsewhere nothing is listened to)."""
        watcher = cls()
        previous = {}
        with contextlib.suppress(ValueError):
            for number in (signal.SIGTERM, signal.SIGINT):
                previous[number] = signal.signal(number, watcher._ask)
        try:
            yield watcher
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def stop(self, step: int, folder) -> None:
        """Raise `Interrupted` with the way to go on."""
        where = f"; go on with the same command and --resume ({folder})" if folder else "; nothing was kept (no folder)"
        raise Interrupted(f"stopped at step {step}{where}", self._number)


def next_mark(step: int, total: int, *intervals: int) -> int:
    """The first step after `step` that is a multiple of one of the intervals (0: none), or the total."""
    return min([total, *(step - step % interval + interval for interval in intervals if interval)])


def due(before: int, step: int, total: int, interval: int) -> bool:
    """Whether what is done every `interval` steps (0: never) and at the end is due on going from `before` to `step`."""
    return interval > 0 and (before // interval != step // interval or step >= total)


class Pace:
    """How many updates to dispatch at once: about a second's worth, so that interruptions are heard soon.

    The number changes nothing in the result.
    """

    def __init__(self, seconds: float = 1.0):
        self.seconds, self.count = seconds, 1

    def measured(self, count: int, seconds: float) -> None:
        wanted = count * self.seconds / max(seconds, 1e-6)
        self.count = max(1, min(int(wanted), 4 * self.count, 10_000))


class Progress:
    """A bar with rate and time left on standard error; nothing where that is not a terminal.

    Use as a context manager, so that an error leaves the terminal as it was.
    """

    def __init__(self, title: str, total: int, done: int = 0):
        self.title = title
        self.start(done)
        self._bar = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(), console=Console(stderr=True), transient=True,
            )  # fmt: skip
            self._task = self._bar.add_task(title, total=total, completed=done, rate="")

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self._bar is not None:
            self._bar.stop()

    def start(self, done: int) -> None:
        """Count rate and seconds from here on, where `done` steps are done."""
        self.started, self.done, self._first = time.perf_counter(), done, done

    def update(self, done: int) -> None:
        """`done` steps are done."""
        self.done = done
        if self._bar is not None:
            self._bar.update(self._task, completed=done, rate=f"{self.rate:,.0f} steps/s")

    @property
    def rate(self) -> float:
        """Steps a second since the start."""
        return (self.done - self._first) / max(time.perf_counter() - self.started, 1e-9)

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.started

    def timing(self, step: int) -> dict[str, Any]:
        """A line of timing.jsonl."""
        return {"phase": self.title, "step": step, "seconds": self.seconds, "rate": self.rate}

"""The run directory: what a run was asked to do, what happened, and what it needs to go on after a kill.

config.json      everything that decides the run
metrics.jsonl    one line per log step and seed
episodes.jsonl   one line per evaluation episode
timing.jsonl     wall-clock seconds and rates, apart from the above so that a resumed run's files are the same
sinks.json       names of the run at the sinks that it has (`headstart.train.sinks`)
checkpoints/     Orbax
artifact/        the result
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import jax
import numpy as np

from headstart import trees
from headstart.errors import DataError, TrainingError, UsageError
from headstart.train.sinks import Fan, Sink

LOGS = ("metrics", "episodes", "timing")
WRITING = (OSError, ValueError)
"""What Orbax raises where the disk is full or the folder is gone."""


class Run:
    """A run directory, or (with no folder) the same without files.

    sinks: names or objects that get the numbers as well. defaults: what stands for settings that the config of a
    resumed run lacks, since they came later. Raises as `require_free`, `UsageError` where a resumed run was started
    with other settings, and `TrainingError` where the folder cannot be written.
    """

    def __init__(
        self,
        folder: str | Path | None,
        config: dict[str, Any],
        resume: bool = False,
        sinks: Collection[str | Sink] = (),
        defaults: dict[str, Any] | None = None,
    ):
        self.folder = None if folder is None else Path(folder)
        self.records: dict[str, list[dict[str, Any]]] = {name: [] for name in LOGS}
        self._checkpoints = None
        self._resumed = resume
        require_free(folder, resume)
        self._sinks = Fan(sinks, self.folder, config)
        if self.folder is None:
            return
        config, defaults = json.loads(json.dumps([config, defaults or {}]))
        path = self.folder / "config.json"
        try:
            if resume:
                _require_same(config, json.loads(path.read_text()), defaults, self.folder)
                return
            self.folder.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(config, indent=2) + "\n")
        except OSError as error:
            raise TrainingError(f"{self.folder} cannot be used for a run: {error.strerror}") from error
        except json.JSONDecodeError as error:
            raise UsageError(f"{path} is damaged ({error}); remove {self.folder} and start again") from error

    # -- records ----------------------------------------------------------------------------------------------

    def write(self, log: str, lines: list[dict[str, Any]]) -> None:
        """Append lines of one step to `metrics`, `episodes` or `timing`, and pass them on to the sinks."""
        if self.folder is None:
            self.records[log] += lines
        else:
            self._append(log, lines)
        self._sinks.write(lines)

    def _append(self, log: str, lines: list[dict[str, Any]]) -> None:
        try:
            with (self.folder / f"{log}.jsonl").open("a") as file:
                file.writelines(json.dumps(line) + "\n" for line in lines)
        except OSError as error:
            raise TrainingError(
                f"cannot write {self.folder / log}.jsonl: {error.strerror}; {self._last_good()}"
            ) from error

    def read(self, log: str) -> list[dict[str, Any]]:
        """The lines of `metrics`, `episodes` or `timing` so far."""
        return self.records[log] if self.folder is None else read_log(self.folder, log)

    def metrics(self, phase: str, step: int, per_seed: list[dict[str, float]], seeds: tuple[int, ...]) -> None:
        """One line for each seed. Raises `TrainingError` that names a metric which is not finite."""
        for seed, values in zip(seeds, per_seed, strict=True):
            bad = [name for name, value in values.items() if not np.isfinite(value)]
            if bad:
                raise TrainingError(
                    f"{', '.join(bad)} turned NaN or infinite before {phase} step {step} (seed {seed}); "
                    f"try a lower learning rate or look at the data with `headstart data inspect`; {self._last_good()}"
                )
        self.write(
            "metrics",
            [{"phase": phase, "step": step, "seed": seed, **v} for seed, v in zip(seeds, per_seed, strict=True)],
        )

    def _last_good(self) -> str:
        """What is on disk, and only that: the manager also counts a checkpoint that is still being written."""
        if self._checkpoints is not None:
            with contextlib.suppress(*WRITING):
                self._checkpoints.wait_until_finished()
        if self.folder is None:
            return "nothing was kept (no folder)"
        steps = [int(path.name) for path in (self.folder / "checkpoints").glob("*") if path.name.isdigit()]
        return f"the checkpoint of step {max(steps)} is whole" if steps else "no checkpoint was written yet"

    # -- checkpoints ------------------------------------------------------------------------------------------

    def save(self, step: int, learner: Any, more: dict[str, Any] | None = None) -> None:
        """Write a checkpoint in the background: the learner (a pytree) and `more` (nested dicts of arrays). The two
        newest are kept.

        Raises `TrainingError` where the learner holds NaN, or the checkpoint cannot be written.
        """
        if self.folder is None:
            return
        import orbax.checkpoint as ocp

        # The device's buffers are about to be donated: the writer gets a copy of its own.
        arrays = {"learner": trees.flatten(learner), "more": more or {}}
        arrays = jax.tree.map(lambda leaf: np.array(jax.device_get(leaf)), arrays)
        for name, leaf in arrays["learner"].items():
            if np.issubdtype(leaf.dtype, np.floating) and not np.isfinite(leaf).all():
                raise TrainingError(f"{name} turned NaN or infinite before step {step}; {self._last_good()}")
        offsets = {log: self._size(log) for log in LOGS}
        try:
            self._manager().save(
                step,
                args=ocp.args.Composite(arrays=ocp.args.StandardSave(arrays), logs=ocp.args.JsonSave(offsets)),
            )
        except WRITING as error:
            raise self._unwritten(error) from error

    def restore(self, learner: Any) -> tuple[int, Any, dict[str, Any]] | None:
        """(step, learner, more) of the newest checkpoint, or None; the logs are cut back to that moment.

        learner: what it must look like. Raises `TrainingError` where the checkpoint is damaged or holds another.
        """
        # A new run has no such folder, and its first step need not wait for the library of checkpoints.
        begun = self.folder is not None and (self.folder / "checkpoints").exists()
        if not begun or (step := self._manager().latest_step()) is None:
            for log in LOGS if self.folder is not None else ():
                self._cut(log, 0)
            if self._resumed:
                print(f"{self.folder}: no checkpoint was written yet, starting from step 0", file=sys.stderr)
            return None
        import orbax.checkpoint as ocp

        try:
            restored = self._manager().restore(
                step, args=ocp.args.Composite(arrays=ocp.args.StandardRestore(), logs=ocp.args.JsonRestore())
            )
            learner = trees.fill(learner, restored["arrays"]["learner"])
        except (OSError, ValueError, KeyError) as error:
            folder = self.folder / "checkpoints" / str(step)
            raise TrainingError(f"{folder} is damaged: {error}; remove it to go on from the one before") from error
        for log, size in restored["logs"].items():
            self._cut(log, size)
        print(f"{self.folder}: going on from step {step:,}", file=sys.stderr)
        return step, learner, restored["arrays"].get("more", {})

    def close(self) -> None:
        """Close the sinks and wait for the checkpoints' writer. Raises `TrainingError` where it could not write."""
        self._sinks.close()
        if self._checkpoints is not None:
            try:
                self._checkpoints.wait_until_finished()
                self._checkpoints.close()
            except WRITING as error:
                raise self._unwritten(error) from error

    def drop_checkpoints(self) -> None:
        """Remove the checkpoints of a run that is complete."""
        self.close()
        if self.folder is not None:
            shutil.rmtree(self.folder / "checkpoints", ignore_errors=True)

    def _unwritten(self, error: Exception) -> TrainingError:
        return TrainingError(f"cannot write a checkpoint in {self.folder}: {error}; {self._last_good()}")

    def _manager(self):
        if self._checkpoints is None:
            import orbax.checkpoint as ocp

            # What fails in the background is raised by the next save or close; the log would tell it too, at length.
            logging.getLogger("absl").setLevel(logging.CRITICAL)
            self._checkpoints = ocp.CheckpointManager(
                (self.folder / "checkpoints").absolute(),
                options=ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=True),
            )
        return self._checkpoints

    def _size(self, log: str) -> int:
        path = self.folder / f"{log}.jsonl"
        return path.stat().st_size if path.exists() else 0

    def _cut(self, log: str, size: int) -> None:
        path = self.folder / f"{log}.jsonl"
        if path.exists():
            with path.open("r+b") as file:
                file.truncate(size)


def require_free(folder: str | Path | None, resume: bool = False) -> None:
    """Raise `UsageError` where the folder of a new run holds something already, or where there is no run to resume."""
    if folder is None:
        if resume:
            raise UsageError("resuming needs the folder of the run (out)")
        return
    folder = Path(folder)
    if resume and not begun(folder):
        raise UsageError(f"nothing to resume in {folder}; leave --resume (resume=True) out to start a new run")
    if not resume and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists and is not empty; choose another folder, or resume that run")


def begun(folder: str | Path) -> bool:
    """Whether the folder holds a run that can be resumed (or is complete)."""
    return (Path(folder) / "config.json").exists()


def read_log(folder: str | Path, log: str) -> list[dict[str, Any]]:
    """The lines of `metrics`, `episodes` or `timing` of a run directory; an unfinished last line is left out.

    Raises `DataError` that names the line which is damaged.
    """
    path = Path(folder) / f"{log}.jsonl"
    if not path.exists():
        return []
    found = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1):
        try:
            found.append(json.loads(line))
        except ValueError as error:
            raise DataError(f"{path}: line {number} is damaged ({error}); remove it to read the others") from error
    return found


def _require_same(asked: dict[str, Any], stored: dict[str, Any], defaults: dict[str, Any], folder: Path) -> None:
    for key in sorted(asked.keys() | stored.keys()):
        mine, default = asked.get(key), defaults.get(key)
        theirs = stored.get(key, default)
        if isinstance(mine, dict) and isinstance(theirs, dict):
            _require_same(mine, theirs, default if isinstance(default, dict) else {}, folder)
        elif mine != theirs:
            raise UsageError(
                f"{folder} was started with {key} = {theirs!r}, now it is {mine!r}; resume with the same settings"
            )

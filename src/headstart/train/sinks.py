"""Sinks: where the numbers of a run go besides its own files.

Scalars are named `phase/metric`, the mean over training seeds, and where there are several seeds also
`phase/metric/seed_N`. A resumed run goes on with the same run of a sink; what was logged beyond the checkpoint is
logged again. A sink that fails is left, once and audibly: the run and its files do not depend on it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import sys
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from headstart.errors import UsageError, install, unknown


class Sink(Protocol):
    """Takes the numbers of one run. Objects of one's own serve as well as the names in `SINKS`."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Scalars of one step; several calls may be of the same step."""

    def close(self) -> None:
        """The run ends, whether complete or not."""


class TensorBoard:
    """Event files in the run's `tensorboard/`, for `tensorboard --logdir`."""

    def __init__(self, folder: Path, config: Mapping[str, Any], first: int):
        from tensorboardX import SummaryWriter

        # Readers drop what an earlier file holds from this step on.
        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=first)
        self._writer.add_text("config", f"```json\n{json.dumps(config, indent=2)}\n```", first)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class WandB:
    """A run of Weights & Biases, in the project WANDB_PROJECT (headstart); with WANDB_MODE=offline in the run's
    `wandb/` alone, for `wandb sync`."""

    def __init__(self, folder: Path, config: Mapping[str, Any], first: int):
        import wandb

        self._run = wandb.init(
            id=_identity(folder, "wandb", lambda: uuid.uuid4().hex[:8]), resume="allow", name=_name(folder),
            project=os.environ.get("WANDB_PROJECT", "headstart"), config=dict(config), dir=str(folder),
        )  # fmt: skip

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


class MLflow:
    """A run of MLflow, in the experiment MLFLOW_EXPERIMENT_NAME (headstart), at MLFLOW_TRACKING_URI, by default the
    run's `mlflow.db`, for `mlflow ui --backend-store-uri sqlite:///...`."""

    def __init__(self, folder: Path, config: Mapping[str, Any], first: int):
        from mlflow import MlflowClient

        place = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder.absolute() / 'mlflow.db'}"
        self._client = MlflowClient(place)
        self._run = _identity(folder, "mlflow", lambda: self._new(_name(folder), config))
        self._client.update_run(self._run, status="RUNNING")

    def _new(self, name: str, config: Mapping[str, Any]) -> str:
        title = os.environ.get("MLFLOW_EXPERIMENT_NAME", "headstart")
        known = self._client.get_experiment_by_name(title)
        experiment = known.experiment_id if known else self._client.create_experiment(title)
        run = self._client.create_run(experiment, run_name=name).info.run_id
        for key, value in _flat(config).items():
            self._client.log_param(run, key, value)
        return run

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._client.log_metric(self._run, name, value, step=step)

    def close(self) -> None:
        self._client.set_terminated(self._run)


SINKS: dict[str, tuple[Callable[[Path, Mapping[str, Any], int], Sink], str]] = {
    "tensorboard": (TensorBoard, "tensorboardX"),
    "wandb": (WandB, "wandb"),
    "mlflow": (MLflow, "mlflow"),
}
"""Name, which is the extra's too -> what makes the sink, and the module that it needs.

Made from the run's folder, its configuration, and the first step that will be logged.
"""


def require(sinks: Collection[str | Sink], folder: str | Path | None) -> None:
    """Raise `UsageError` for unknown names, for packages that are missing, and for a run without a folder."""
    for name in sinks:
        if not isinstance(name, str):
            continue
        if name not in SINKS:
            raise unknown("sink", name, SINKS)
        if importlib.util.find_spec(SINKS[name][1]) is None:
            raise UsageError(f"the sink {name} needs {SINKS[name][1]}; try {install(name)}")
        if folder is None:
            raise UsageError(f"the sink {name} needs the folder of the run (out)")


class Fan:
    """All sinks of one run, made when the first numbers come."""

    def __init__(self, sinks: Collection[str | Sink], folder: Path | None, config: Mapping[str, Any]):
        self._waiting, self._folder, self._config = list(sinks), folder, config
        self._open: list[tuple[str, Sink]] = []

    def write(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Pass on lines of one step of a log."""
        if not lines or not (self._waiting or self._open):
            return
        step, values = lines[0]["step"], scalars(lines)
        waiting, self._waiting = self._waiting, []
        for sink in waiting:
            name = sink if isinstance(sink, str) else type(sink).__name__
            with _forgiven(name):
                made = SINKS[sink][0](self._folder, self._config, step) if isinstance(sink, str) else sink
                self._open.append((name, made))
        opened, self._open = self._open, []
        for name, sink in opened:
            with _forgiven(name):
                sink.log(step, values)
                self._open.append((name, sink))

    def close(self) -> None:
        opened, self._open = self._open, []
        for name, sink in opened:
            with _forgiven(name):
                sink.close()


@contextlib.contextmanager
def _forgiven(name: str) -> Iterator[None]:
    """Tell of a failure and go on, whatever a service raises."""
    try:
        yield
    except Exception as error:
        said = (str(error).strip().splitlines() or [""])[0]
        print(
            f"the sink {name} failed and gets no more of this run, whose own files are whole: "
            f"{type(error).__name__}: {said}",
            file=sys.stderr,
        )


def scalars(lines: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """{`phase/metric`: mean over training seeds, and `phase/metric/seed_N` where there are several}."""
    by_seed: dict[str, dict[Any, list[float]]] = {}
    for line in lines:
        seed = line.get("training_seed", line.get("seed"))
        for name, value in line.items():
            if name not in ("phase", "step", "seed", "training_seed", "task") and value is not None:
                by_seed.setdefault(f"{line['phase']}/{name}", {}).setdefault(seed, []).append(float(value))
    found = {}
    for name, parts in by_seed.items():
        means = {seed: float(np.mean(values)) for seed, values in parts.items()}
        found[name] = float(np.mean(list(means.values())))
        if len(means) > 1:
            found |= {f"{name}/seed_{seed}": mean for seed, mean in means.items()}
    return found


def _identity(folder: Path, sink: str, make: Callable[[], str]) -> str:
    """The sink's name for the run, kept in `sinks.json` so that a resumed run finds it."""
    note = folder / "sinks.json"
    known = json.loads(note.read_text()) if note.exists() else {}
    if sink not in known:
        known[sink] = make()
        note.write_text(json.dumps(known, indent=2) + "\n")
    return known[sink]


def _name(folder: Path) -> str:
    """The folder's last two names, such as `calql/finetune`."""
    return "/".join(folder.absolute().parts[-2:])


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """{"algorithm.config.weight": "5.0"}."""
    flat = {}
    for key, value in config.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": str(value)[:500]}
    return flat

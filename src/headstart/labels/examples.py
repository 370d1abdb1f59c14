"""Labelled examples: states that count as success, and states that do not."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headstart.data.columns import map_arrays, named_arrays
from headstart.data.dataset import Dataset
from headstart.data.files import existing, read_npz, require
from headstart.errors import DataError, UsageError
from headstart.train import acting


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
    """n states. observations: (n, *shape), or a dict of such arrays. successes: (n,) bool. groups: (n,) integers, what
    is held out together: the episode, or each example by itself. name: where they are from."""

    observations: Any
    successes: np.ndarray
    groups: np.ndarray
    name: str = "memory"

    def __len__(self) -> int:
        return len(self.successes)

    def describe(self) -> str:
        """Short text: `20 successes and 30 failures of labels.json (sha256 1a2b3c4d5e6f)`."""
        count = int(self.successes.sum())
        total = hashlib.sha256(np.packbits(self.successes).tobytes())
        for _, column in named_arrays(self.observations):
            total.update(np.ascontiguousarray(column).tobytes())
        return f"{count} successes and {len(self) - count} failures of {self.name} (sha256 {total.hexdigest()[:12]})"

    @classmethod
    def of_rows(
        cls, data: Dataset, successes: Sequence[int], failures: Sequence[int] = (), name: str = "memory"
    ) -> Examples:
        """The states at rows of the data."""
        rows = np.concatenate([np.asarray(successes, int), np.asarray(failures, int)])
        return cls(
            map_arrays(lambda column: np.asarray(column[rows]), data.observations),
            np.arange(len(rows)) < len(successes),
            np.asarray(data.episode_start[rows]),
            name,
        )

    @classmethod
    def of_successes(cls, data: Dataset, successes: int, failures: int = 0, seed: int = 0) -> Examples:
        """States that the data's own `successes` tell, drawn at random: for studies of how many are needed.

        Raises `DataError` where the data does not tell success, or holds too few of either kind.
        """
        if data.successes is None:
            raise DataError(f"{data.provenance.source} does not tell success")
        rng = np.random.default_rng(seed)
        steps = data.transitions
        kinds = {"successes": (successes, data.successes[steps]), "failures": (failures, ~data.successes[steps])}
        rows = []
        for kind, (count, told) in kinds.items():
            # What a step says is said of the state it led to.
            found = steps[told] + 1
            if count > len(found):
                raise DataError(f"{data.provenance.source} holds {len(found)} {kind}; {count} were asked for")
            rows.append(rng.choice(found, count, replace=False))
        return cls.of_rows(data, *rows, name=f"{data.provenance.source}, its own successes (seed {seed})")

    @classmethod
    def read(cls, file: str | Path, data: Dataset) -> Examples:
        """Examples of a file that goes with the data.

        `.json`: {"successes": [[episode, step], ...], "failures": [[episode, step], ...]}, states of the data; both
        count from 0, step -1 is an episode's last state. `.npz`: `observations` (n, *shape) (or `observations/NAME`)
        and `labels` (n,), 1 for success, states from anywhere. Failures may be absent.

        Raises `DataError` for files that are damaged or name what the data does not hold.
        """
        path = existing(file, "examples, .json or .npz")
        if path.suffix == ".npz":
            return cls._of_arrays(path, data)
        content = read_json(path)
        if not isinstance(content, dict) or not {"successes"} <= content.keys() <= {"successes", "failures"}:
            raise DataError(f'{path}: expected {{"successes": [[episode, step], ...], "failures": [...]}}')
        rows = {
            key: [_row(path, key, place, data) for place in content.get(key, ())] for key in ("successes", "failures")
        }
        return cls.of_rows(data, rows["successes"], rows["failures"], str(path))

    @classmethod
    def _of_arrays(cls, path: Path, data: Dataset) -> Examples:
        columns = read_npz(path)
        names = [name for name, _ in data.spec.observation]
        keys = {name: f"observations/{name}" if name else "observations" for name in names}
        require(path, columns, *keys.values(), "labels")
        observations = {name: columns[key] for name, key in keys.items()}
        observations = observations.get("", observations)
        labels = columns["labels"]
        try:
            observations = acting.with_axes(data.spec, observations, (len(labels),))
        except UsageError as error:
            raise DataError(f"{path}: {error}") from error
        if labels.ndim != 1 or not np.isin(labels, (0, 1)).all():
            raise DataError(f"{path}: labels must be (n,) numbers, 1 for success and 0 for failure")
        return cls(observations, labels.astype(bool), np.arange(len(labels)), str(path))


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises `DataError` where it is damaged."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not readable JSON ({error})") from error


def _row(path: Path, key: str, place: Any, data: Dataset) -> int:
    if not (isinstance(place, list) and len(place) == 2 and all(type(n) is int for n in place)):
        raise DataError(f"{path}: {key} must be pairs of whole numbers [episode, step], found {place!r}")
    episode, step = place
    if not 0 <= episode < data.episodes:
        raise DataError(
            f"{path}: {key} name episode {episode}; {data.provenance.source} has {data.episodes}, from 0 on"
        )
    start, end = int(data.starts[episode]), int(data.ends[episode])
    if not -1 <= step <= end - start:
        raise DataError(f"{path}: {key} name step {step} of episode {episode}, which has states 0 to {end - start}")
    return end if step == -1 else start + step

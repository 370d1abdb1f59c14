"""Minari data sets (Younis et al. 2024), read and written through Minari itself.

Minari has no place for absent actions or rewards nor for what was done to data, so `write` stores zeros for what is
absent and adds one entry `headstart` to the metadata, from which `read` restores the data exactly. Ids of tasks are
`infos/task`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from headstart import config
from headstart.data.columns import SUCCESS_KEYS, compact, map_arrays
from headstart.data.dataset import Dataset, Provenance
from headstart.data.files import new_folder, relative
from headstart.data.tasks import TaskTable
from headstart.errors import DataError, UsageError
from headstart.spec import ArraySpec, Spec

ID = re.compile(r"([-_\w]+/)*[-_\w]+-v(?P<version>\d+)")
MARKER = "data/metadata.json"
INFOS = {"success": "successes", "task": "tasks", "shared": "shared"}
"""Entry of the infos that `write` stores -> column."""


def path(locator: str | Path) -> Path:
    """The folder that an ID or a folder's own path means, whether or not it is there."""
    folder = Path(locator).expanduser()
    if (folder / "data").is_dir() or _is_path(locator):
        return folder
    from minari.storage.datasets_root_dir import get_dataset_path

    return get_dataset_path(str(locator))


def read(locator: str | Path) -> Dataset:
    """A Minari data set: by ID, from Minari's folder or by its own download, or by the path of its folder (the one that
    holds `data/`).

    Observations may be a `Box` or a `Dict` of them (nested names are joined with "/"), actions `Box` or `Discrete`.
    `infos/success` (or `is_success`, `goal_achieved`) becomes `successes`: infos start with that of the reset, so the
    entry of step i is i + 1.

    Raises `DataError` for data that is absent and cannot be downloaded, is damaged, has been changed since headstart
    wrote it, or has spaces of other kinds.
    """
    from minari import MinariDataset

    folder = path(locator)
    if not (folder / "data").is_dir():
        _download(str(locator), folder)
    with _minari_errors(folder, "cannot be read by Minari"):
        content = MinariDataset(folder / "data")
        metadata = json.loads((folder / MARKER).read_text())
    ours = metadata.get("headstart")
    space = content.observation_space
    parts = _parts(folder, space)
    if type(content.action_space).__name__ not in ("Box", "Discrete"):
        raise DataError(f"{folder}: actions of type {type(content.action_space).__name__}; expected Box or Discrete")
    episodes = []
    with _minari_errors(folder, lambda: f"episode {len(episodes)} cannot be read"):
        for episode in content.iterate_episodes():
            episodes.append(_episode(folder, len(episodes), episode, [name for name, _ in parts], ours is not None))
    if ours is None:
        spec = table = None
        version = ID.fullmatch(content.id)
        provenance = Provenance(
            f"minari:{locator}",
            f"v{version['version']}" if version else "",
            content.env_spec.id if content.env_spec else "",
        )
    else:
        spec, provenance, absent, table = _ours(folder, ours)
        episodes = [{key: column for key, column in e.items() if key not in absent} for e in episodes]
    spec = spec or _spec(parts, content.action_space, episodes[:1])
    # Errors name this folder, wherever the data came from in the first place.
    data = Dataset.from_episodes(episodes, spec, Provenance(f"minari:{locator}"), table)
    data = dataclasses.replace(data, provenance=provenance)
    if ours is not None and data.digest != ours["sha256"]:
        raise DataError(
            f"{folder} is not what headstart wrote (its SHA-256 differs): damaged, or changed since; "
            f"if the change was meant, remove the entry 'headstart' from {folder / MARKER}"
        )
    return data


def write(
    data: Dataset,
    target: str | Path,
    overwrite: bool = False,
    description: str = "",
    algorithm: str = "",
    env_spec: Any = None,
) -> Path:
    """Write a Minari data set to an ID or a folder, so that `minari.load_dataset` reads it. Returns the folder.

    A target that ends in a version, such as `door/mixed-v0`, is an ID under MINARI_DATASETS_PATH, unless it is absolute
    or starts with `.` or `~`; every other target, and every `Path`, is a folder. description and algorithm (what chose
    the actions) go into the metadata. env_spec: the Gymnasium `EnvSpec`; where absent, that of the environment in the
    data's provenance, if it is registered. Images are stored exactly, not as JPEG.

    Raises `UsageError` where the target exists (unless `overwrite`, and it is a Minari data set) and `DataError` where
    it cannot be written.
    """
    import minari
    from minari.data_collector import EpisodeBuffer
    from minari.dataset.minari_storage import MinariStorage
    from minari.namespace import create_namespace, list_local_namespaces
    from minari.storage.datasets_root_dir import get_dataset_path

    by_id = not _is_path(target)
    folder = get_dataset_path(str(target)) if by_id else Path(target).expanduser()
    observation_space = _observation_space(data.spec)
    absent = [name for name in ("actions", "rewards") if getattr(data, name) is None]
    action = data.spec.action or ArraySpec((1,))

    def buffer(index: int) -> EpisodeBuffer:
        episode = data.episode(index)
        steps = int(data.ends[index] - data.starts[index])
        last = np.arange(steps) == steps - 1
        # The first entry belongs to the reset.
        infos = {key: np.concatenate([column[:1] * 0, column]) for key, name in INFOS.items()
                 if (column := episode.get(name)) is not None}  # fmt: skip
        return EpisodeBuffer(
            observations=_nested(episode["observations"]),
            actions=np.asarray(episode.get("actions", np.zeros((steps, *action.shape), action.dtype))),
            rewards=np.asarray(episode.get("rewards", np.zeros(steps, np.float32))),
            terminations=last & episode["terminated"],
            truncations=last & (not episode["terminated"]),
            infos=infos or None,
        )

    # HDF5 keeps a few kilobytes of its own for each array of an episode.
    needed = data.nbytes + data.episodes * len(data.columns()) * 8192
    with new_folder(folder, overwrite, MARKER, needed) as place:
        storage = MinariStorage.new(
            place / "data",
            observation_space,
            _space(action),
            env_spec or _registered(data.provenance.environment),
            jpeg_encoding=False,
        )
        entries = {
            "dataset_id": str(target) if by_id else _id_of(folder),
            "minari_version": minari.__version__,
            "description": description
            or f"{data.provenance.source}; {', '.join(data.provenance.transforms)}".strip("; "),
            "headstart": {
                "absent": absent,
                "spec": data.spec.to_json(),
                "provenance": config.to_json(data.provenance),
                "sha256": data.digest,
            }
            | ({} if data.task_table is None else {"tasks": config.to_json(data.task_table)}),
        }
        storage.update_metadata(entries | ({"algorithm_name": algorithm} if algorithm else {}))
        storage.update_episodes(buffer(index) for index in range(data.episodes))
    namespace = str(target).rpartition("/")[0] if by_id else ""
    if namespace and namespace not in list_local_namespaces():
        create_namespace(namespace)
    return folder


# -- places -----------------------------------------------------------------------------------------------------


def _is_path(target: str | Path) -> bool:
    return isinstance(target, Path) or target.startswith(("/", ".", "~")) or not ID.fullmatch(target)


def _id_of(folder: Path) -> str:
    name = re.sub(r"[^-_\w]", "-", folder.name) or "data"
    return name if ID.fullmatch(name) else f"{name}-v0"


def _download(locator: str, folder: Path) -> None:
    if _is_path(locator):
        raise DataError(
            f"minari:{locator} is neither a folder that holds data/metadata.json nor an ID such as D4RL/door/human-v2"
        )
    from minari.storage.hosting import download_dataset

    try:
        # Minari's progress lines do not belong to this program's output.
        with contextlib.redirect_stdout(sys.stderr):
            download_dataset(locator)
    except Exception as error:  # whatever the network library of Minari's remote raises
        root = folder.parents[locator.count("/")]
        local = [str(marker.parents[1].relative_to(root)) for marker in root.glob(f"**/{MARKER}")]
        near = difflib.get_close_matches(locator, local, n=1, cutoff=0.8)
        advice = f"did you mean {near[0]!r}?" if near else "check the ID and the network, or set MINARI_DATASETS_PATH"
        raise DataError(
            f"minari:{locator} is not in {root} and Minari cannot download it ({_first_line(error)}); {advice}"
        ) from error


def _registered(environment: str) -> Any:
    """The spec of a registered environment that can be stored as JSON, else None."""
    import gymnasium

    spec = gymnasium.registry.get(environment)
    try:
        return spec if spec and spec.to_json() else None
    except TypeError:  # callables among its arguments
        return None


@contextlib.contextmanager
def _minari_errors(folder: Path, what: Any) -> Iterator[None]:
    """Turn what Minari, h5py, JSON and Gymnasium raise on damaged files into a `DataError`."""
    try:
        yield
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, AssertionError, AttributeError) as error:
        raise DataError(f"{folder}: {what() if callable(what) else what}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip('"') or type(error).__name__).splitlines()[0]


# -- spaces and episodes ----------------------------------------------------------------------------------------


def _parts(folder: Path, space: Any, name: str = "") -> list[tuple[str, Any]]:
    """(name, Box) of every observation array; nested names are joined with "/"."""
    kind = type(space).__name__
    if kind == "Dict":
        prefix = f"{name}/" if name else ""
        return [part for key, inner in sorted(space.spaces.items()) for part in _parts(folder, inner, f"{prefix}{key}")]
    if kind != "Box":
        label = f"observation {name!r}" if name else "the observation"
        raise DataError(f"{folder}: {label} is of type {kind}; expected Box, or Dict of Box")
    return [(name, space)]


def _spec(parts: list[tuple[str, Any]], action_space: Any, episodes: list[dict[str, Any]]) -> Spec | None:
    if not episodes:
        return None
    observations = episodes[0]["observations"]
    observation = []
    for name, space in parts:
        column = observations[name] if name else observations
        # Scalars are stored with one axis.
        observation.append((name, config.replace(ArraySpec.of_space(space), shape=column.shape[1:])))
    return Spec(tuple(observation), ArraySpec.of_space(action_space))


def _episode(folder: Path, index: int, episode: Any, names: list[str], ours: bool) -> dict[str, Any]:
    found = {"rewards": episode.rewards, "actions": np.asarray(episode.actions)}
    if names == [""]:
        found["observations"] = compact(np.asarray(episode.observations))
    else:
        found["observations"] = {name: compact(np.asarray(_lookup(episode.observations, name))) for name in names}
    steps = len(found["rewards"])
    if episode.terminations[:-1].any():
        step = int(np.flatnonzero(episode.terminations)[0])
        raise DataError(f"{folder}: episode {index} goes on after its termination at step {step} of {steps}")
    found["terminated"] = bool(episode.terminations[-1:].any())
    infos = episode.infos or {}
    columns = {"successes": next((name for name in SUCCESS_KEYS if name in infos), None)}
    if ours:
        # What others call a task may be anything.
        columns |= {column: name for name, column in INFOS.items() if name in infos}
    for column, name in columns.items():
        if name is None:
            continue
        values = np.asarray(infos[name])
        if len(values) not in (steps, steps + 1):
            raise DataError(
                f"{folder}: infos/{name} of episode {index} has {len(values)} entries, expected {steps + 1}"
            )
        found[column] = values[-steps:].astype(np.int32 if column == "tasks" else bool)
    return found


def _lookup(observations: dict[str, Any], name: str) -> Any:
    for key in name.split("/"):
        observations = observations[key]
    return observations


def _ours(folder: Path, entry: dict[str, Any]) -> tuple[Spec, Provenance, list[str], TaskTable | None]:
    try:
        entry["sha256"]
        table = config.from_json(TaskTable, entry["tasks"]) if "tasks" in entry else None
        provenance = config.from_json(Provenance, entry["provenance"])
        return Spec.from_json(entry["spec"]), provenance, list(entry["absent"]), table
    except (KeyError, TypeError, UsageError) as error:
        raise DataError(f"{folder / MARKER}: the entry 'headstart' is damaged: {error}") from error


def _space(part: ArraySpec) -> Any:
    from gymnasium.spaces import Box, Discrete

    if part.discrete:
        return Discrete(part.categories)
    if part.dtype == "uint8":
        return Box(0, 255, part.shape, np.uint8)
    low, high = (
        np.full(part.shape, default, np.float32) if bound is None else np.asarray(bound, np.float32).reshape(part.shape)
        for bound, default in ((part.low, -np.inf), (part.high, np.inf))
    )
    return Box(low, high, part.shape, np.float32)


def _observation_space(spec: Spec) -> Any:
    from gymnasium.spaces import Dict

    spaces = {name: _space(part) for name, part in spec.observation}
    if list(spaces) == [""]:
        return spaces[""]

    def of(tree: dict[str, Any]) -> Any:
        return Dict({key: of(inner) if isinstance(inner, dict) else inner for key, inner in tree.items()})

    return of(_nested(spaces))


def _nested(flat: Any) -> Any:
    """{"a/b": x} as {"a": {"b": x}}; anything but a dict as it is."""
    if not isinstance(flat, dict):
        return map_arrays(np.asarray, flat)
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *outer, last = relative(name).split("/")
        inner = tree
        for key in outer:
            inner = inner.setdefault(key, {})
        inner[last] = np.asarray(value) if isinstance(value, np.ndarray) else value
    return tree

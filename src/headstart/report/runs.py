"""Which runs there are, which follow one another, and which are seeds of the same method.

A run is a folder with `config.json` (see `headstart.train.run`). A run that started from another names the digest of
that artifact, so runs form chains: pretraining, then finetuning. Chains whose settings are the same but for their
seeds are one method.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headstart.errors import DataError, UsageError
from headstart.train.run import read_log


@dataclasses.dataclass(frozen=True, eq=False)
class RunFiles:
    """The files of one run. root: the folder that the user named, from which the run was found."""

    root: Path
    folder: Path

    @functools.cached_property
    def config(self) -> dict[str, Any]:
        """config.json: phase, algorithm, options, settings, seeds, data, source."""
        config = read_json(self.folder / "config.json")
        lacking = {"phase", "algorithm", "options", "settings", "seeds", "data", "source"} - config.keys()
        if lacking:
            raise DataError(f"{self.folder / 'config.json'}: {', '.join(sorted(lacking))} missing; not a run's file")
        return config

    @functools.cached_property
    def manifest(self) -> dict[str, Any] | None:
        """artifact/artifact.json; None while the run is not complete."""
        file = self.folder / "artifact" / "artifact.json"
        return read_json(file) if file.exists() else None

    @functools.cached_property
    def episodes(self) -> list[dict[str, Any]]:
        return read_log(self.folder, "episodes")

    @property
    def title(self) -> str:
        """Name of the algorithm, such as `calql`."""
        return self.manifest["title"] if self.manifest else self.config["algorithm"]["name"]

    @property
    def env(self) -> str | None:
        return self.config["settings"]["env"]

    @property
    def online(self) -> bool:
        return self.config["phase"] == "online"

    @property
    def data(self) -> list[dict[str, Any]]:
        """Provenance of what it learned from; empty where that was an environment alone."""
        data = self.config["data"] or []
        return data if isinstance(data, list) else [data]


Chain = tuple[RunFiles, ...]
"""Runs that follow one another, oldest first."""


@dataclasses.dataclass(frozen=True, eq=False)
class Method:
    """What one line of a table tells of: a chain of runs, or several with the same settings and other seeds.

    task: the environment of its evaluations, None where there are none.
    """

    label: str
    task: str | None
    chains: tuple[Chain, ...]

    @property
    def runs(self) -> list[RunFiles]:
        return [run for chain in self.chains for run in chain]

    @property
    def seeds(self) -> list[int]:
        return [seed for chain in self.chains for seed in chain[-1].config["seeds"]]

    def scored(self, online: bool) -> list[list[RunFiles]]:
        """For each chain the runs whose records are drawn, on one side of the switch: those evaluated in the task (the
        last run, where none was)."""
        return [[run for run in _drawn(chain, self.task) if run.online == online] for chain in self.chains]


def find(paths: Sequence[str | Path]) -> list[RunFiles]:
    """The runs at and below the paths, in order of their names.

    Raises `UsageError` for a path that does not exist or holds no run, `DataError` for a damaged config.json.
    """
    if not paths:
        raise UsageError("no run is named; expected folders of runs, or folders that hold runs")
    found: dict[Path, RunFiles] = {}
    for path in map(Path, paths):
        if not path.exists():
            raise UsageError(f"{path} does not exist; expected the folder of a run, or one that holds runs")
        if (path / "config.json").exists():
            folders = [path]
        else:
            # Others write files of that name too.
            folders = sorted(file.parent for file in path.rglob("config.json") if "phase" in read_json(file))
        if not folders:
            hint = "; it is an artifact: name the run's folder" if (path / "artifact.json").exists() else ""
            raise UsageError(f"{path} holds no run (no config.json in it or below){hint}")
        for folder in folders:
            found.setdefault(folder.resolve(), RunFiles(path, folder))
    return list(found.values())


def methods(runs: Sequence[RunFiles]) -> list[Method]:
    """The chains of runs, those with the same settings and other seeds together.

    A label is the name of the folder that holds the method's runs and no others, else the algorithm's; labels are
    unique within a task and the same across tasks.
    """
    groups: dict[str, list[Chain]] = {}
    for chain in _chains(runs):
        key = json.dumps([_settings(run) for run in chain], sort_keys=True)
        taken = {seed for other in groups.get(key, ()) for seed in other[-1].config["seeds"]}
        if taken & set(chain[-1].config["seeds"]):
            # The same seeds once more are a repetition, not more seeds.
            key += str(chain[-1].folder)
        groups.setdefault(key, []).append(chain)
    tasks: dict[str | None, list[list[Chain]]] = {}
    for chains in groups.values():
        tasks.setdefault(_task(chains[0]), []).append(chains)
    return [
        Method(label, task, tuple(chains))
        for task, members in tasks.items()
        for label, chains in zip(_labels(members, runs, len(tasks.keys() - {None}) > 1), members, strict=True)
    ]


def read_json(file: Path) -> Any:
    """Raises `DataError` where the file is absent or no JSON object."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise DataError(f"{file} is damaged or cut short: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{file}: expected a JSON object, found {type(content).__name__}")
    return content


# -- chains -------------------------------------------------------------------------------------------------------


def _chains(runs: Sequence[RunFiles]) -> list[Chain]:
    made: dict[str, list[RunFiles]] = {}
    for run in runs:
        if run.manifest:
            made.setdefault(run.manifest["digest"], []).append(run)

    def source(run: RunFiles) -> RunFiles | None:
        # Of copies of a run the one beside this run.
        candidates = made.get(run.config["source"], [])
        return next((other for other in candidates if other.root == run.root), candidates[0] if candidates else None)

    sources = {run: source(run) for run in runs}
    chains = []
    for run in runs:
        if run in sources.values():
            continue
        chain = [run]
        while (before := sources[chain[0]]) is not None:
            chain.insert(0, before)
        chains.append(tuple(chain))
    return chains


def _task(chain: Chain) -> str | None:
    return next((run.env for run in reversed(chain) if run.episodes), None)


def _drawn(chain: Chain, task: str | None) -> Chain:
    if task is None:
        return chain[-1:]
    return tuple(run for run in chain if run.episodes and run.env == task)


def _settings(run: RunFiles) -> dict[str, Any]:
    return {name: value for name, value in run.config.items() if name not in ("seeds", "source")}


# -- labels -------------------------------------------------------------------------------------------------------


def _labels(members: Sequence[Sequence[Chain]], runs: Sequence[RunFiles], several_tasks: bool) -> list[str]:
    """A label for each method of a task."""
    places = [_shared([_place(chain, runs) for chain in chains]) for chains in members]
    if len(places) == 1:
        # The folder of a method that is alone may be named after its task.
        places = [[]] if several_tasks else places
    else:
        for end in (0, -1):
            while all(len(place) > 1 for place in places) and len({place[end] for place in places}) == 1:
                for place in places:
                    del place[end]
    last = [chains[0][-1] for chains in members]
    labels = ["/".join(place) or run.title for place, run in zip(places, last, strict=True)]
    for label in {label for label in labels if labels.count(label) > 1}:
        twins = [i for i, other in enumerate(labels) if other == label]
        paths = [str(last[i].root) for i in twins]
        if len(set(paths)) < len(paths):
            paths = [str(last[i].folder) for i in twins]
        common = os.path.commonpath(paths)
        for i, path in zip(twins, paths, strict=True):
            labels[i] = f"{label} ({os.path.relpath(path, common) if common else path})"
    return labels


def _shared(places: Sequence[Sequence[str]]) -> list[str]:
    """The folders with which all of them begin."""
    alike = itertools.takewhile(lambda names: len(set(names)) == 1, zip(*places, strict=False))
    return [names[0] for names in alike]


def _place(chain: Chain, runs: Sequence[RunFiles]) -> tuple[str, ...]:
    """Folders from the one that the user named down to the highest that holds runs of this chain alone."""
    last, others = chain[-1], [run for run in runs if run not in chain]
    parts = last.folder.relative_to(last.root).parts
    for depth in range(len(parts)):
        folder = last.root.joinpath(*parts[:depth])
        if not any(other.folder.is_relative_to(folder) for other in others):
            return parts[:depth]
    return parts

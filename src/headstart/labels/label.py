"""`label`: data and little supervision in, data with rewards out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from headstart import config
from headstart.artifact import Artifact
from headstart.data import sources
from headstart.data.dataset import Dataset
from headstart.errors import UsageError, unknown
from headstart.labels.classifier import Classifier
from headstart.labels.distance import Distance, read_goal
from headstart.labels.examples import Examples
from headstart.labels.labelled import Labelled
from headstart.labels.preferences import Comparisons, Preferences
from headstart.labels.zero import Zero

METHODS: dict[str, type] = {
    "zero": Zero,
    "classifier": Classifier,
    "distance": Distance,
    "preferences": Preferences,
}
"""Name -> frozen dataclass of settings whose method `label(data, ...)` gives `Labelled`."""

NEEDS = {"zero": (), "classifier": ("examples",), "distance": ("artifact", "goal"), "preferences": ("preferences",)}
"""What each method learns from."""

TAKES = NEEDS | {"zero": ("labelled",)}
"""The same with what may be left out."""


def label(
    data: Dataset | str,
    by: str,
    *,
    examples: Examples | str | Path | None = None,
    artifact: Artifact | str | Path | None = None,
    goal: Any = None,
    preferences: Comparisons | str | Path | None = None,
    labelled: Dataset | str | None = None,
    **settings: Any,
) -> Labelled:
    """Data with new rewards in place of its own, whose provenance says by what they are and how good.

    by: a name in `METHODS`; settings: fields of its class. examples: for the classifier, `Examples` or a file (see
    `Examples.read`). artifact, goal: for the distance, a model with values of goals, and an observation or text as
    `read_goal` takes it. preferences: `Comparisons` or a file (see `Comparisons.read`). labelled: for zero, data of the
    task with its rewards, to be joined with.

    Raises `UsageError` for unknown names, and what a method needs and is not given, or is given and does not take;
    `DataError` for data with NaN and for damaged files.

    >>> import headstart as hs
    >>> found = hs.label("arrays:walks", "classifier", examples="labels.json")  # doctest: +SKIP
    >>> print(found.describe()); model = hs.pretrain("iql", found.data, steps=20_000)  # doctest: +SKIP
    """
    if by not in METHODS:
        raise unknown("way to label", by, METHODS)
    method = config.replace(METHODS[by](), **settings)
    given = {
        "examples": examples, "artifact": artifact, "goal": goal, "preferences": preferences, "labelled": labelled,
    }  # fmt: skip
    for name, value in given.items():
        if value is None and name in NEEDS[by]:
            raise UsageError(f"labels by {by} need {_A[name]} ({name})")
        if value is not None and name not in TAKES[by]:
            raise UsageError(f"labels by {by} take no {name}")
    data = _loaded(data)
    data.require_finite()
    if isinstance(examples, str | Path):
        given["examples"] = Examples.read(examples, data)
    if isinstance(artifact, str | Path):
        given["artifact"] = Artifact.load(artifact)
    if isinstance(goal, str):
        given["goal"] = read_goal(goal, data)
    if isinstance(preferences, str | Path):
        given["preferences"] = Comparisons.read(preferences)
    if labelled is not None:
        given["labelled"] = _loaded(labelled)
    return method.label(data, **{name: given[name] for name in TAKES[by]})


_A = {
    "examples": "examples of success",
    "artifact": "a model with values of goals",
    "goal": "a goal",
    "preferences": "preferences between segments",
}


def _loaded(data: Dataset | str) -> Dataset:
    return data if isinstance(data, Dataset) else sources.load(data)

"""`headstart data label`: rewards for data that has none, from little supervision."""

# No `from __future__ import annotations`: the types below are made while the program runs.
import shlex
import sys
from pathlib import Path
from typing import Annotated

from headstart.cli import parse
from headstart.errors import UsageError, unknown

USAGE = """usage: headstart data label SOURCE --by METHOD --out TARGET [OPTIONS]

{methods}

See headstart data label --by METHOD --help, and docs/labels.md."""


def main(args: list[str]) -> None:
    """Give a data set rewards from little supervision: zero, a classifier, a learned distance, preferences."""
    from headstart.labels.label import METHODS

    by = _method(args)
    if by is None:
        if not set(parse.HELP) & set(args):
            raise UsageError(f"missing --by; one of {', '.join(METHODS)}")
        print(USAGE.format(methods=parse.listing({name: parse.first_line(kind) for name, kind in METHODS.items()})))
        return
    if by not in METHODS:
        raise unknown("way to label (--by)", by, METHODS)
    from tyro.conf import OmitArgPrefixes as Flat
    from tyro.conf import Positional, arg

    kind = METHODS[by]

    def label(
        source: Annotated[str, Positional, arg(metavar="SOURCE")],
        *,
        by: str,
        out: Annotated[str, arg(metavar="TARGET")],
        examples: Annotated[Path | None, arg(metavar="FILE")] = None,
        artifact: Path | None = None,
        goal: str | None = None,
        preferences: Annotated[Path | None, arg(metavar="FILE")] = None,
        labelled: Annotated[str | None, arg(metavar="SOURCE")] = None,
        overwrite: bool = False,
        settings: Flat[kind] = kind(),  # noqa: B008  # a frozen dataclass
    ) -> None:
        """Write the data with new rewards, and say how good they are.

        Args:
            source: Where the data is, as for `headstart data inspect`.
            by: How: zero, classifier, distance or preferences; each has settings of its own (--by METHOD --help).
            out: Where to write: minari:ID, minari:FOLDER or arrays:FOLDER.
            examples: Of classifier: states that count as success, and such that do not where there are any. .json:
                {"successes": [[episode, step], ...], "failures": [...]}; .npz: observations and labels.
            artifact: Of distance: a model with values of goals; the folder of an artifact or its run.
            goal: Of distance: an observation as JSON, such as '[1.0, 2.0]', or a .npz file with `observation`.
            preferences: Of preferences: which of two segments is better. .json:
                [{"first": [episode, start, length], "second": [...], "preferred": 0 or 1 or 0.5}, ...]; .npz: the same.
            labelled: Of zero: data of the task with its rewards, with which the result is joined.
            overwrite: Replace a data set of that format that is there already.
        """
        import dataclasses

        from headstart.data import sources
        from headstart.labels.label import label

        found = label(
            source, by, examples=examples, artifact=artifact, goal=goal, preferences=preferences, labelled=labelled,
            **dataclasses.asdict(settings),
        )  # fmt: skip
        folder = sources.write(found.data, out, overwrite)
        for measure in found.measures:
            print(measure.describe())
        for warning in found.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        print(f"{found.data.episodes:,} episodes, {found.data.steps:,} steps written to {folder}")
        # What a warning doubts is not to be trained on yet.
        if not found.warnings:
            print(f"next: headstart advise {shlex.quote(out)}")

    parse.call(label, args, "headstart data label")


def _method(args: list[str]) -> str | None:
    for i, argument in enumerate(args):
        if argument == "--by" and i + 1 < len(args):
            return args[i + 1]
        if argument.startswith("--by="):
            return argument.removeprefix("--by=")
    return None

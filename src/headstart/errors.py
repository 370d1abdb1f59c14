"""Errors that a user can act on: each message names the culprit, what was expected and what to do."""

from __future__ import annotations

import difflib
import json
import shlex
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit


class HeadstartError(Exception):
    """A failure with a message for the user; the command line prints it and exits with `exit_code`."""

    exit_code = 1


class UsageError(HeadstartError):
    """The caller asked for something that does not exist or does not fit (exit code 2)."""

    exit_code = 2


class DataError(HeadstartError):
    """A file or data set that cannot be read or used."""


class ArtifactError(HeadstartError):
    """An artifact that is damaged, too new, or does not fit."""


class TrainingError(HeadstartError):
    """Training that cannot go on, such as a loss that turned NaN."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for an unknown name: "unknown algorithm 'calqll'; did you mean 'calql'?"."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    more = f" and {len(known) - 20} more" if len(known) > 20 else ""
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known[:20])}{more}"
    return UsageError(f"unknown {kind} {name!r}; {hint}")


def install(*extras: str) -> str:
    """The commands, one an extra, that install what is missing: from the clone that this was installed from or runs in,
    else from a package index."""
    return " or ".join(f"`pip install {shlex.quote(f'{_origin()}[{extra}]')}`" for extra in extras)


def _origin() -> str:
    """What pip calls this package: the path of its clone, or its name."""
    clone = Path(__file__).parents[2]
    if (clone / "pyproject.toml").is_file():
        return str(clone)
    try:
        told = metadata.distribution("headstart").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        told = None
    found = json.loads(told) if told else {}
    return unquote(urlsplit(found["url"]).path) if "dir_info" in found else "headstart"

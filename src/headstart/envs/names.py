"""Names with arguments, as environments and controllers have them: "name?key=value&key=value"."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

from headstart.errors import UsageError, unknown

RESERVED = ("task", "sparse", "repeat", "steps", "pixels", "goal")
"""Keys that every environment takes (`factory.make`)."""


def parse(text: str) -> tuple[str, dict[str, Any]]:
    """Name and arguments; values are JSON where they parse, else text.

    >>> parse("maze?repeat=5&task=easy&noise=0.5")
    ('maze', {'repeat': 5, 'task': 'easy', 'noise': 0.5})
    """
    name, _, query = text.partition("?")
    arguments: dict[str, Any] = {}
    for item in filter(None, query.split("&")):
        key, equals, value = item.partition("=")
        if not (key and equals):
            raise UsageError(f"{text}: expected key=value after the question mark, found {item!r}")
        if key in arguments:
            raise UsageError(f"{text}: {key} is given twice")
        value = urllib.parse.unquote(value)
        try:
            arguments[key] = json.loads(value)
        except json.JSONDecodeError:
            arguments[key] = value
    return name, arguments


def accept(function: Callable, arguments: Mapping[str, Any], kind: str, others: Iterable[str] = ()) -> None:
    """Raise `UsageError` (with a "did you mean") for arguments that `function` does not take by name.

    others: names that may stand beside them, taken elsewhere.
    """
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind == p.VAR_KEYWORD for p in parameters):
        return
    known = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    for key in arguments:
        if not known:
            raise UsageError(f"{kind} takes no arguments, found {key!r}")
        if key not in known:
            raise unknown(f"argument of {kind}", key, [*known, *others])


def import_named(module: str, wanted: str) -> ModuleType:
    """A module of the user's, looked for on the path and in the current folder."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UsageError(f"{wanted}: {error}; run where the module lies or set PYTHONPATH") from error

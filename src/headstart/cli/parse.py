"""From command lines to function calls: tyro reads the flags, and mistakes get short answers."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import inspect
import io
import itertools
import json
import os
import re
import shutil
import textwrap
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from headstart.errors import UsageError, unknown

HELP = ("-h", "--help")


def call(function: Callable[..., None], args: Sequence[str], prog: str) -> None:
    """Call `function` as the arguments say. Its parameters are the flags, their help is in its docstring; a parameter
    that is a dataclass, annotated with `tyro.conf.OmitArgPrefixes`, has a flag for every field.

    Prints help and raises `SystemExit` where that is asked for. Raises `UsageError` for what is unknown, missing, given
    twice or of another type.
    """
    import tyro

    @functools.wraps(function)
    def bind(*values: Any, **named: Any) -> Callable[[], None]:
        return functools.partial(function, *values, **named)

    # tyro would keep the line breaks of the source.
    bind.__doc__ = re.sub(r"\n {8,}", " ", inspect.cleandoc(function.__doc__ or ""))
    said = io.StringIO()
    width = {} if set(HELP) & set(args) else {"COLUMNS": "10000"}
    try:
        with contextlib.redirect_stderr(said), _environment(width):
            _once(args)
            bound = tyro.cli(bind, args=list(args), prog=prog)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise _mistake(said.getvalue(), function, args, prog) from None
    except UsageError as error:
        raise _in_flags(error, function) from error
    try:
        bound()
    except UsageError as error:
        raise _in_flags(error, function) from error


def choose(
    args: Sequence[str], prog: str, kind: str, about: Mapping[str, str], note: str = ""
) -> tuple[str, list[str]]:
    """The name that the first argument chooses, and the other arguments. about: {name: one line of help}. note: more
    that --help says.

    Prints a list of the names and raises `SystemExit` for --help. Raises `UsageError` where none or an unknown one is
    given.
    """
    if args and args[0] in HELP:
        more = f"{note}\n\n" if note else ""
        print(f"usage: {prog} {kind.upper()} [OPTIONS]\n\n{listing(about)}\n\n{more}See {prog} {kind.upper()} --help.")
        raise SystemExit(0)
    if not args or args[0].startswith("-"):
        found = f"found {args[0]}" if args else "found nothing"
        raise UsageError(f"{prog}: expected {_article(kind)} first, {found}; one of {', '.join(about)}")
    if args[0] not in about:
        raise unknown(kind, args[0], about)
    return args[0], list(args[1:])


def listing(about: Mapping[str, str]) -> str:
    """Two columns of text, as wide as the terminal."""
    indent = max(map(len, about)) + 4
    width = max(indent + 30, min(120, shutil.get_terminal_size((120, 24)).columns))

    def wrapped(name: str, line: str) -> str:
        return textwrap.fill(
            line, width, initial_indent=f"  {name}".ljust(indent), subsequent_indent=" " * indent,
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip

    return "\n".join(wrapped(name, line) for name, line in about.items())


def first_line(documented: Any) -> str:
    """The first sentence of a docstring, or its first clause outside parentheses, without its full stop."""
    text = " ".join((inspect.getdoc(documented) or "").split())
    return re.split(r"(?<!et al)[.;](?: |$)(?![^(]*\))", text, maxsplit=1)[0]


def flags(documented: Any) -> set[str]:
    """The flags that a function or dataclass gives rise to."""
    if dataclasses.is_dataclass(documented):
        hints = {field.name: field.type for field in dataclasses.fields(documented)}
    else:
        hints = {name: hint for name, hint in typing.get_type_hints(documented).items() if name != "return"}
    found = set()
    for name, hint in hints.items():
        if dataclasses.is_dataclass(hint):
            found |= flags(hint)
            continue
        name = name.replace("_", "-")
        found.add(f"--{name}")
        if hint in (bool, "bool"):
            found.add(f"--no-{name}")
    return found


def given(args: Sequence[str]) -> list[str]:
    """The flags among the arguments, as tyro spells them: `--n_step=3` is `--n-step`."""
    return [a.partition("=")[0].replace("_", "-") for a in args if re.match(r"--\w", a)]


def assignments(pairs: Sequence[str], flag: str) -> dict[str, str]:
    """{"a": "b"} for ("a=b",). Raises `UsageError` for other forms."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise UsageError(f"{flag}: expected NAME=VALUE, found {pair!r}")
        if name in found:
            raise UsageError(f"{flag}: {name} is given twice")
        found[name] = value
    return found


def values(pairs: Sequence[str], flag: str) -> dict[str, Any]:
    """The same with values that are JSON where they parse, else text: {"weight": 1, "prior": "policy"}."""
    found: dict[str, Any] = {}
    for name, value in assignments(pairs, flag).items():
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    return found


def _once(args: Sequence[str]) -> None:
    """tyro would take the last of two and forget the first."""
    seen = set()
    for flag in given(args):
        if flag in seen:
            raise UsageError(f"{flag} is given twice")
        seen.add(flag)


@contextlib.contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        for name in changes:
            if name in before:
                os.environ[name] = before[name]
            else:
                del os.environ[name]


PLAIN = {
    r"^Error parsing ": "",
    r"invalid literal for int\(\) with base 10: (.*)": r"expected a whole number, found \1",
    r"could not convert string to float: (.*)": r"expected a number, found \1",
    r"Could not find valid parse for arguments: ": "cannot make sense of ",
    r"'None', |, 'None'": "",
}
"""What Python and tyro say, and how to say it to a user."""


def _mistake(box: str, function: Callable, args: Sequence[str], prog: str) -> UsageError:
    """One or two lines for the box of text in which tyro says what is wrong."""
    known = flags(function)
    for flag in given(args):
        if flag not in known:
            near = difflib.get_close_matches(flag, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"see {prog} --help"
            return UsageError(f"unknown option {flag!r}; {hint}")
    # A title (in the border, where the terminal can draw one), the message, and after a rule more help.
    rows = [row for row in (row.strip("│╭╮╰╯ ") for row in box.splitlines()) if row]
    rows = [row for row in rows[1:2] if row.strip("─-")] + rows[2:]
    lines = list(itertools.takewhile(lambda row: row.strip("─-"), rows))
    if lines and lines[0].startswith("Missing from"):
        # An argument and its help take a line each.
        missing = ", ".join(line for line in lines[1:] if re.match(r"--\w|[A-Z]+$", line))
        return UsageError(f"missing {missing}; see {prog} --help")
    text = " ".join(lines)
    for pattern, words in PLAIN.items():
        text = re.sub(pattern, words, text)
    return UsageError(f"{text.rstrip('.')}; see {prog} --help")


def _in_flags(error: UsageError, function: Callable) -> UsageError:
    """The same error with flags where it names a field, as in `OfflineOptions.steps: ...`, or a parameter, as in
    `say which one (env)`."""
    known = flags(function)

    def flag(name: str) -> str | None:
        found = f"--{name.replace('_', '-')}"
        return found if found in known else None

    def field(match: re.Match) -> str:
        # The fields of algorithms are values of --set where they have no flags of their own.
        return f"{flag(match[1]) or (f'--set {match[1]}' if '--set' in known else match[0])}"

    text = re.sub(r"^[A-Z]\w*\.(\w+)(?=[:\[])", field, str(error))
    text = re.sub(r"\((\w+)\)", lambda match: f"({flag(match[1]) or match[1]})", text)
    return type(error)(text)


def _article(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"

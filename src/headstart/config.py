"""Frozen dataclasses <-> JSON: strict and versioned.

A configuration holds plain values only (numbers, strings, booleans, None, tuples of these, and other
configurations), so it is hashable, static under `jit`, and the same on disk and on the command line.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator
from typing import Any, TypeVar

from headstart.errors import UsageError, unknown

T = TypeVar("T")


def to_json(config: Any) -> Any:
    """Plain JSON data for a configuration (dataclasses to dicts, tuples to lists)."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {f.name: to_json(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, list | tuple):
        return [to_json(item) for item in config]
    if isinstance(config, dict):
        return {key: to_json(value) for key, value in config.items()}
    return config


def from_json(kind: type[T], data: Any, where: str = "") -> T:
    """The configuration of type `kind` that `data` describes.

    A field that `data` lacks takes its default, so files from before the field was there can still be read; the default
    of a new field therefore stands for what was done without it.

    Raises `UsageError` for unknown keys (with a "did you mean"), missing ones without a default, and values of the
    wrong type; the message names the key as `where.key`.
    """
    where = where or kind.__name__
    if not isinstance(data, dict):
        raise UsageError(f"{where}: expected an object with the fields of {kind.__name__}, found {data!r}")
    hints = typing.get_type_hints(kind)
    fields = {f.name for f in dataclasses.fields(kind)}
    for key in data:
        if key not in fields:
            raise unknown(f"field of {where}", key, fields)
    missing = sorted(f.name for f in dataclasses.fields(kind) if _required(f) and f.name not in data)
    if missing:
        raise UsageError(f"{where}: missing {', '.join(missing)}")
    return kind(**{key: _value(hints[key], value, f"{where}.{key}") for key, value in data.items()})


def _required(field: dataclasses.Field) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def replace(config: T, **changes: Any) -> T:
    """`dataclasses.replace` that answers an unknown field with a "did you mean" and checks types."""
    names = {f.name for f in dataclasses.fields(config)}
    for key in changes:
        if key not in names:
            raise unknown(f"field of {type(config).__name__}", key, names)
    return from_json(type(config), to_json(config) | {key: to_json(value) for key, value in changes.items()})


def settle(config: Any) -> None:
    """For `__post_init__`: check every field against its type, and bring it to its plain form (lists become tuples,
    whole numbers floats where the field is one), so that a configuration made in Python is as strict as one from JSON.

    Raises `UsageError` for values of the wrong type or outside their choices.
    """
    hints = typing.get_type_hints(type(config))
    for name in (f.name for f in dataclasses.fields(config)):
        value = _value(hints[name], getattr(config, name), f"{type(config).__name__}.{name}")
        # The only way to set a field of a frozen dataclass.
        object.__setattr__(config, name, value)


def at_least(config: Any, least: float, *names: str) -> None:
    """Raise `UsageError` where one of these fields, or an item of it, is less than `least`."""
    for name, item in _items(config, names):
        if not item >= least:
            raise UsageError(f"{type(config).__name__}.{name}: expected at least {least}, found {item}")


def at_most(config: Any, most: float, *names: str) -> None:
    """The same for more than `most`."""
    for name, item in _items(config, names):
        if not item <= most:
            raise UsageError(f"{type(config).__name__}.{name}: expected at most {most}, found {item}")


def _items(config: Any, names: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """(name, number) of fields that are numbers or tuples of them; None has none."""
    for name in names:
        value = getattr(config, name)
        for item in value if isinstance(value, tuple) else () if value is None else (value,):
            yield name, item


def _value(hint: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        failure = None
        for option in args:
            if option is not type(None):
                try:
                    return _value(option, value, where)
                except UsageError as error:
                    failure = error
        raise failure
    if origin is typing.Literal:
        if value not in args:
            raise UsageError(f"{where}: expected one of {', '.join(map(repr, args))}, found {value!r}")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise UsageError(f"{where}: expected a list, found {value!r}")
        if args[-1:] == (Ellipsis,):
            return tuple(_value(args[0], item, f"{where}[{i}]") for i, item in enumerate(value))
        if len(args) != len(value):
            raise UsageError(f"{where}: expected {len(args)} values, found {len(value)}")
        return tuple(_value(arg, item, f"{where}[{i}]") for i, (arg, item) in enumerate(zip(args, value, strict=True)))
    if dataclasses.is_dataclass(hint):
        return from_json(hint, value, where)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is Any:
        return value
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise UsageError(f"{where}: expected {hint.__name__}, found {value!r}")
    return value

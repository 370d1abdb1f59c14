"""Configurations as JSON: strict, and readable when fields have come since."""

import dataclasses

import pytest

from headstart import config
from headstart.algos import registry
from headstart.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Example:
    size: int
    rate: float = 0.5


def test_a_file_from_before_a_field_was_there_is_read_with_its_default():
    found = registry.to_json(registry.algorithm("calql", weight=2.0))
    del found["config"]["gradient_samples"]
    assert registry.from_json(found) == registry.algorithm("calql", weight=2.0)


def test_what_is_unknown_or_has_no_default_is_named():
    with pytest.raises(UsageError, match="rat.*did you mean.*rate"):
        config.from_json(Example, {"size": 1, "rat": 0.1})
    with pytest.raises(UsageError, match="Example: missing size"):
        config.from_json(Example, {"rate": 0.1})
    with pytest.raises(UsageError, match=r"Example\.size: expected int, found '1'"):
        config.from_json(Example, {"size": "1"})

"""Pytrees by key path."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from headstart import trees


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Pair:
    left: object
    right: object


TREE = Pair({"b": np.zeros((2, 3), np.float32), "a": [np.ones(1, np.int32), None]}, (np.full(2, 7.0, np.float32),))


def test_paths_read_from_the_top_in_the_order_of_the_tree():
    assert list(trees.flatten(TREE)) == ["left/a/0", "left/b", "right/0"]
    assert trees.flatten(TREE)["right/0"] is TREE.right[0]


def test_what_was_flattened_is_filled_back_in():
    leaves = {name: leaf + 1 for name, leaf in reversed(trees.flatten(TREE).items())}
    filled = trees.fill(jax.eval_shape(lambda tree: tree, TREE), leaves)
    assert jax.tree.structure(filled) == jax.tree.structure(TREE)
    jax.tree.map(lambda new, old: np.testing.assert_array_equal(new, old + 1), filled, TREE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"left/b": None}, "^left/b is missing$"),
        ({"left/c": np.zeros(1)}, "^left/c is not expected$"),
        (
            {"left/b": np.zeros((3, 2), np.float32)},
            r"^left/b has shape \(3, 2\) and type float32, expected \(2, 3\) and",
        ),
        ({"right/0": np.zeros(2, np.int32)}, r"^right/0 has shape \(2,\) and type int32, expected \(2,\) and float32$"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    leaves = {name: leaf for name, leaf in (trees.flatten(TREE) | change).items() if leaf is not None}
    with pytest.raises(ValueError, match=message):
        trees.fill(TREE, leaves)


def test_names_with_a_slash_must_not_collide():
    with pytest.raises(ValueError, match="two arrays would be kept as a/b; names must not hold a slash"):
        trees.flatten({"a": {"b": np.zeros(1)}, "a/b": np.zeros(1)})

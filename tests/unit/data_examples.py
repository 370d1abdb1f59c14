"""Small data sets of every kind, for the tests of `headstart.data`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def shared(name: str) -> Path:
    """A file of the real data, or a skip."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"the real data is not here: {path}")
    return path


def make_episodes(
    lengths=(3, 1, 4),
    ends=(True, False, True),
    observations="array",
    actions="box",
    rewards=True,
    successes=True,
    seed=0,
):
    """Episodes in the form of `Dataset.from_episodes`; lengths in steps, ends: terminated."""
    rng = np.random.default_rng(seed)

    def looks(rows):
        if observations == "pixels":
            return rng.integers(0, 256, (rows, 4, 3, 2), dtype=np.uint8)
        if observations == "dict":
            return {
                "camera": rng.integers(0, 256, (rows, 2, 2), dtype=np.uint8),
                "arm/speed": rng.normal(size=(rows, 2)).astype(np.float32),
                "arm/angle": rng.normal(size=(rows, 3)).astype(np.float32),
            }
        return rng.normal(size=(rows, 3)).astype(np.float32)

    episodes = []
    for steps, terminated in zip(lengths, ends, strict=True):
        episode = {"observations": looks(steps + 1), "terminated": terminated}
        if actions == "box":
            episode["actions"] = rng.uniform(-1, 1, (steps, 2)).astype(np.float32)
        if actions == "discrete":
            episode["actions"] = rng.integers(0, 5, steps)
        if rewards:
            episode["rewards"] = rng.normal(size=steps).astype(np.float32)
        if successes:
            episode["successes"] = rng.random(steps) < 0.3
        episodes.append(episode)
    return episodes


@st.composite
def any_episodes(draw):
    """Episodes of any kind of observations, actions, missing columns and endings."""
    lengths = draw(st.lists(st.integers(1, 5), min_size=1, max_size=5))
    return make_episodes(
        lengths,
        draw(st.lists(st.booleans(), min_size=len(lengths), max_size=len(lengths))),
        draw(st.sampled_from(["array", "pixels", "dict"])),
        draw(st.sampled_from(["box", "discrete", None])),
        draw(st.booleans()),
        draw(st.booleans()),
        draw(st.integers(0, 1000)),
    )


def assert_same_episode(found, expected):
    """Every key equal, bit for bit; neither holds more."""
    assert found.keys() == expected.keys()
    assert found["terminated"] == expected["terminated"]
    for name in expected.keys() - {"terminated", "observations"}:
        np.testing.assert_array_equal(found[name], expected[name])
    if isinstance(expected["observations"], dict):
        assert found["observations"].keys() == expected["observations"].keys()
        for name, column in expected["observations"].items():
            np.testing.assert_array_equal(found["observations"][name], column)
            assert found["observations"][name].dtype == column.dtype
    else:
        np.testing.assert_array_equal(found["observations"], expected["observations"])
        assert found["observations"].dtype == expected["observations"].dtype


def assert_same_data(found, expected):
    """The same columns, types, spec and provenance, bit for bit."""
    assert [name for name, _ in found.columns()] == [name for name, _ in expected.columns()]
    for (name, a), (_, b) in zip(found.columns(), expected.columns(), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)
        assert a.dtype == b.dtype, name
    assert found.spec == expected.spec
    assert found.provenance == expected.provenance
    assert found.digest == expected.digest

import hashlib

import jax
import numpy as np
import pytest
from data_examples import any_episodes, assert_same_episode, make_episodes
from hypothesis import given
from hypothesis import strategies as st

from headstart.data.columns import ALIGNMENT, empty
from headstart.data.dataset import Dataset, Provenance
from headstart.errors import DataError


@given(any_episodes())
def test_episodes_come_back_exactly(episodes):
    data = Dataset.from_episodes(episodes)
    lengths = [len(episode["observations"]["camera"]) - 1 if isinstance(episode["observations"], dict)
               else len(episode["observations"]) - 1 for episode in episodes]  # fmt: skip
    assert (data.episodes, data.steps, len(data)) == (len(episodes), sum(lengths), sum(lengths) + len(episodes))
    for index, episode in enumerate(episodes):
        assert_same_episode(data.episode(index), episode)


@given(any_episodes())
def test_bounds_of_every_row(episodes):
    data = Dataset.from_episodes(episodes)
    row = 0
    for index in range(data.episodes):
        start, end = data.starts[index], data.ends[index]
        assert start == row
        assert (data.episode_start[start : end + 1] == start).all()
        assert (data.episode_end[start : end + 1] == end).all()
        # At most the last step is marked, and never the final observation's row.
        assert not data.terminations[start : end - 1].any()
        assert data.terminations[end - 1] == episodes[index]["terminated"]
        assert not data.terminations[end]
        row = end + 1
    assert row == len(data)
    np.testing.assert_array_equal(data.transitions, np.setdiff1d(np.arange(len(data)), data.ends))


@given(any_episodes())
def test_flat_columns_with_next_observations_mean_the_same_as_episodes(episodes):
    expected = Dataset.from_episodes(episodes)
    steps, following = expected.transitions, expected.transitions + 1

    def rows(index):
        if isinstance(expected.observations, dict):
            return {name: column[index] for name, column in expected.observations.items()}
        return expected.observations[index]

    columns = {
        name: None if getattr(expected, name) is None else getattr(expected, name)[steps]
        for name in ("actions", "rewards", "successes", "terminations")
    }
    found = Dataset.from_arrays(
        rows(steps),
        timeouts=(following == expected.episode_end[steps]) & ~columns["terminations"],
        next_observations=rows(following),
        **columns,
    )
    assert found.digest == expected.digest
    assert found.spec == expected.spec


@given(
    st.lists(st.tuples(st.integers(1, 4), st.booleans()), min_size=1, max_size=5).filter(
        lambda parts: any(steps > 1 or terminated for steps, terminated in parts)
    )
)
def test_flat_columns_without_next_observations(parts):
    """A cut-off episode gives up its last step; a terminated one repeats its last observation."""
    observations = np.arange(sum(steps for steps, _ in parts), dtype=np.float32)[:, None]
    last = np.cumsum([steps for steps, _ in parts]) - 1
    terminations, timeouts = np.zeros(len(observations)), np.zeros(len(observations))
    for row, (_, terminated) in zip(last, parts, strict=True):
        (terminations if terminated else timeouts)[row] = 1
    data = Dataset.from_arrays(observations, rewards=observations, terminations=terminations, timeouts=timeouts)

    expected = []
    row = 0
    for steps, terminated in parts:
        seen = list(range(row, row + steps))
        row += steps
        if terminated:
            expected.append(([*seen, seen[-1]], seen, True))
        elif steps > 1:
            expected.append((seen, seen[:-1], False))
    assert data.episodes == len(expected)
    for index, (observed, rewards, terminated) in enumerate(expected):
        episode = data.episode(index)
        assert episode["observations"][:, 0].tolist() == observed
        assert episode["rewards"].tolist() == rewards
        assert episode["terminated"] == terminated


def test_types_and_bounds():
    data = Dataset.from_arrays(
        np.arange(6, dtype=np.int64), np.array([[0.5], [-3.0], [0.0], [0.2], [0.1], [0.0]]), np.ones((6, 1)), np.ones(6)
    )
    assert data.observations.dtype == np.float32
    assert data.observations.shape == (12, 1)
    assert data.rewards.shape == (12,)
    # Within [-1, 1] unless the data itself goes beyond.
    assert (data.spec.action.low, data.spec.action.high) == ((-3.0,), (1.0,))
    discrete = Dataset.from_arrays(np.zeros((3, 2)), np.array([0, 4, 1]), terminations=[0, 0, 1])
    assert discrete.spec.action.categories == 5
    assert discrete.actions.dtype == np.int32
    with pytest.raises(DataError, match="discrete actions count from 0, found -1"):
        Dataset.from_arrays(np.zeros((3, 2)), np.array([0, -1, 1]), terminations=[0, 0, 1])


def test_digest_is_of_contents_and_transforms():
    data = Dataset.from_episodes(make_episodes((2,), (True,), rewards=False, successes=False))
    expected = hashlib.sha256()
    for name, column in [
        ("observations", data.observations), ("actions", data.actions), ("terminations", data.terminations),
        ("episode_start", data.episode_start), ("episode_end", data.episode_end),
    ]:  # fmt: skip
        expected.update(f"{name} {column.dtype} {column.shape}\n".encode())
        expected.update(column.tobytes())
    assert data.digest == expected.hexdigest()
    assert data.replace("nothing", actions=data.actions).digest != data.digest
    assert data.summary()["sha256"] == data.digest


def test_select_and_provenance():
    data = Dataset.from_episodes(make_episodes(), provenance=Provenance("here", "v1", "Env-v0"))
    chosen = data.select([2, 0], "two episodes")
    assert chosen.provenance == Provenance("here", "v1", "Env-v0", ("two episodes",))
    assert_same_episode(chosen.episode(0), data.episode(2))
    assert_same_episode(chosen.episode(1), data.episode(0))
    with pytest.raises(DataError, match="here: no episode is left after 'none'"):
        data.select([], "none")


def test_require_finite_names_column_and_step():
    data = Dataset.from_episodes(make_episodes())
    data.require_finite()
    broken = np.array(data.rewards)
    broken[5] = np.inf
    with pytest.raises(DataError, match=r"rewards holds NaN or infinity \(first in episode 1, step 1, both from 0\)"):
        data.replace("broken", rewards=broken).require_finite()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"observations": np.zeros((1, 3))}, "episode 1 has 1 observations; at least 2"),
        ({"actions": np.zeros((3, 2))}, "episode 1: actions has 3 rows, expected 1"),
        (
            {"actions": np.zeros((1, 5))},
            r"actions of episode 1 has rows of shape \(5,\), those of episode 0 have \(2,\)",
        ),
        ({"observations": np.zeros((2, 7))}, r"observations of episode 1 has rows of shape \(7,\)"),
        ({"observations": {"a": np.zeros((2, 3))}}, "episode 1 has other observations than observations"),
        ({"rewards": np.zeros((1, 2))}, r"rewards has rows of shape \(2,\), expected one number a row"),
        ({"rewards": None}, "rewards are absent in episode 1 but present in others"),
    ],
)
def test_episodes_that_do_not_fit(change, message):
    episodes = make_episodes()
    episodes[1] |= change
    with pytest.raises(DataError, match=message):
        Dataset.from_episodes(episodes)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"observations": np.zeros((0, 2))}, "no rows"),
        ({"observations": np.zeros((4, 2)), "actions": np.zeros((3, 1))}, "actions has 3 rows, observations have 4"),
        ({"observations": np.zeros((4, 2)), "next_observations": np.zeros((3, 2))}, "next_observations has 3 rows"),
        ({"observations": np.zeros((4, 2)), "next_observations": np.zeros((4, 3))}, "next_observations differ"),
        (
            {"observations": np.zeros((4, 2)), "terminations": np.zeros((4, 2))},
            r"terminations has rows of shape \(2,\)",
        ),
        ({"observations": np.zeros((1, 2))}, "no episodes"),
    ],
)
def test_columns_that_do_not_fit(columns, message):
    with pytest.raises(DataError, match=message):
        Dataset.from_arrays(**columns)


def test_no_episodes():
    with pytest.raises(DataError, match="memory: no episodes"):
        Dataset.from_episodes([])


def test_columns_begin_where_the_device_can_share_them():
    data = Dataset.from_episodes([{"observations": np.ones((4, 3)), "actions": np.ones((3, 2)), "rewards": np.ones(3)}])
    assert {getattr(data, name).ctypes.data % ALIGNMENT for name in ("observations", "actions")} == {0}
    np.testing.assert_array_equal(data.rewards, [1.0, 1.0, 1.0, 0.0])


def test_arrays_are_shared_with_the_device_where_that_is_the_cpu():
    column = empty((5, 3), np.float32)
    column[:] = 1.0
    if jax.default_backend() != "cpu":
        pytest.skip("another device has memory of its own")
    assert jax.device_put(column).unsafe_buffer_pointer() == column.ctypes.data


@pytest.mark.parametrize("name", ["terminations", "timeouts"])
def test_marks_of_ends_are_0_or_1(name):
    observations = np.zeros((4, 2), np.float32)
    assert Dataset.from_arrays(observations, **{name: np.array([0.0, 1.0, 0.0, 1.0])}).episodes == 2
    with pytest.raises(DataError, match=rf"{name} mark the ends by 1 and other steps by 0, found 0.5"):
        Dataset.from_arrays(observations, **{name: np.array([0.0, 0.5, 0.0, 1.0])})

import numpy as np
import pytest
from data_examples import any_episodes, assert_same_episode, make_episodes
from hypothesis import given

from headstart.data import transform
from headstart.data.dataset import Dataset, Provenance
from headstart.errors import DataError, UsageError


@pytest.fixture
def data():
    """Three episodes: success at step 1, none, success at steps 0 and 2 (the last)."""
    episodes = make_episodes((4, 2, 3), (False, True, True), seed=1)
    for episode, steps in zip(episodes, ([1], [], [0, 2]), strict=True):
        episode["successes"] = np.isin(np.arange(len(episode["rewards"])), steps)
    return Dataset.from_episodes(episodes, provenance=Provenance("here", "v1", "Env-v0", ("before",)))


def steps(data):
    return [int(n) for n in data.ends - data.starts]


def test_scale_rewards(data):
    scaled = transform.scale_rewards(data, 10, -5)
    np.testing.assert_allclose(scaled.rewards[data.transitions], 10 * data.rewards[data.transitions] - 5, rtol=1e-6)
    # The rows of final observations hold no reward.
    assert (scaled.rewards[data.ends] == 0).all()
    assert scaled.provenance.transforms == ("before", "rewards scaled to 10 r -5")
    assert scaled.observations is data.observations


def test_sparse_success(data):
    sparse = transform.sparse_success(data)
    assert [sparse.episode(i)["rewards"].tolist() for i in range(3)] == [[-1, 0], [-1, -1], [0]]
    assert [sparse.episode(i)["terminated"] for i in range(3)] == [True, True, True]
    np.testing.assert_array_equal(sparse.episode(0)["observations"], data.episode(0)["observations"][:3])
    np.testing.assert_array_equal(sparse.episode(0)["actions"], data.episode(0)["actions"][:2])
    assert sparse.provenance.transforms[1:] == ("reward -1 until the first success, 0 and termination at it",)
    other = transform.sparse_success(data, 0.0, 1.0)
    assert [other.episode(i)["rewards"].tolist() for i in range(3)] == [[0, 1], [0, 0], [1]]


def test_sparse_success_does_not_need_rewards(data):
    sparse = transform.sparse_success(transform.drop_rewards(data))
    assert sparse.digest != transform.sparse_success(data).digest  # one more transform
    np.testing.assert_array_equal(sparse.rewards, transform.sparse_success(data).rewards)


def test_failures_that_were_cut_off_stay_so():
    data = Dataset.from_episodes([{"observations": np.zeros((4, 1)), "successes": [False] * 3, "terminated": False}])
    assert not transform.sparse_success(data).terminations.any()


def test_only_successes(data):
    kept = transform.only_successes(data)
    assert kept.episodes == 2
    assert_same_episode(kept.episode(1), data.episode(2))
    assert kept.provenance.transforms[1:] == ("2 of 3 episodes kept: those with a success",)
    with pytest.raises(DataError, match="here: no episode is left after '0 of 1 episodes kept"):
        transform.only_successes(data.select([1], "the failure"))


def test_cut_at_success(data):
    cut = transform.cut_at_success(data)
    assert steps(cut) == [2, 2, 1]
    assert [cut.episode(i)["terminated"] for i in range(3)] == [True, True, True]
    np.testing.assert_array_equal(cut.episode(0)["rewards"], data.episode(0)["rewards"][:2])
    off = transform.cut_at_success(data, terminated=False)
    assert [off.episode(i)["terminated"] for i in range(3)] == [False, True, False]
    assert off.provenance.transforms[1:] == ("episodes end at the first success (cut off)",)


def test_drop(data):
    passive = transform.drop_actions(transform.drop_rewards(data))
    assert passive.actions is None
    assert passive.rewards is None
    assert passive.spec.action is None
    assert passive.spec.observation == data.spec.observation
    assert passive.provenance.transforms == ("before", "rewards dropped", "actions dropped")


@given(any_episodes())
def test_concatenated_parts_are_the_whole(episodes):
    whole = Dataset.from_episodes([*episodes, *episodes])
    part = Dataset.from_episodes(episodes)
    both = transform.concatenate([part, part])
    for (name, a), (_, b) in zip(both.columns(), whole.columns(), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)
    assert both.spec == whole.spec


def test_concatenate_bounds_and_provenance(data):
    wide = Dataset.from_episodes(
        [episode | {"actions": episode["actions"] * 3} for episode in (data.episode(i) for i in range(3))],
        provenance=Provenance("there"),
    )
    both = transform.concatenate([data, wide])
    assert both.spec.action.low == tuple(min(-1, low) for low in wide.spec.action.low)
    assert both.spec.action.high == tuple(max(1, high) for high in wide.spec.action.high)
    assert both.provenance == Provenance(
        "here + there", transforms=("concatenated: here (3 episodes, before); there (3 episodes)",)
    )
    assert transform.concatenate([data, data]).provenance.environment == "Env-v0"


def test_concatenate_what_does_not_fit(data):
    with pytest.raises(UsageError, match="no data to concatenate"):
        transform.concatenate([])
    with pytest.raises(DataError, match=r"here holds rewards, here does not; drop them first"):
        transform.concatenate([data, transform.drop_rewards(data)])
    with pytest.raises(DataError, match="here holds actions, the other does not"):
        transform.concatenate([data, transform.drop_actions(data)])
    with pytest.raises(UsageError, match="observations differ: here has one array, memory has arrays"):
        transform.concatenate([data, Dataset.from_episodes(make_episodes(observations="dict"))])
    pixels = Dataset.from_episodes([{"observations": np.zeros((3, 3), np.uint8), "actions": np.zeros((2, 2))}])
    with pytest.raises(UsageError, match="here has float32, memory has uint8"):
        transform.concatenate([data, pixels])


def test_subset(data):
    half = transform.subset(data, fraction=0.7, seed=3)
    assert half.episodes == 2
    assert half.provenance.transforms[1:] == ("2 of 3 episodes chosen at random (seed 3)",)
    assert half.digest == transform.subset(data, episodes=2, seed=3).digest
    # Every episode is chosen by some seed, each of them whole and in order.
    chosen = set()
    for seed in range(20):
        part = transform.subset(data, episodes=2, seed=seed)
        indices = [
            int(np.flatnonzero(data.observations[data.starts, 0] == part.observations[s, 0])[0]) for s in part.starts
        ]
        assert indices == sorted(set(indices))
        chosen |= set(indices)
    assert chosen == {0, 1, 2}
    assert transform.subset(data, fraction=0.01).episodes == 1


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({}, "either a number of episodes or a fraction"),
        ({"episodes": 1, "fraction": 0.5}, "either"),
        ({"fraction": 1.5}, "fraction is 1.5; expected more than 0 and at most 1"),
        ({"episodes": 4}, "4 episodes asked for; here has 3"),
        ({"episodes": 0}, "0 episodes asked for"),
    ],
)
def test_subset_that_does_not_exist(choice, message, data):
    with pytest.raises(UsageError, match=message):
        transform.subset(data, **choice)


def test_what_needs_a_column_says_so():
    passive = Dataset.from_episodes(make_episodes(rewards=False, successes=False))
    with pytest.raises(DataError, match="memory holds no rewards"):
        transform.scale_rewards(passive, 2)
    for function in (transform.sparse_success, transform.only_successes, transform.cut_at_success):
        with pytest.raises(DataError, match="memory holds no successes"):
            function(passive)

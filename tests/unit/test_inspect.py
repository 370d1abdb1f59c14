import json

import numpy as np
import pytest
from data_examples import any_episodes, make_episodes, shared
from hypothesis import given

from headstart.cli import data as cli
from headstart.data import arrays, sources, transform
from headstart.data import inspect as inspect_module
from headstart.data.dataset import Dataset
from headstart.data.inspect import Quantiles, inspect


@given(any_episodes())
def test_counts_of_any_data(episodes):
    data = Dataset.from_episodes(episodes)
    found = inspect(data)
    assert (found.episodes, found.steps) == (len(episodes), data.steps)
    assert found.cut_off == pytest.approx(1 - np.mean([episode["terminated"] for episode in episodes]))
    lengths = data.ends - data.starts
    assert (found.lengths.minimum, found.lengths.maximum) == (lengths.min(), lengths.max())
    assert found.lengths.mean == pytest.approx(data.steps / data.episodes)
    if "successes" in episodes[0]:
        assert found.success_rate == pytest.approx(np.mean([episode["successes"].any() for episode in episodes]))
    else:
        assert found.success_rate is None
    if "rewards" in episodes[0]:
        returns = [episode["rewards"].astype(float).sum() for episode in episodes]
        assert found.returns.median == pytest.approx(np.median(returns))
        assert found.rewards.maximum == pytest.approx(max(episode["rewards"].max() for episode in episodes))
    else:
        assert found.rewards is None
        assert found.returns is None
    assert json.loads(json.dumps(found.to_json()))["sha256"] == data.digest


def test_small_chunks_see_the_same(monkeypatch):
    data = Dataset.from_episodes(make_episodes((5, 3, 9, 1), (True, False, False, True), "dict"))
    whole = inspect(data, disk_bytes=7)
    monkeypatch.setattr(inspect_module, "CHUNK_BYTES", 150)
    assert inspect(data, disk_bytes=7) == whole


def test_memory_mapped_data(tmp_path):
    data = Dataset.from_episodes(make_episodes(observations="pixels"))
    arrays.write(data, tmp_path / "rows")
    assert inspect(arrays.read(str(tmp_path / "rows"))) == inspect(data)


def test_what_is_wrong_is_counted():
    observations = np.zeros((8, 2), np.float32)
    observations[:, 0] = [0, 1, 1, 1, 2, np.nan, np.inf, 9]
    actions = np.array([[0], [3], [3], [-2], [0], [0], [0]], np.float32)
    rewards = np.array([0, 1, 1, 1, 5, np.nan, 2], np.float32)
    data = Dataset.from_episodes([{"observations": observations, "actions": actions, "rewards": rewards}])
    found = inspect(data)
    columns = {column.name: column for column in found.columns}
    assert columns["observations"].nonfinite_rows == 2
    assert (columns["observations"].low, columns["observations"].high) == (0, 9)
    assert columns["observations"].constant == 1
    assert columns["observations"].kind == "float32[2]"
    assert columns["rewards"].nonfinite_rows == 1
    assert columns["actions"].nonfinite_rows == 0
    # Steps 1 and 2 are alike; 3 differs in its action.
    assert found.duplicate_steps == 1
    assert found.actions_out_of_bounds == 0  # the bounds are those of the data
    assert found.actions_beyond_one == 3
    assert found.rewards == Quantiles.of(np.array([0, 1, 1, 1, 5, 2]))
    assert found.returns is None
    assert [use.possible for use in found.uses] == [False] * 4
    assert "NaN or infinity in observations and rewards" in found.uses[0].reason


def test_actions_outside_the_bounds_of_the_spec():
    narrow = Dataset.from_episodes(make_episodes()).spec
    episodes = [episode | {"actions": episode["actions"] * 0 + 1.5} for episode in make_episodes()]
    assert inspect(Dataset.from_episodes(episodes, narrow)).actions_out_of_bounds == 8
    discrete = Dataset.from_episodes([{"observations": np.zeros((3, 1)), "actions": np.array([0, 1])}])
    beyond = [{"observations": np.zeros((4, 1)), "actions": np.array([0, 2, 1])}]
    found = inspect(Dataset.from_episodes(beyond, discrete.spec))
    assert found.actions_out_of_bounds == 1
    assert found.actions_beyond_one is None


def test_uses():
    data = Dataset.from_episodes(make_episodes())

    def possible(data):
        return {use.name.split()[0]: use.possible for use in inspect(data).uses}

    assert set(possible(data).values()) == {True}
    unrewarded = inspect(transform.drop_rewards(data))
    assert unrewarded.uses[0].reason == "needs rewards"
    assert possible(transform.drop_rewards(data)) == {
        "offline": False, "imitation": True, "goal-conditioned": True, "passive": True,
    }  # fmt: skip
    passive = transform.drop_actions(data)
    assert [use.possible for use in inspect(passive).uses] == [False, False, False, True]
    assert inspect(passive).actions_out_of_bounds is None
    flat = inspect(transform.scale_rewards(data, 0, -1))
    assert flat.uses[0].reason == "but every reward is -1, so all behaviour looks equally good"
    # Rewards that are not finite do not stand in the way of imitation.
    broken = np.array(data.rewards)
    broken[0] = np.nan
    assert [use.possible for use in inspect(data.replace("broken", rewards=broken)).uses] == [False, True, True, True]


def test_door():
    source = f"minari:{shared('minari/adroit/door-human-v1')}"
    found = inspect(sources.load(source), sources.disk_size(source))
    assert (found.episodes, found.steps, found.cut_off) == (25, 6729, 1.0)
    assert found.success_rate == 8 / 25
    assert (found.lengths.minimum, found.lengths.maximum) == (223, 300)
    assert (found.rewards.minimum, found.rewards.maximum) == pytest.approx((-0.1, 10))
    # 9 to 73 steps of 10 each, -0.1 otherwise: the best has 73 of 256.
    assert found.returns.maximum == pytest.approx(73 * 10 - (256 - 73) * 0.1, abs=1e-3)
    assert (found.duplicate_steps, found.actions_out_of_bounds, found.actions_beyond_one) == (0, 0, 0)
    assert found.disk_bytes > 3_500_000


# -- the command line -------------------------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    data = Dataset.from_episodes(make_episodes(observations="dict"))
    return f"arrays:{arrays.write(data.replace('a change', rewards=data.rewards), tmp_path / 'rows')}"


def test_inspect_prints_at_80_columns(source, capsys):
    cli.VERBS["inspect"](source)
    shown = capsys.readouterr().out
    # Paths, transforms and hashes may be longer than a line.
    assert max(map(len, shown.splitlines()[2:])) <= 80
    for text in ("memory", "  a change", "observations/arm/angle", "float32[3]", "33.3% cut off", "imitation"):
        assert text in shown
    assert "discrete_cql" not in shown
    assert "calql" in shown


def test_inspect_as_json(source, capsys):
    cli.inspect(source, json=True)
    found = json.loads(capsys.readouterr().out)
    assert (found["episodes"], found["steps"]) == (3, 8)
    assert found["disk_bytes"] == sources.disk_size(source)
    assert "bc" in found["algorithms"]


@pytest.mark.parametrize(
    ("change", "has", "lacks"),
    [
        (transform.drop_rewards, {"bc"}, {"calql", "iql"}),
        (transform.drop_actions, set(), {"bc", "calql"}),
        (lambda data: data, {"bc", "calql", "cql", "iql"}, {"discrete_cql"}),
    ],
)
def test_algorithms_that_fit(change, has, lacks):
    data = change(Dataset.from_episodes(make_episodes()))
    names = set(cli._algorithms(data, inspect(data))[0])
    assert has <= names
    assert not names & lacks


def test_algorithms_for_discrete_actions():
    data = Dataset.from_episodes(make_episodes(actions="discrete"))
    names, online = cli._algorithms(data, inspect(data))
    assert online == []
    assert "discrete_cql" in names
    assert "cql" not in names


def test_convert(source, tmp_path, capsys):
    cli.VERBS["convert"](source, f"minari:{tmp_path / 'set'}")
    assert capsys.readouterr().out.replace("\n", "") == f"3 episodes, 8 steps written to {tmp_path / 'set'}"
    assert sources.load(f"minari:{tmp_path / 'set'}").digest == sources.load(source).digest

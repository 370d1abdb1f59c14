import dataclasses
import json
import os
import zipfile
from types import SimpleNamespace

import h5py
import minari
import numpy as np
import pytest
from data_examples import any_episodes, assert_same_data, assert_same_episode, make_episodes, shared
from hypothesis import HealthCheck, given, settings

from headstart.data import arrays, minari_format, ogbench, sources
from headstart.data.dataset import Dataset, Provenance
from headstart.errors import DataError, HeadstartError, UsageError

NOISE = np.random.default_rng(0).bytes(4096)
PROVENANCE = Provenance("somewhere", "v3", "Maze-v0?repeat=5", ("first this", "then that"))


@pytest.fixture
def minari_root(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / "minari"


def write_d4rl(path, **columns):
    with h5py.File(path, "w") as file:
        for name, column in columns.items():
            file[name.replace("__", "/")] = column
    return f"d4rl:{path}"


def write_npz(path, scheme="arrays", **columns):
    np.savez(path, **columns)
    return f"{scheme}:{path}"


STEPS = {
    "observations": np.arange(12, dtype=np.float32).reshape(6, 2),
    "actions": np.linspace(-1, 1, 6, dtype=np.float32)[:, None],
    "rewards": np.arange(6, dtype=np.float32),
}
NEXT = STEPS["observations"] + 100
TERMINALS = np.array([0, 0, 1, 0, 0, 0], bool)
TIMEOUTS = np.array([0, 0, 0, 0, 0, 1], bool)


# -- names ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("minary:x-v0", "unknown data format 'minary'; did you mean 'minari'"),
        ("data.npz", "'data.npz' names no format; write FORMAT:data.npz with one of arrays, d4rl, minari, ogbench"),
        ("d4rl:", "'d4rl:' names no data"),
    ],
)
def test_sources_that_mean_nothing(source, message):
    with pytest.raises(UsageError, match=message):
        sources.load(source)


@pytest.mark.parametrize("target", ["d4rl:x.hdf5", "ogbench:x.npz", "arrays:x.npz"])
def test_targets_that_cannot_be_written(target):
    with pytest.raises(UsageError):
        sources.write(Dataset.from_episodes(make_episodes()), target)


@pytest.mark.parametrize("source", ["d4rl:no.hdf5", "arrays:no.npz", "ogbench:no.npz", "arrays:.", "minari:./no"])
def test_absent_files(source, minari_root, monkeypatch):
    monkeypatch.chdir(minari_root.parent)
    with pytest.raises(DataError, match=source.partition(":")[2].replace(".", "[.]")):
        sources.load(source)


@pytest.mark.parametrize("scheme", ["d4rl", "arrays", "ogbench"])
@pytest.mark.parametrize("content", [NOISE, b"", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_files_of_garbage(scheme, content, tmp_path):
    path = tmp_path / "bad.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.npz is not (a )?readable"):
        sources.load(f"{scheme}:{path}")


def test_files_cut_short(tmp_path):
    for source in (write_npz(tmp_path / "a.npz", **STEPS), write_d4rl(tmp_path / "b.hdf5", **STEPS)):
        path = source.partition(":")[2]
        os.truncate(path, os.path.getsize(path) // 2)
        with pytest.raises(DataError, match=r"is not (a )?readable"):
            sources.load(source)


def test_damaged_member_of_an_npz(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, observations=np.random.default_rng(0).normal(size=(500, 3)))
    content = bytearray(path.read_bytes())
    content[1000:1400] = bytes(400)
    path.write_bytes(content)
    with pytest.raises(DataError, match="observations is damaged or cut short"):
        sources.load(f"arrays:{path}")


def test_nothing_is_unpickled(tmp_path):
    # A pickle that would create a file if it were loaded.
    loot = tmp_path / "loot"
    path = tmp_path / "a.npz"
    code = f"cposix\nsystem\n(S'touch {loot}'\ntR.".encode()
    with zipfile.ZipFile(path, "w") as file, file.open("observations.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, {"descr": "|O", "fortran_order": False, "shape": (1,)})
        member.write(code)
    with pytest.raises(DataError, match="observations holds Python objects; only plain arrays are loaded"):
        sources.load(f"arrays:{path}")
    assert not loot.exists()


# -- D4RL -------------------------------------------------------------------------------------------------------


def test_d4rl(tmp_path):
    source = write_d4rl(
        tmp_path / "a.hdf5", **STEPS, terminals=TERMINALS, timeouts=TIMEOUTS, next_observations=NEXT,
        infos__goal_achieved=TERMINALS, infos__qpos=np.zeros((6, 9)), metadata__algorithm="x",
    )  # fmt: skip
    data = sources.load(source)
    assert (data.episodes, data.steps, data.provenance) == (2, 6, Provenance(source))
    expected = [
        {"observations": np.concatenate([STEPS["observations"][rows], NEXT[rows][-1:]]), "terminated": terminated,
         "actions": STEPS["actions"][rows], "rewards": STEPS["rewards"][rows], "successes": TERMINALS[rows]}
        for rows, terminated in ((slice(0, 3), True), (slice(3, 6), False))
    ]  # fmt: skip
    for index, episode in enumerate(expected):
        assert_same_episode(data.episode(index), episode)
    assert sources.disk_size(source) == (tmp_path / "a.hdf5").stat().st_size


def test_d4rl_without_timeouts_says_so(tmp_path):
    data = sources.load(write_d4rl(tmp_path / "a.hdf5", **STEPS, terminals=TERMINALS))
    assert data.provenance.transforms == ("read without timeouts: episodes end at terminals only",)
    # The second episode ends with the file and gives up its last step.
    assert [int(n) for n in data.ends - data.starts] == [3, 2]
    with pytest.raises(DataError, match="its episodes cannot be told apart; add 'timeouts'"):
        sources.load(write_d4rl(tmp_path / "b.hdf5", **STEPS, terminals=np.zeros(6)))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"x": np.zeros(3)}, "no arrays of the D4RL layout; expected at least observations and terminals"),
        ({"terminals": TERMINALS}, "no 'observations'; expected at least observations, terminals, found terminals"),
        (STEPS, "no 'terminals'"),
        (STEPS | {"terminals": TERMINALS[:4], "timeouts": TIMEOUTS}, "terminals has 4 rows, observations has 6"),
        (STEPS | {"terminals": TERMINALS, "actions": np.zeros((5, 1))}, "actions has 5 rows, observations has 6"),
        (STEPS | {"terminals": np.zeros((6, 2))}, r"terminals has rows of shape \(2,\), expected one number a row"),
        (
            {"observations__image": np.zeros((6, 2)), "terminals": TERMINALS},
            "observations is a group; expected one array",
        ),
        ({"observations": b"text", "terminals": TERMINALS}, "observations holds .* values, expected numbers"),
        ({"observations": 1.0, "terminals": TERMINALS}, "observations is a single value"),
    ],
)
def test_d4rl_that_does_not_fit(columns, message, tmp_path):
    with pytest.raises(DataError, match=message) as error:
        sources.load(write_d4rl(tmp_path / "a.hdf5", **columns))
    assert "a.hdf5" in str(error.value)


# -- OGBench ----------------------------------------------------------------------------------------------------

ROWS = np.arange(14, dtype=np.float32).reshape(7, 2)
LAST = np.array([0, 0, 0, 1, 0, 0, 1], np.float32)


def test_ogbench_compact(tmp_path):
    data = sources.load(write_npz(tmp_path / "a.npz", "ogbench", observations=ROWS, actions=ROWS, terminals=LAST))
    assert (data.episodes, data.steps) == (2, 5)
    assert_same_episode(data.episode(0), {"observations": ROWS[:4], "actions": ROWS[:3], "terminated": False})
    assert_same_episode(data.episode(1), {"observations": ROWS[4:], "actions": ROWS[4:6], "terminated": False})


def test_ogbench_full_layout_is_the_same_data(tmp_path):
    compact = sources.load(write_npz(tmp_path / "a.npz", "ogbench", observations=ROWS, actions=ROWS, terminals=LAST))
    # As `ogbench.load_dataset(compact_dataset=False)` computes it.
    steps = np.flatnonzero(LAST == 0)
    full = sources.load(
        write_npz(
            tmp_path / "b.npz", "ogbench", observations=ROWS[steps], next_observations=ROWS[steps + 1],
            actions=ROWS[steps], terminals=LAST[steps + 1],
        )
    )  # fmt: skip
    # And its compact form in memory.
    valid = sources.load(
        write_npz(
            tmp_path / "c.npz", "ogbench", observations=ROWS, actions=ROWS, valids=1 - LAST,
            terminals=np.minimum(LAST + np.append(LAST[1:], 1), 1),
        )
    )  # fmt: skip
    assert compact.digest == full.digest == valid.digest


@pytest.mark.parametrize("full", [False, True])
def test_ogbench_masks_end_the_task(full, tmp_path):
    """Every transition keeps its own mask, also in the middle of a trajectory."""
    steps = np.flatnonzero(LAST == 0)
    masks = np.array([1, 0, 1, 1, 1, 0, 1], np.float32)
    columns = {"observations": ROWS, "terminals": LAST, "masks": masks, "rewards": masks - 1}
    if full:
        columns = {name: column[steps] for name, column in columns.items()}
        columns |= {"next_observations": ROWS[steps + 1], "terminals": LAST[steps + 1]}
    data = sources.load(write_npz(tmp_path / "a.npz", "ogbench", **columns))
    rows = data.transitions
    np.testing.assert_array_equal(data.observations[rows], ROWS[steps])
    np.testing.assert_array_equal(data.observations[rows + 1], ROWS[steps + 1])
    np.testing.assert_array_equal(data.terminations[rows], masks[steps] == 0)
    np.testing.assert_array_equal(data.successes[rows], masks[steps] == 0)
    np.testing.assert_array_equal(data.rewards[rows], masks[steps] - 1)
    assert [int(n) for n in data.ends - data.starts] == [2, 1, 2]


def test_ogbench_pixels_and_discrete_actions(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (7, 4, 4, 3), dtype=np.uint8)
    source = write_npz(
        tmp_path / "a.npz", "ogbench", observations=pixels, actions=np.arange(7, dtype=np.int32), terminals=LAST
    )
    data = sources.load(source)
    assert data.observations.dtype == np.uint8
    assert data.spec.action.discrete
    np.testing.assert_array_equal(data.observations, pixels)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"observations": ROWS}, "no 'terminals'; expected at least observations, terminals, found observations"),
        ({"observations": ROWS, "terminals": LAST[:5]}, "terminals has 5 rows, observations has 7"),
        ({"observations": ROWS, "terminals": LAST, "actions": ROWS[:6]}, "actions has 6 rows, observations has 7"),
        ({"observations": ROWS, "terminals": LAST * 0}, "'terminals' is not set in the last row"),
        ({"observations": ROWS, "terminals": LAST * 0 + 1}, "no episodes"),
        ({"observations": ROWS, "terminals": np.zeros((7, 2))}, "terminals has rows of shape"),
    ],
)
def test_ogbench_that_does_not_fit(columns, message, tmp_path):
    with pytest.raises(DataError, match=message):
        sources.load(write_npz(tmp_path / "a.npz", "ogbench", **columns))


def test_ogbench_names(minari_root, monkeypatch):
    pytest.importorskip("ogbench")
    home = minari_root.parent
    names = ogbench._names
    assert names("antmaze-medium-navigate-v0") == ("antmaze-medium-v0", "antmaze-medium-navigate-v0")
    assert names("antmaze-medium-navigate-v0-val") == ("antmaze-medium-v0", "antmaze-medium-navigate-v0-val")
    assert names("cube-single-play-singletask-task2-v0") == ("cube-single-singletask-task2-v0", "cube-single-play-v0")
    with pytest.raises(UsageError, match="did you mean 'antmaze-medium-v0'"):
        sources.load("ogbench:antmaze-medum-navigate-v0")

    folder = home / ".ogbench" / "data"
    folder.mkdir(parents=True)
    np.savez(folder / "pointmaze-medium-navigate-v0.npz", observations=ROWS, terminals=LAST)
    data = sources.load("ogbench:pointmaze-medium-navigate-v0")
    assert data.provenance == Provenance("ogbench:pointmaze-medium-navigate-v0", "v0", "pointmaze-medium-v0")

    def no_network(url):
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    with pytest.raises(DataError, match=r"antmaze-large-navigate-v0\.npz cannot be downloaded \(no network\)"):
        sources.load("ogbench:antmaze-large-navigate-v0")


def test_ogbench_single_task_rewards(minari_root):
    library = pytest.importorskip("ogbench")
    folder = minari_root.parent / ".ogbench" / "data"
    folder.mkdir(parents=True)
    qpos = np.random.default_rng(0).uniform(0, 20, (400, 2))
    columns = {
        "observations": qpos.astype(np.float32),
        "actions": qpos,
        "qpos": qpos,
        "terminals": np.arange(400) % 20 == 19,
    }
    for part in ("", "-val"):
        np.savez(folder / f"pointmaze-medium-navigate-v0{part}.npz", **columns)
    name = "pointmaze-medium-navigate-singletask-task1-v0"
    data = sources.load(f"ogbench:{name}")
    env, expected, _ = library.make_env_and_datasets(name, dataset_dir=str(folder))
    env.close()
    rows = data.transitions
    assert 0 < (expected["masks"] == 0).sum() < len(rows)
    np.testing.assert_array_equal(data.rewards[rows], expected["rewards"])
    np.testing.assert_array_equal(data.terminations[rows], expected["masks"] == 0)
    np.testing.assert_array_equal(data.observations[rows], expected["observations"])
    np.testing.assert_array_equal(data.observations[rows + 1], expected["next_observations"])
    assert data.provenance.environment == "pointmaze-medium-singletask-task1-v0"
    np.savez(folder / "pointmaze-large-navigate-v0.npz", observations=ROWS, terminals=LAST)
    with pytest.raises(DataError, match="no 'qpos'"):
        sources.load("ogbench:pointmaze-large-navigate-singletask-v0")


# -- arrays -----------------------------------------------------------------------------------------------------


def test_arrays_file(tmp_path):
    source = write_npz(tmp_path / "a.npz", **STEPS, terminals=TERMINALS, truncations=TIMEOUTS, successes=TERMINALS)
    data = sources.load(source)
    expected = Dataset.from_arrays(**STEPS, terminations=TERMINALS, timeouts=TIMEOUTS, successes=TERMINALS)
    assert_same_data(data, dataclasses.replace(expected, provenance=Provenance(source)))


def test_arrays_file_with_dict_observations(tmp_path):
    parts = {"arm/angle": STEPS["observations"], "camera": np.zeros((6, 2, 2), np.uint8)}
    columns = {f"observations/{name}": column for name, column in parts.items()}
    columns |= {f"next_observations/{name}": column + 1 for name, column in parts.items()}
    data = sources.load(write_npz(tmp_path / "a.npz", **columns, timeouts=TIMEOUTS))
    assert list(data.observations) == ["arm/angle", "camera"]
    np.testing.assert_array_equal(data.observations["arm/angle"][:6], parts["arm/angle"])
    assert (data.observations["camera"][6] == 1).all()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"observations": ROWS, "rewrds": LAST}, "unknown column of .*a.npz 'rewrds'; did you mean 'rewards'"),
        ({"observations": ROWS, "rewards/x": LAST}, "unknown column of .*a.npz 'rewards/x'"),
        ({"observations": ROWS, "observations/x": ROWS}, "both hold observations"),
        ({"observations": ROWS, "terminals": LAST, "terminations": LAST}, "both hold terminations; keep one"),
        ({"actions": ROWS}, "no 'observations'; found actions"),
        ({"observations": ROWS, "actions": ROWS[:2]}, "actions has 2 rows, observations has 7"),
        ({"observations": np.array(["a", "b"])}, "observations holds <U1 values, expected numbers"),
    ],
)
def test_arrays_file_that_does_not_fit(columns, message, tmp_path):
    with pytest.raises(HeadstartError, match=message):
        sources.load(write_npz(tmp_path / "a.npz", **columns))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(any_episodes())
def test_arrays_folder_comes_back_exactly(tmp_path, episodes):
    data = Dataset.from_episodes(episodes, provenance=PROVENANCE)
    target = f"arrays:{tmp_path / 'rows'}"
    assert sources.write(data, target, overwrite=True) == tmp_path / "rows"
    assert_same_data(sources.load(target), data)
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]


def test_arrays_folder_stays_on_disk(tmp_path):
    data = Dataset.from_episodes(make_episodes(observations="dict"))
    arrays.write(data, tmp_path / "rows")
    found = arrays.read(str(tmp_path / "rows"))
    assert all(isinstance(column, np.memmap) and not column.flags.writeable for _, column in found.columns())
    # So does what changes other columns only, and what cuts an episode out.
    changed = found.replace("rewards", rewards=np.zeros(len(found), np.float32))
    assert all(isinstance(column, np.memmap) for column in changed.observations.values())
    assert all(isinstance(column, np.memmap) for column in found.episode(1)["observations"].values())
    assert sources.disk_size(f"arrays:{tmp_path / 'rows'}") == sum(
        path.stat().st_size for path in (tmp_path / "rows").rglob("*.*")
    )


def test_arrays_folder_is_not_overwritten_unasked(tmp_path):
    data = Dataset.from_episodes(make_episodes())
    arrays.write(data, tmp_path / "rows")
    with pytest.raises(UsageError, match="rows already exists"):
        arrays.write(data, tmp_path / "rows")
    other = tmp_path / "precious"
    other.mkdir()
    (other / "letter").write_text("dear")
    with pytest.raises(UsageError, match="is not a data set of this format"):
        arrays.write(data, other, overwrite=True)
    assert (other / "letter").read_text() == "dear"


def test_unwritable_place(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file/rows cannot be written"):
        arrays.write(Dataset.from_episodes(make_episodes()), tmp_path / "file" / "rows")


@pytest.mark.parametrize("scheme", ["arrays", "minari"])
def test_full_disk(scheme, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda place: SimpleNamespace(free=3))
    with pytest.raises(DataError, match=r"set needs 0 MB and 0 MB are free; make room first"):
        sources.write(Dataset.from_episodes(make_episodes()), f"{scheme}:{tmp_path / 'set'}")
    assert not list(tmp_path.iterdir())


def test_column_names_stay_in_their_folder(tmp_path):
    data = Dataset.from_episodes([{"observations": {"../../evil": np.zeros((3, 1))}}])
    for target in (f"arrays:{tmp_path / 'rows'}", f"minari:{tmp_path / 'set'}"):
        with pytest.raises(DataError, match=r"column name '.*\.\./\.\./evil' cannot be a file name"):
            sources.write(data, target)


def damage_header(folder, **changes):
    header = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(header | changes))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: (p / "dataset.json").unlink(), "holds no dataset.json; expected a folder that headstart wrote"),
        (lambda p: (p / "dataset.json").write_text("{"), "dataset.json is not readable JSON"),
        (lambda p: damage_header(p, format=9), "has format 9; this headstart reads format 1"),
        (lambda p: damage_header(p, spec={"observation": 3}), "dataset.json is damaged: .*missing action"),
        (lambda p: damage_header(p, columns={}), "lists the columns"),
        (lambda p: (p / "rewards.npy").unlink(), "rewards.npy does not exist"),
        (lambda p: (p / "rewards.npy").write_bytes(NOISE[:99]), "rewards.npy is damaged or cut short"),
        (lambda p: (p / "rewards.npy").write_bytes((p / "rewards.npy").read_bytes()[:-4]), "rewards.npy is damaged"),
        (lambda p: np.save(p / "rewards.npy", np.zeros(3, "f4")), r"rewards.npy holds float32 of shape \(3,\)"),
        (lambda p: np.save(p / "episode_end.npy", np.zeros(11, "i4")), "the episodes do not tile the rows"),
    ],
)
def test_damaged_arrays_folder(damage, message, tmp_path):
    arrays.write(Dataset.from_episodes(make_episodes()), tmp_path / "rows")
    damage(tmp_path / "rows")
    with pytest.raises(DataError, match=message):
        sources.load(f"arrays:{tmp_path / 'rows'}")


# -- Minari -----------------------------------------------------------------------------------------------------


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(any_episodes())
def test_minari_comes_back_exactly(tmp_path, episodes):
    data = Dataset.from_episodes(episodes, provenance=PROVENANCE)
    target = f"minari:{tmp_path / 'set'}"
    sources.write(data, target, overwrite=True)
    assert_same_data(sources.load(target), data)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_minari_itself_loads_what_is_written(minari_root):
    episodes = make_episodes(observations="dict")
    data = Dataset.from_episodes(episodes, provenance=dataclasses.replace(PROVENANCE, environment="CartPole-v1"))
    folder = minari_format.write(data, "tests/door/mixed-v3", description="some of both", algorithm="a script")
    assert folder == minari_root / "tests/door/mixed-v3"
    assert "tests/door/mixed-v3" in minari.list_local_datasets()
    found = minari.load_dataset("tests/door/mixed-v3")
    assert (found.total_episodes, found.total_steps) == (3, 8)
    assert found.env_spec.id == "CartPole-v1"
    assert found.storage.metadata["description"] == "some of both"
    assert found.storage.metadata["algorithm_name"] == "a script"
    for expected, episode in zip(episodes, found, strict=True):
        steps = len(expected["rewards"])
        np.testing.assert_array_equal(episode.observations["arm"]["angle"], expected["observations"]["arm/angle"])
        np.testing.assert_array_equal(episode.observations["camera"], expected["observations"]["camera"])
        np.testing.assert_array_equal(episode.actions, expected["actions"])
        np.testing.assert_array_equal(episode.rewards, expected["rewards"])
        # The entry of the reset comes first.
        assert episode.infos["success"].tolist() == [False, *expected["successes"]]
        ending = [False] * (steps - 1)
        assert episode.terminations.tolist() == [*ending, expected["terminated"]]
        assert episode.truncations.tolist() == [*ending, not expected["terminated"]]
        for observation in ("camera",):
            assert found.observation_space[observation].contains(episode.observations[observation][0])


def test_minari_of_others(minari_root):
    """Without headstart's entry: provenance from the ID, spec from the spaces."""
    data = Dataset.from_episodes(make_episodes(actions="discrete"))
    folder = minari_format.write(data, "tests/cart-v7")
    marker = folder / minari_format.MARKER
    metadata = json.loads(marker.read_text())
    del metadata["headstart"]
    marker.write_text(json.dumps(metadata))
    found = sources.load("minari:tests/cart-v7")
    assert found.provenance == Provenance("minari:tests/cart-v7", "v7")
    assert found.spec.action.categories == data.spec.action.categories
    assert found.digest == data.digest


def test_minari_door():
    source = f"minari:{shared('minari/adroit/door-human-v1')}"
    data = sources.load(source)
    assert (data.episodes, data.steps, len(data)) == (25, 6729, 6754)
    assert data.provenance == Provenance(source, "v1", "AdroitHandDoorSparse-v1")
    assert data.spec.action.low == (-1.0,) * 28
    assert not data.terminations.any()
    with h5py.File(shared("minari/adroit/door-human-v1/data/main_data.hdf5")) as file:
        for index in (0, 8, 24):
            group = file[f"episode_{index}"]
            episode = data.episode(index)
            np.testing.assert_array_equal(episode["observations"], group["observations"][:].astype(np.float32))
            np.testing.assert_array_equal(episode["actions"], group["actions"][:])
            np.testing.assert_array_equal(episode["successes"], group["infos/success"][1:])
    # The sparse reward is 10 exactly where the step reached success.
    rows = data.transitions
    np.testing.assert_array_equal(data.successes[rows], data.rewards[rows] > 5)
    assert sum(data.episode(index)["successes"].any() for index in range(25)) == 8


def test_minari_door_by_id(monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(shared("minari")))
    assert sources.load("minari:adroit/door-human-v1").steps == 6729
    assert sources.disk_size("minari:adroit/door-human-v1") > 3_000_000


def test_ogbench_antmaze():
    data = sources.load(f"ogbench:{shared('ogbench/antmaze-medium-navigate-d4rlpolicy-v0.npz')}")
    assert (data.episodes, data.steps, len(data)) == (200, 200_000, 200 * 1001)
    assert data.rewards is None
    assert not data.terminations.any()
    with np.load(shared("ogbench/antmaze-medium-navigate-d4rlpolicy-v0.npz")) as file:
        np.testing.assert_array_equal(data.observations, file["observations"])
        np.testing.assert_array_equal(data.actions[data.transitions], file["actions"][file["terminals"] == 0])


def test_minari_is_not_overwritten_unasked(minari_root):
    data = Dataset.from_episodes(make_episodes())
    minari_format.write(data, "tests/set-v0")
    with pytest.raises(UsageError, match="tests/set-v0 already exists"):
        minari_format.write(data, "tests/set-v0")
    smaller = data.select([0], "one")
    minari_format.write(smaller, "tests/set-v0", overwrite=True)
    assert minari.load_dataset("tests/set-v0").total_episodes == 1


def test_minari_that_is_absent(minari_root, monkeypatch):
    minari_format.write(Dataset.from_episodes(make_episodes()), "tests/door-human-v1")

    def no_network(dataset_id):
        print("downloading")
        raise ConnectionError("no network\nat all")

    monkeypatch.setattr("minari.storage.hosting.download_dataset", no_network)
    with pytest.raises(DataError, match=r"cannot download it \(no network\); did you mean 'tests/door-human-v1'"):
        sources.load("minari:tests/door-humn-v1")
    with pytest.raises(DataError, match="or set MINARI_DATASETS_PATH"):
        sources.load("minari:other-v0")
    with pytest.raises(DataError, match=r"neither a folder .* nor an ID"):
        sources.load("minari:door")


def test_minari_download_is_quiet(minari_root, monkeypatch, capsys):
    def download(dataset_id):
        print("downloading")
        minari_format.write(Dataset.from_episodes(make_episodes()), dataset_id)

    monkeypatch.setattr("minari.storage.hosting.download_dataset", download)
    assert sources.load("minari:tests/far-v0").steps == 8
    assert capsys.readouterr().out == ""


def change_metadata(folder, **changes):
    marker = folder / minari_format.MARKER
    marker.write_text(json.dumps(json.loads(marker.read_text()) | changes))


def change_file(folder, key, value):
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        if key in file:
            del file[key]
        if value is not None:
            file[key] = value


SPACE = '{"type": "%s", "subspaces": [], "n": 3, "start": 0, "nvec": [2, 2], "dtype": "int64"}'


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: (p / "data/main_data.hdf5").write_bytes(NOISE), "episode 0 cannot be read"),
        (lambda p: (p / "data/main_data.hdf5").unlink(), "cannot be read by Minari: No data found"),
        (lambda p: (p / "data/metadata.json").unlink(), "cannot be read by Minari"),
        (lambda p: (p / "data/metadata.json").write_text("{"), "cannot be read by Minari"),
        (lambda p: change_metadata(p, minari_version="0.0.1"), "does not support the dataset"),
        (lambda p: change_metadata(p, observation_space=SPACE % "Tuple"), "observation is of type Tuple; expected Box"),
        (lambda p: change_metadata(p, action_space=SPACE % "Tuple"), "actions of type Tuple; expected Box or Discrete"),
        (lambda p: change_metadata(p, headstart={"spec": 3}), "the entry 'headstart' is damaged"),
        (lambda p: change_metadata(p, total_episodes=9), "episode 3 cannot be read"),
        (lambda p: change_file(p, "episode_1/actions", None), "episode 1 cannot be read: .*actions"),
        (lambda p: change_file(p, "episode_2/actions", np.zeros((2, 2), "f4")), "actions has 2 rows, expected 4"),
        (lambda p: change_file(p, "episode_2/infos/success", np.zeros(9, bool)), "has 9 entries, expected 5"),
        (
            lambda p: change_file(p, "episode_2/terminations", np.ones(4, bool)),
            "goes on after its termination at step 0",
        ),
        (lambda p: change_file(p, "episode_2/rewards", np.ones(4, "f4")), "is not what headstart wrote"),
    ],
)
def test_damaged_minari(damage, message, tmp_path):
    folder = minari_format.write(Dataset.from_episodes(make_episodes()), tmp_path / "set")
    damage(folder)
    with pytest.raises(DataError, match=message) as error:
        sources.load(f"minari:{folder}")
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)


def test_columns_that_name_no_ends_are_told_to_be_one_episode(tmp_path, capsys):
    np.savez(tmp_path / "rows.npz", observations=np.zeros((5, 2), np.float32))
    assert sources.load(f"arrays:{tmp_path / 'rows.npz'}").episodes == 1
    assert "neither terminations nor timeouts say where episodes end" in capsys.readouterr().err

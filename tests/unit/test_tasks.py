"""Data that names tasks: tables of vectors, columns, files, and several sources together."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from data_examples import assert_same_data, make_episodes

from headstart.algorithm import Goals, View
from headstart.cli import main as cli
from headstart.data import index, sources, transform
from headstart.data.dataset import Dataset
from headstart.data.inspect import inspect
from headstart.data.normalize import Normalizer
from headstart.data.replay import Mixture, draw_batches
from headstart.data.tasks import TaskTable, read_vectors
from headstart.data.views import gather, table, with_share
from headstart.errors import DataError, UsageError


def data_of(task: str, seed: int = 0) -> Dataset:
    return Dataset.from_episodes(make_episodes(seed=seed), task=task)


def sentences() -> TaskTable:
    return TaskTable.of({"open it": [0.1, 0.2], "close it": [0.3, -0.4]}, "sentences")


# -- tables ------------------------------------------------------------------------------------------------------------


def test_one_hot_places_and_a_spare_one():
    table = TaskTable.one_hot(["a", "b"])
    np.testing.assert_array_equal(table.array, [[1, 0, 0], [0, 1, 0]])
    assert table.context.shape == (3,)
    grown = table.joined(TaskTable.one_hot(["b", "c"]))
    assert grown.names == ("a", "b", "c")
    np.testing.assert_array_equal(grown.array, np.eye(3))
    with pytest.raises(UsageError, match="3 one-hot places for tasks, 3 of them taken, and d would need 1 more"):
        grown.joined(TaskTable.one_hot(["d"]))


def test_given_vectors_join_by_name_and_never_change():
    table = sentences().joined(TaskTable.of({"push it": [1.0, 1.0]}, "more"))
    assert table.names == ("open it", "close it", "push it")
    assert table.source == "sentences + more"
    np.testing.assert_array_equal(table.vector("open it"), np.float32([0.1, 0.2]))
    with pytest.raises(UsageError, match="'open it' has one vector here"):
        table.joined(TaskTable.of({"open it": [0.0, 0.0]}))
    with pytest.raises(UsageError, match="vectors of tasks differ: 2 numbers"):
        table.joined(TaskTable.of({"lift it": [0.0]}))
    with pytest.raises(UsageError, match="vectors of tasks differ"):
        table.joined(TaskTable.one_hot(["lift it", "drop it", "turn it"]))
    with pytest.raises(UsageError, match="did you mean 'close it'"):
        table.vector("close")


@pytest.mark.parametrize(
    ("names", "vectors", "message"),
    [
        ((), (), "all different, found none"),
        (("a", "a"), ((1.0,), (2.0,)), "all different, found a, a"),
        (("a", "b"), ((1.0,),), "2 tasks need as many vectors"),
        (("a", "b"), ((1.0,), (1.0, 2.0)), r"lengths \[1, 2\]"),
        (("a",), ((float("nan"),),), "NaN or infinity"),
    ],
)
def test_tables_that_make_no_sense(names, vectors, message):
    with pytest.raises(UsageError, match=message):
        TaskTable(names, vectors)


def test_vectors_from_files(tmp_path):
    np.savez(tmp_path / "v.npz", **{"open it": np.float32([0.1, 0.2]), "close it": np.float32([0.3, -0.4])})
    (tmp_path / "v.json").write_text(json.dumps({"open it": [0.1, 0.2], "close it": [0.3, -0.4]}))
    for name in ("v.npz", "v.json"):
        found = read_vectors(tmp_path / name)
        assert (found.names, found.vectors, found.source) == (sentences().names, sentences().vectors, name)
    for content in ("{", "[1]", '{"a": "b"}', '{"a": ["b"]}'):
        (tmp_path / "v.json").write_text(content)
        with pytest.raises(DataError, match="v.json"):
            read_vectors(tmp_path / "v.json")


def test_sentences_by_an_encoder_whose_weights_come_with_it(tmp_path):
    """As in the documentation."""
    wordllama = pytest.importorskip("wordllama", reason="the extra text is not installed")
    names = ["open the door", "close the door", "push the red cube"]
    encoder = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
    np.savez(tmp_path / "v.npz", **dict(zip(names, encoder.embed(names, norm=True), strict=True)))
    table = read_vectors(tmp_path / "v.npz")
    assert table.context.shape == (256,)
    likeness = table.array @ table.array.T
    assert likeness[0, 1] > 0.5 > likeness[0, 2]


# -- columns -----------------------------------------------------------------------------------------------------------


def test_a_task_for_each_row_or_for_all():
    episodes = make_episodes(lengths=(2, 1), ends=(True, False))
    data = Dataset.from_episodes([e | {"tasks": t} for e, t in zip(episodes, ([0, 1], [1]), strict=True)])
    np.testing.assert_array_equal(data.tasks, [0, 1, 1, 1, 1])
    assert data.tasks.dtype == np.int32
    assert data.task_table.names == ("0", "1")
    assert data.spec.context.shape == (3,)
    np.testing.assert_array_equal(data.episode(0)["tasks"], [0, 1])
    np.testing.assert_array_equal(data.select([1, 0], "turned round").tasks, [1, 1, 0, 1, 1])
    assert (Dataset.from_episodes(episodes, task="open").tasks == 0).all()
    with pytest.raises(DataError, match="outside the table of 1 tasks"):
        Dataset.from_episodes(
            [e | {"tasks": [1] * len(e["rewards"])} for e in episodes], task_table=TaskTable.one_hot("a")
        )


def test_tasks_decide_the_digest_and_are_in_the_summary():
    plain, one, other = Dataset.from_episodes(make_episodes()), data_of("open"), data_of("close")
    assert len({plain.digest, one.digest, other.digest}) == 3
    assert one.summary()["tasks"] == "1 tasks (open), one-hot vectors of 2"
    assert "tasks" not in plain.summary()


def test_parts_keep_their_tasks_by_name():
    data = transform.concatenate([data_of("open"), data_of("close", 1), data_of("open", 2)])
    rows = len(data_of("open"))
    np.testing.assert_array_equal(data.tasks, np.repeat([0, 1, 0], rows))
    assert data.task_table == TaskTable.one_hot(["open", "close"])
    assert data.spec.context.shape == (3,)
    inspection = inspect(data)
    assert inspection.tasks == {"open": 16, "close": 8}
    assert next(use for use in inspection.uses if use.name == "multi-task learning").possible
    with pytest.raises(DataError, match="holds tasks, memory does not"):
        transform.concatenate([data_of("open"), Dataset.from_episodes(make_episodes())])
    with pytest.raises(UsageError, match="one-hot"):
        transform.concatenate([data_of("open"), transform.of_task(data, "open it", sentences())])


def test_relabelled_rows_are_marked_beside_parts_without_any():
    marked = [e | {"shared": np.ones(len(e["rewards"]), bool)} for e in make_episodes()]
    data = transform.concatenate([data_of("open"), Dataset.from_episodes(marked, task="open")])
    steps = data.transitions
    np.testing.assert_array_equal(data.shared[steps], np.repeat([False, True], len(steps) // 2))


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["arrays", "minari"])
@pytest.mark.parametrize("table", [None, sentences()], ids=["one-hot", "vectors"])
def test_every_format_that_is_written_carries_tasks(tmp_path, target, table):
    table = table or TaskTable.one_hot(["open it", "close it"])
    data = transform.concatenate(
        [transform.of_task(data_of("any", i), name, table) for i, name in enumerate(table.names)]
    )
    sources.write(data, f"{target}:{tmp_path}/there")
    found = sources.load(f"{target}:{tmp_path}/there")
    assert_same_data(found, data)
    assert found.task_table == data.task_table


def test_npz_files_hold_ids(tmp_path):
    np.savez(tmp_path / "d.npz", observations=np.zeros((3, 2)), tasks=[1, 0, 0], terminals=[False, False, True])
    data = sources.load(f"arrays:{tmp_path}/d.npz")
    np.testing.assert_array_equal(data.tasks[data.transitions], [1, 0, 0])


def test_several_sources_with_a_task_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i in range(3):
        sources.write(Dataset.from_episodes(make_episodes(seed=i)), f"arrays:part{i}")
    listed = {"open it": "arrays:part0", "close it": ["arrays:part1", "arrays:part2"]}
    (tmp_path / "t.json").write_text(json.dumps({"tasks": listed, "spare": 2}))
    data = sources.load("tasks:t.json")
    assert data.provenance.source == "tasks:t.json"
    assert data.task_table == TaskTable.one_hot(["open it", "close it"], spare=2)
    np.testing.assert_array_equal(data.tasks, np.repeat([0, 1], [len(data) // 3, len(data) - len(data) // 3]))
    np.savez("v.npz", **{"close it": np.float32([0.3, -0.4]), "open it": np.float32([0.1, 0.2]), "other": [1.0, 2.0]})
    (tmp_path / "t.json").write_text(json.dumps({"tasks": listed, "vectors": "v.npz"}))
    assert sources.load("tasks:t.json").task_table == dataclasses.replace(sentences(), source="v.npz")


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ([], DataError, "expected an object"),
        ({"tasks": {}}, DataError, 'expected "tasks"'),
        ({"tasks": {"a": 3}}, DataError, 'expected "tasks"'),
        ({"tasks": {"a": []}}, DataError, 'expected "tasks"'),
        ({"task": {"a": "arrays:x"}}, UsageError, "did you mean 'tasks'"),
        ({"tasks": {"a": "arrays:x"}, "spare": -1}, DataError, '"spare"'),
        ({"tasks": {"a": "arrays:x"}, "spare": 1, "vectors": "v.npz"}, UsageError, "one-hot vectors alone"),
    ],
)
def test_lists_of_sources_that_make_no_sense(tmp_path, content, error, message):
    (tmp_path / "t.json").write_text(json.dumps(content))
    with pytest.raises(error, match=message):
        sources.load(f"tasks:{tmp_path}/t.json")


def test_convert_names_the_task_and_its_vector(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sources.write(Dataset.from_episodes(make_episodes()), "arrays:plain")
    (tmp_path / "v.json").write_text(json.dumps({"open it": [0.1, 0.2]}))
    assert cli.main(["data", "convert", "arrays:plain", "arrays:one", "--task", "open it"]) == 0
    assert sources.load("arrays:one").task_table == TaskTable.one_hot(["open it"])
    assert cli.main(["data", "convert", "arrays:one", "arrays:two", "--task-vectors", "v.json"]) == 0
    data = sources.load("arrays:two")
    assert data.task_table.source == "v.json"
    assert data.provenance.transforms == ("all of task 'open it'", "vectors of tasks from v.json")


# -- batches -----------------------------------------------------------------------------------------------------------


def two_tasks() -> Dataset:
    return transform.concatenate([data_of("open"), data_of("close", 1)])


def test_every_row_of_a_batch_has_the_vector_of_its_own_task():
    data, view = two_tasks(), View(tasks=True)
    columns = table(data, view)
    batch = gather(columns, columns.rows, view, Normalizer())
    np.testing.assert_array_equal(batch.context, data.task_table.array[data.tasks[data.transitions]])
    assert table(data, View()).tasks is None
    assert gather(table(data, View()), columns.rows, View(), Normalizer()).context is None


def test_rewards_are_not_summed_over_several_tasks():
    episodes = [make_episodes(lengths=(4,), ends=(True,))[0] | {"tasks": [0, 0, 1, 1]}]
    data = Dataset.from_episodes(episodes)
    table(data, View(tasks=True))
    for summed in ({"n_step": 2}, {"mc_return": True}):
        with pytest.raises(UsageError, match="the task changes within episode 0"):
            table(data, View(tasks=True, **summed))


def test_who_acts_on_tasks_needs_some():
    plain = Dataset.from_episodes(make_episodes())
    with pytest.raises(UsageError, match="names no tasks, which this algorithm acts on"):
        table(plain, View(tasks=True))
    with pytest.raises(UsageError, match="acts on tasks \\(tasks\\), and none are named"):
        View(tasks=True).with_context(plain.spec)
    with pytest.raises(UsageError, match="on tasks or on goals, not on both"):
        View(tasks=True, goals=Goals())


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.7])
def test_a_fixed_share_of_every_batch_and_of_any_part_of_it(share):
    view = View(batch_size=32)
    columns = with_share(table(two_tasks(), view), 8, share, 32)
    for seed in range(5):
        positions = np.asarray(index.within(jax.random.key(seed), jnp.asarray(columns.ranges)))
        first = positions < 8
        assert positions.min() >= 0
        assert positions.max() < 16
        assert first.sum() == round(32 * share)
        for part in (8, 16, 24):
            assert abs(first[:part].sum() - part * share) <= 1
    drawn = np.concatenate([index.within(jax.random.key(i), jnp.asarray(columns.ranges)) for i in range(200)])
    np.testing.assert_allclose(np.bincount(drawn[drawn < 8]) / (200 * round(32 * share)), 1 / 8, atol=0.06)


@pytest.mark.parametrize("share", [0.0, 0.001, 1.0])
def test_a_share_leaves_none_of_the_two_out(share):
    with pytest.raises(UsageError, match="leaves one of the two data sets out"):
        with_share(table(two_tasks(), View(batch_size=8)), 8, share, 8)


def test_shares_are_the_same_on_host_and_device():
    view = View(batch_size=8)
    columns = with_share(table(two_tasks(), view), 8, 0.25, 8)
    key = jax.random.key(3)
    drawn = draw_batches(columns, None, Mixture(), 0.0, view, Normalizer(), key, 0, 4, 4)
    for update in range(4):
        draw_key = jax.random.split(jax.random.fold_in(key, update))[0]
        rows = columns.rows[np.asarray(index.within(draw_key, jnp.asarray(columns.ranges)))]
        np.testing.assert_array_equal(drawn.observation[update], columns.observations[rows])

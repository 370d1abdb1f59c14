"""Which runs belong together, and what a report calls them."""

from pathlib import Path

import pytest
from run_examples import ENV, write_methods, write_run

from headstart.errors import DataError, UsageError
from headstart.report.runs import find, methods

SCORES = {0: {0: [1], 1: [0]}, 10: {0: [1], 1: [1]}}


def shape(*paths: Path) -> list[tuple[str, str | None, list[list[str]]]]:
    """[(label, task, names of the folders of each chain)]."""
    return [
        (method.label, method.task, [[run.folder.name for run in chain] for chain in method.chains])
        for method in methods(find(paths))
    ]


def test_a_recipes_folder_is_methods_of_two_phases(tmp_path):
    write_methods(tmp_path / "all", calql=1, cql=0)
    assert shape(tmp_path / "all") == [
        ("calql", ENV, [["pretrain", "finetune"]]),
        ("cql", ENV, [["pretrain", "finetune"]]),
    ]


def test_runs_that_are_named_one_by_one_find_their_order(tmp_path):
    write_methods(tmp_path, calql=1)
    folder = tmp_path / "calql"
    assert shape(folder / "finetune", folder / "pretrain", folder) == [("calql", ENV, [["pretrain", "finetune"]])]
    assert shape(folder / "finetune") == [("calql", ENV, [["finetune"]])]


def test_a_shared_start_belongs_to_every_method_that_goes_on_from_it(tmp_path):
    start = write_run(tmp_path / "bc", "offline", algorithm="bc")
    for label in ("a", "b"):
        write_run(tmp_path / label / "finetune", source=start, scores=SCORES, weight=ord(label))
    assert shape(tmp_path) == [("a", ENV, [["bc", "finetune"]]), ("b", ENV, [["bc", "finetune"]])]


def test_other_seeds_of_the_same_settings_are_one_method(tmp_path):
    for seed in (3, 4):
        write_run(tmp_path / "iql" / f"seed{seed}", seeds=(seed,), scores={0: {seed: [1]}, 10: {seed: [0]}})
    write_run(tmp_path / "sac" / "seed3", seeds=(3,), algorithm="sac", scores={0: {3: [1]}, 10: {3: [0]}})
    found = methods(find([tmp_path]))
    assert [(method.label, method.seeds) for method in found] == [("iql", [3, 4]), ("sac", [3])]


def test_the_same_seeds_again_are_another_method(tmp_path):
    for name in ("one", "two"):
        write_methods(tmp_path / name, cql=1)
    assert [label for label, _, _ in shape(tmp_path / "one", tmp_path / "two")] == ["cql (one)", "cql (two)"]
    assert [label for label, _, _ in shape(tmp_path)] == ["one", "two"]


def test_methods_have_the_same_labels_in_every_task(tmp_path):
    for task in ("door", "pen"):
        for label in ("calql", "cql"):
            write_run(tmp_path / task / label, scores=SCORES, env=f"{task}-v1", weight=len(label))
    expected = [(label, f"{task}-v1") for task in ("door", "pen") for label in ("calql", "cql")]
    assert [part[:2] for part in shape(tmp_path)] == expected
    assert [part[:2] for part in shape(tmp_path / "door", tmp_path / "pen")] == expected
    # One method only: its folders are named after the tasks, so that it is called by its algorithm.
    alone = [("cql", "door-v1"), ("cql", "pen-v1")]
    assert [part[:2] for part in shape(tmp_path / "door" / "cql", tmp_path / "pen" / "cql")] == alone


def test_runs_without_evaluations_have_no_task(tmp_path):
    write_run(tmp_path / "run", "offline")
    assert shape(tmp_path / "run") == [("cql", None, [["run"]])]


def test_what_is_no_run_is_told(tmp_path):
    with pytest.raises(UsageError, match="no run is named"):
        find([])
    with pytest.raises(UsageError, match="absent does not exist"):
        find([tmp_path / "absent"])
    with pytest.raises(UsageError, match="holds no run"):
        find([tmp_path])
    write_run(tmp_path / "run")
    with pytest.raises(UsageError, match="it is an artifact: name the run's folder"):
        find([tmp_path / "run" / "artifact"])
    (tmp_path / "run" / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UsageError, match="holds no run"):
        find([tmp_path])
    (tmp_path / "run" / "config.json").write_text('{"phase": "online"}')
    with pytest.raises(DataError, match="config.json: algorithm, data, options, .* missing"):
        methods(find([tmp_path]))
    (tmp_path / "run" / "config.json").write_text("{")
    with pytest.raises(DataError, match="config.json is damaged"):
        methods(find([tmp_path]))

"""The pure parts of the benchmarks: statistics, tables and commands; nothing here is timed."""

import dataclasses
import importlib
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from headstart.train.scores import Curve

SCRIPTS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """The folder of the scripts, which import each other, on the path."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "").parent == SCRIPTS:
            del sys.modules[name]


def script(name):
    return importlib.import_module(name)


def curve(means, steps=None):
    """means: (T, seeds)."""
    means = np.array(means, float)
    return Curve("online", np.arange(len(means)) if steps is None else np.array(steps), means[..., None])


# -- studies ------------------------------------------------------------------------------------------------------


def test_scores_are_offline_dip_mean_along_and_the_last_three():
    scores = script("studies").Scores.of(
        curve([[0.5, 0.2], [0.1, 0.4], [0.4, 0.4], [0.7, 1.0], [1.0, 1.0]], steps=[0, 10, 40, 70, 100])
    )
    np.testing.assert_allclose(scores.offline, [0.5, 0.2])
    np.testing.assert_allclose(scores.dip, [0.1, 0.2])
    np.testing.assert_allclose(scores.final, [0.7, 0.8])
    expected = (10 * 0.3 + 30 * 0.25 + 30 * 0.55 + 30 * 0.85) / 100
    np.testing.assert_allclose(scores.along[0], expected)


def test_a_level_is_reached_when_two_successive_evaluations_have_it():
    found = script("studies").first_at(
        curve([[0.9, 0.0, 0.0], [0.2, 0.9, 0.0], [0.8, 0.9, 0.0], [0.8, 0.1, 0.9]], steps=[0, 5, 10, 15]), 0.8
    )
    np.testing.assert_array_equal(found, [10, 5, math.inf])


def test_differences_are_means_over_tasks_of_differences_of_means():
    studies = script("studies")
    value, low, high = studies.difference(
        [np.array([1.0, 0.5]), np.array([0.0])], [np.array([0.25]), np.array([0.5, 0.5])]
    )
    assert value == pytest.approx((0.5 - 0.5) / 2)
    # Only one of the samples varies: from 0.5 to 1.
    assert (low, high) == pytest.approx((-0.125, 0.125))


def test_only_complete_runs_have_curves(tmp_path):
    studies = script("studies")
    for name in ("whole", "begun"):
        for run in ("pretrain", "finetune"):
            (tmp_path / name / run).mkdir(parents=True)
            line = {"phase": run, "step": 0, "training_seed": 0, "success": True, "return": 0.0}
            (tmp_path / name / run / "episodes.jsonl").write_text(json.dumps(line) + "\n")
    (tmp_path / "whole" / "finetune" / "artifact").mkdir()
    found = studies.curves(tmp_path, ("whole", "begun", "absent"))
    assert list(found) == ["whole"]
    assert [len(each.steps) for each in found["whole"]] == [1, 1]


def test_the_modes_differ_in_precision_and_sampling_alone():
    from headstart.algos.registry import algorithm
    from headstart.recipes.compare import Method

    method = Method("calql", algorithm("calql", actor_widths=(8,)), 10, {"steps": 10})
    found = {name: change(method) for name, change in script("parity").modes(4, actions=3).items()}
    assert {name: (m.precision, m.algorithm.gradient_samples) for name, m in found.items()} == {
        "exact": ("float32", 0), "bf16": ("bfloat16", 0), "sampled": ("float32", 4), "both": ("bfloat16", 4),
    }  # fmt: skip
    assert {dataclasses.replace(m.algorithm, gradient_samples=0) for m in found.values()} == {
        dataclasses.replace(method.algorithm, actions=3)
    }


def test_the_table_of_parity_has_tasks_and_all_of_them_together():
    parity, studies = script("parity"), script("studies")
    level = {"exact": 0.5, "both": 0.75}
    scores = {mode: studies.Scores(*[np.full(3, value)] * 4) for mode, value in level.items()}
    lines = parity.table({"maze": scores, "door": {"exact": scores["exact"]}}).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["maze", "maze", "door", "all"]
    assert " 25% [" in lines[3]
    assert " 100% [" in lines[3]
    assert "3+3" in lines[5]


def test_every_variant_is_the_published_recipe_with_a_change_of_its_own():
    fewer = script("fewer_steps")
    found = fewer.settings(-20.0)
    assert found["published"] == {}
    # The recipe has nets of its own; wide ones are a line beside it.
    single = [fields for name, fields in found.items() if name not in ("published", "all", "wide")]
    assert found["all"] == {name: value for fields in single for name, value in fields.items()}
    assert all(fewer.PUBLISHED.get(name) != value for name, value in found["all"].items())
    assert found["wide"] == {"actor_widths": (256, 256), "critic_widths": (256, 256)}


def test_the_table_of_fewer_steps_gives_medians_every_seed_and_seconds():
    offline = curve([[0.0, 0.9, 0.0], [0.9, 0.9, 0.0], [0.9, 0.9, 0.0]], steps=[0, 100, 200])
    table = script("fewer_steps").report({"bias": [offline, offline]}, 0.8, {"bias": 0.5})
    assert "100 (0 100 -), 50.0 s" in table.splitlines()[2]


# -- growth -------------------------------------------------------------------------------------------------------


def test_a_study_knows_its_own_points():
    growth = script("growth")
    study = growth.STUDIES["data"]
    points = [(point, {"rate": float(i)}) for i, point in enumerate(study.points((100, 10)))]
    others = [(growth.Point(batch=7), {"rate": 9.0}), (growth.Point(transitions=100, seeds=2), {"rate": 9.0})]
    assert [value for value, _ in study.of(growth.IQL, points + others)] == [10, 100]
    assert [numbers["rate"] for _, numbers in study.of(growth.OFFICIAL, points)] == [3.0, 1.0]


def test_the_table_of_growth_measures_each_precision_against_its_own_peak(tmp_path):
    growth = script("growth")
    numbers = {"rate": 10.0, "gflop": 2.0, "memory_gb": 1.5, "data_gb": 0.25}
    exact = [(point, numbers) for point in growth.STUDIES["width"].points((128,))]
    rounded = [(point, numbers) for point in growth.STUDIES["precision"].points((128,))]
    peaks = {"float32": 40.0, "bfloat16": 80.0}
    for name, share in (("width", "50%"), ("precision", "25%")):
        lines = growth.table(growth.STUDIES[name], exact + rounded, peaks).splitlines()
        assert len(lines) == 4
        assert all(share in line and " 100 " in line for line in lines[2:])
    machine = {"device": "cpu", "cpu": "a CPU", "cores": 2, "versions": {"jax": "1.0", "torch": "absent"}}
    points = [{"point": dataclasses.asdict(point), "found": found} for point, found in exact]
    page = growth.page({"machine": machine, "peaks": peaks, "points": points}, list(growth.STUDIES))
    assert [line for line in page.splitlines() if line.startswith("## ")] == ["## Width"]
    assert "jax 1.0" in page
    assert "torch" not in page
    growth.picture(growth.STUDIES["width"], exact, tmp_path / "width.png")
    assert (tmp_path / "width.png").exists()


def test_measured_points_are_read_back_from_the_file():
    growth = script("growth")
    point = growth.Point("calql", critics=10)
    content = {"points": [{"point": dataclasses.asdict(point), "found": {"rate": 1.0}}]}
    assert growth.measured(json.loads(json.dumps(content))) == [(point, {"rate": 1.0})]


# -- the online loop, launching, the GPU's parts ----------------------------------------------------------------------


def test_the_loop_costs_what_is_neither_updates_nor_environment_without_the_set_up():
    spent = {
        "updates": 6.0, "environment": 1.5, "resets": 0.5, "acting": 0.4, "batches": 0.2, "all": 12.0,
        "environments": 2.0, "tracing": 1.0,
    }  # fmt: skip
    total, shares, loop = script("online").parts(spent)
    assert total == 9.0
    np.testing.assert_allclose(shares, np.array([6.0, 1.5, 0.5, 0.4, 0.2, 0.4]) / 9.0)
    assert loop == pytest.approx(1.0 / 8.0)


def test_the_table_of_launching_has_medians_and_ranges():
    table = script("launch").table({"import": [(1.0, 0.5), (3.0, 0.7), (2.0, 0.6)]})
    assert table.splitlines()[-1] == "| import | 2.00 (1.00-3.00) | 0.60 |"


def test_a_part_that_was_begun_goes_on(tmp_path):
    gpu = script("gpu")
    parts = gpu.parts(tmp_path, tiny=False, demonstrations="minari:here")
    assert "--resume" not in parts["door-calql"].command
    assert "minari:here" in parts["door-calql"].command
    (tmp_path / "door-calql").mkdir()
    (tmp_path / "door-calql" / "recipe.json").touch()
    again = gpu.parts(tmp_path, tiny=False, demonstrations="minari:here")
    assert "--resume" in again["door-calql"].command
    assert "--resume" not in again["door-iql"].command


def test_a_part_is_stopped_after_its_time_and_keeps_what_it_printed(tmp_path, capfd):
    gpu = script("gpu")
    slow = gpu.Part("waiting", (sys.executable, "-c", "import time; print(1, flush=True); time.sleep(60)"))
    assert gpu.run("slow", slow, tmp_path, minutes=1.0 / 60.0, tiny=False) == 130
    assert "give the same command again" in capfd.readouterr().err
    quick = gpu.Part("done", (sys.executable, "-c", "print('done')"))
    assert gpu.run("quick", quick, tmp_path, minutes=1.0, tiny=True) == 0
    assert (tmp_path / "quick.md").read_text() == "done\n"

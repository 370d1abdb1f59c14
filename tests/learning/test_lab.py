"""The claims of the lab (docs/lab.md), on fewer seeds and rounds than its figure."""

from __future__ import annotations

import json

import numpy as np
import pytest

from headstart.diagnostics.exact import estimated
from headstart.lab import overestimation
from headstart.lab.ledge import FORWARD, STEP_OFF, walker
from headstart.lab.theory import bounds, by_weight


@pytest.fixture(scope="module")
def study():
    return overestimation.Overestimation(seeds=5, rounds=20).study()


def test_naive_values_are_far_too_high_and_its_policy_is_worse_than_the_data(study):
    naive = study.courses["naive"]
    assert (naive.errors > 5.0).all()
    assert (naive.truths[naive.switch - 1] < study.reference).all()


def test_cql_values_sink_below_what_is_possible_though_its_policy_is_good(study):
    cql = study.courses["cql"]
    assert (cql.estimates[cql.switch - 1] < study.lowest).all()
    assert (cql.truths[cql.switch - 1] > study.reference).all()


def test_cal_ql_values_are_near_the_truth_and_above_the_reference(study):
    calql = study.courses["calql"]
    assert (np.abs(calql.errors) < 1.0).all()
    # The data's estimate of the reference has an error of its own.
    assert (calql.estimates[calql.switch - 1] > study.reference - 0.5).all()


def test_only_cql_dips_when_new_data_comes(study):
    before = [course.truths[course.switch - 1].mean() for course in study.courses.values()]
    assert before[1] == pytest.approx(before[2])
    assert study.courses["cql"].dips.mean() > 1.0
    assert study.courses["calql"].dips.max() < 0.1


def test_it_dips_by_stepping_off_which_looked_worse_before(study):
    cql = study.courses["cql"]
    seed = int(cql.dips.argmax())
    starts = study.mdp.start > 0
    assert not (cql.tables[cql.switch - 1, seed].argmax(-1) == STEP_OFF)[starts].any()
    assert (cql.tables[cql.switch :, seed].argmax(-1) == STEP_OFF)[:, starts].any()


def test_calibration_pushes_no_value_below_the_reference(study):
    calql = study.courses["calql"]
    seen = np.isfinite(study.references)
    unseen_actions = calql.tables[:, :, :, STEP_OFF:]
    floor = np.minimum(unseen_actions[0], study.references[..., None])
    last = unseen_actions[calql.switch - 1]
    # Adam overshoots by some of its steps of 0.1.
    assert (last >= floor - 1.5)[seen].all()
    cql = study.courses["cql"].tables[calql.switch - 1, :, :, STEP_OFF:]
    assert (cql < floor - 5.0)[seen].mean() > 0.8


def test_a_table_whose_policy_never_explores_keeps_cql_above_the_behaviour():
    """E_behaviour[Q - target] is never negative at the minimum of the loss, so V = max Q >= B^behaviour V."""
    study = overestimation.Overestimation(seeds=2, rounds=1, exploration=0.0, offline_updates=3000).study()
    cql = study.courses["cql"]
    for seed, data in enumerate(study.data):
        shown, _ = estimated(study.mdp, data)
        behaviour = study.mdp.start @ shown.evaluate(walker(study.mdp))[0]
        assert cql.estimates[cql.switch - 1, seed] > behaviour - 0.2


def test_the_least_weight_is_that_and_the_theorems_are_larger(study):
    mdp = study.mdp
    policy = np.eye(mdp.actions)[np.full(mdp.states, FORWARD)]
    truth, _ = mdp.evaluate(policy)
    binding = 0
    for data, reference in zip(study.data, study.references, strict=True):
        found = bounds(mdp, data, policy)
        assert found.least <= found.sufficient <= found.probable
        at_least, below = by_weight(mdp, data, policy, np.array([found.least, 0.9 * found.least]))
        assert (at_least <= truth + 1e-6).all()
        if found.least > 0.0:
            binding += 1
            assert (below > truth).any()
        calibrated = by_weight(mdp, data, policy, np.array([100.0]), reference)[0]
        going = np.isfinite(reference)
        assert (calibrated >= reference - 1e-6)[going].all()
        assert (by_weight(mdp, data, policy, np.array([100.0]))[0] < reference - 10.0)[going].all()
    assert binding


def test_it_writes_its_figure_and_numbers(tmp_path, capsys):
    overestimation.Overestimation(seeds=5, rounds=1, offline_updates=50).run(tmp_path)
    numbers = json.loads((tmp_path / "overestimation.json").read_text())
    assert set(numbers["methods"]) == {"naive", "cql", "calql"}
    assert numbers["settings"]["seeds"] == 5
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".png", ".svg"}
    assert "| calql" in capsys.readouterr().out

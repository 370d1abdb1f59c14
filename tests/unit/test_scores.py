"""Numbers and figures of a finetuning run, from records whose answers are known."""

import json

import numpy as np
import pytest

from headstart.errors import DataError
from headstart.report.figures import learning_curves
from headstart.report.scores import Curve, Finetuning, Trace, markdown, text

STEPS = [0, 50, 100, 500, 1000]
SUCCESS = {0: [1, 0, 1, 1, 1], 1: [1, 1, 0, 1, 1]}
"""Training seed -> success at each step, of all episodes alike."""


@pytest.fixture
def run(tmp_path):
    episodes = [
        {
            "phase": "online",
            "step": step,
            "training_seed": seed,
            "seed": e,
            "return": -5.0 * (1 - s),
            "success": bool(s),
        }
        for seed, scores in SUCCESS.items()
        for step, s in zip(STEPS, scores, strict=True)
        for e in range(4)
    ]
    metrics = [
        {"phase": "online", "step": step, "seed": seed, **({"q_policy": seed + step} if step else {})}
        for step in (0, 10, 20)
        for seed in (0, 1)
    ]
    for name, lines in (("episodes", episodes), ("metrics", metrics)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def test_curve_reads_every_episode(run):
    curve = Curve.read(run, "success")
    assert curve.steps.tolist() == STEPS
    assert curve.scores.shape == (5, 2, 4)
    assert curve.scores.mean(2).T.tolist() == [[1, 0, 1, 1, 1], [1, 1, 0, 1, 1]]
    mean, low, high = curve.intervals()[1]
    assert (mean, low, high) == (0.5, 0.0, 1.0)  # one seed failed throughout, the other never


def test_finetuning_numbers(run):
    found = Finetuning.of(Curve.read(run, "success"), "success")
    assert found.before == found.after == (1.0, 1.0, 1.0)
    # Each seed's own worst evaluation up to step 100, a tenth of the run: both fell to 0, at different steps.
    assert found.dip == (0.0, 0.0, 0.0)
    # Trapezoid over steps 0..1000 of the two curves, by hand.
    failures = [np.trapezoid(1.0 - np.array(scores), STEPS) / 1000 for scores in SUCCESS.values()]
    assert found.regret[0] == pytest.approx(np.mean(failures), abs=1e-9)


def test_dip_without_an_evaluation_in_the_first_tenth(run):
    curve = Curve.read(run, "success")
    sparse = Curve(curve.phase, curve.steps[[0, 3, 4]], curve.scores[[0, 3, 4]] * np.array([1, 0, 1])[:, None, None])
    assert Finetuning.of(sparse, "success").dip[0] == 0.0


def test_returns_have_no_regret(run):
    found = Finetuning.of(Curve.read(run, "return"), "return")
    assert found.regret is None
    assert found.dip[0] == -5.0


def test_trace_skips_lines_without_the_metric(run):
    trace = Trace.read(run, "q_policy")
    assert trace.steps.tolist() == [10, 20]
    assert trace.values.tolist() == [[10, 11], [20, 21]]


def test_runs_without_records_are_told(tmp_path, run):
    with pytest.raises(DataError, match="no evaluation episodes"):
        Curve.read(tmp_path / "absent", "success")
    line = {"phase": "online", "step": 0, "training_seed": 0, "seed": 0, "return": 0.0, "success": None}
    (run / "episodes.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(DataError, match="tells no success"):
        Curve.read(run, "success")


def test_text_and_table():
    assert text((0.571, 0.43, 0.708), "success") == "57% [43, 71]"
    assert text((-63.24, -70.1, -55.0), "return") == "-63.2 [-70.1, -55]"
    assert text(None, "success") == "-"
    assert markdown(["a", "bb"], [["ccc", "d"]]) == "| a   | bb |\n|-----|----|\n| ccc | d  |"


def test_figure_is_written_with_all_its_parts(run, tmp_path):
    curve, trace = Curve.read(run, "success"), Trace.read(run, "q_policy")
    picture = learning_curves(
        {"calql": [curve, curve], "scratch": [curve]}, tmp_path / "out" / "curves.png", "success", "a title",
        {"bc": 0.5}, {"calql": [trace, trace], "scratch": [trace]}, -33.3,
    )  # fmt: skip
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.with_suffix(".svg").read_text().count("<path") > 20

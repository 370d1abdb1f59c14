"""The diagnostic of finetuning on courses written by hand, the statistics behind all diagnostics, and the verb."""

import dataclasses
import json

import numpy as np
import pytest
from diagnosed import ENV, TRUE, subject, table, walks

from headstart.cli.main import main
from headstart.diagnostics.findings import Unsupported
from headstart.diagnostics.finetuning import Course, Evidence, finetuning
from headstart.diagnostics.statistics import distances, rank_correlation, two_sample
from headstart.errors import DataError
from headstart.train.scores import Curve

pytestmark = pytest.mark.usefixtures("quick_compilation")

STEPS = np.arange(0, 1001, 100)
DATA = walks()


def curve(*seeds, episodes=20):
    """Success rates of each seed at every step, as episodes."""
    rates = np.array(seeds, float).T
    solved = np.arange(episodes) < np.round(rates[..., None] * episodes)
    return Curve("online", STEPS, solved.astype(float))


FALLS = [0.9, 0.3, 0.3, 0.3, 0.6, 0.9, 0.9, 1.0, 1.0, 1.0, 1.0]
STAYS = [0.9, 0.85, 0.85, 0.9, 0.9, 0.9, 0.95, 0.85, 0.9, 0.95, 0.9]


# -- courses --------------------------------------------------------------------------------------------------------


def test_a_dip_is_measured_by_windows_of_evaluations():
    course = Course.of(curve(FALLS, FALLS), "success", [0, 1])
    assert course.dip == pytest.approx(0.6)
    np.testing.assert_allclose(course.worst, 0.3)
    np.testing.assert_allclose(course.worst_at, 200)
    # Windows around 500 are the first whose mean is 0.9 again: steps 600, 700 and 800 hold 0.9, 1 and 1.
    np.testing.assert_allclose(course.recovery, 600)
    assert 0.3 < course.margin < 0.6


def test_noise_is_no_dip():
    """The worst of many evaluations lies below the start; its bound tells that this is chance."""
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(200):
        scores = (rng.random((11, 3, 20)) < 0.8).astype(float)
        course = Course.of(Curve("online", STEPS, scores), "success", [0, 1, 2])
        found += course.margin > 0.0
    assert found <= 15
    assert Course.of(curve(STAYS), "success", [0]).margin < 0.0


def test_one_seed_of_two_that_never_comes_back():
    lost = [0.9, *[0.2] * 10]
    course = Course.of(curve(FALLS, lost), "success", [0, 1])
    assert np.isfinite(course.recovery).tolist() == [True, False]
    assert course.regret[1] > 0.7
    assert course.after.tolist() == [1.0, pytest.approx(0.2)]


def test_regret_of_returns_is_relative_to_the_best():
    returns = np.repeat(np.linspace(-10.0, 0.0, 11)[:, None, None], 4, axis=2)
    course = Course.of(Curve("online", STEPS, returns), "return", [0])
    assert course.regret == pytest.approx(5.0)
    assert course.dip < 0.0
    assert course.recovery == 0.0


# -- causes ---------------------------------------------------------------------------------------------------------

NOTHING = Evidence(
    shortfall=0.5, drift=0.0, rise=0.1, spread=10.0, jump=1.0, left=0.9, gradient=0.8, recovered=1.0
)  # fmt: skip


@pytest.mark.parametrize(
    ("cause", "changes"),
    [
        ("underestimation", {"rise": 6.0, "shortfall": -3.0}),
        ("shift", {"jump": 5.0}),
        ("plasticity", {"recovered": 0.5, "left": 1.4}),
        ("plasticity", {"recovered": 0.0, "gradient": 0.05}),
    ],
)
def test_evidence_points_to_what_it_shows(cause, changes):
    evidence = dataclasses.replace(NOTHING, **changes)
    assert [name for name, (holds, _) in evidence.causes().items() if holds] == [cause]
    assert evidence.sentence().startswith(f"The evidence points to {cause} (")


def test_evidence_of_nothing_points_to_nothing():
    assert not any(holds for holds, _ in NOTHING.causes().values())
    assert NOTHING.sentence().startswith("The evidence points to none of the three causes, not to underestimation (")
    unknown = Evidence(*[float("nan")] * 7, recovered=1.0)
    assert not any(holds for holds, _ in unknown.causes().values())


def test_values_that_rise_from_above_the_returns_were_not_too_low():
    evidence = dataclasses.replace(NOTHING, rise=6.0, shortfall=3.0)
    assert not evidence.causes()["underestimation"][0]


# -- runs -----------------------------------------------------------------------------------------------------------


def write(folder, phase, source, rates, q, errors):
    """A run of one seed: success rates at `STEPS`, and metrics at each of them but the first."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"phase": phase, "source": source}))
    episodes = [
        {"phase": phase, "step": int(step), "training_seed": 0, "seed": i, "return": 0.0, "length": 1,
         "success": i < round(20 * rate)}
        for step, rate in zip(STEPS, rates, strict=False) for i in range(20)
    ]  # fmt: skip
    metrics = [
        {"phase": phase, "step": int(step), "seed": 0, "q_policy": value, "td_loss": error, "gradient_norm_critic": 1.0}
        for step, value, error in zip(STEPS[1:], q, errors, strict=False)
    ]
    for name, lines in (("episodes", episodes), ("metrics", metrics)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def runs(tmp_path):
    """A pretrained model whose values are 2 too low, and the run that goes on from it and falls."""
    low = table(TRUE - 2.0, DATA)
    write(tmp_path / "pretrain", "offline", None, [], [-1.5], [0.1])
    low.save(tmp_path / "pretrain" / "artifact")
    write(tmp_path / "finetune", "online", low.digest, FALLS, np.linspace(-1.5, 0.5, 10), [0.1] * 10)
    table(TRUE, DATA).save(tmp_path / "finetune" / "artifact")
    return tmp_path


def test_a_run_that_fell_names_its_cause_and_its_source(runs):
    found = finetuning(subject(table(TRUE, DATA), DATA, run=runs / "finetune"))
    assert found.flag is True
    assert "points to underestimation (Q-hat rose by 2," in found.verdict
    assert found.numbers["dip"] == pytest.approx(0.6)
    assert found.numbers["rise of Q-hat"] == pytest.approx(2.0)
    assert found.numbers["Q-hat less Monte-Carlo return, before"] == pytest.approx(-1.8, abs=0.2)
    assert found.numbers["gradient norm left, factor"] == 1.0
    assert found.table.rows[0][:4] == ("0", 0.9, pytest.approx(0.3), 200)


def test_a_run_that_stayed_is_not_flagged(tmp_path):
    write(tmp_path / "run", "online", "of no run here", STAYS, [1.0] * 10, [0.1] * 10)
    found = finetuning(subject(table(TRUE, DATA), DATA, run=tmp_path / "run"))
    assert found.flag is False
    assert "no dip beyond" in found.verdict
    assert "Q-hat less Monte-Carlo return, before" not in found.numbers


def test_runs_that_tell_nothing_say_so(runs, tmp_path):
    model = table(TRUE, DATA)
    for folder, why in ((None, "no run is given"), (runs / "pretrain", "is pretraining")):
        with pytest.raises(Unsupported, match=why):
            finetuning(subject(model, DATA, run=folder))
    write(tmp_path / "short", "online", None, FALLS[:2], [], [])
    with pytest.raises(Unsupported, match="evaluated 2 times"):
        finetuning(subject(model, DATA, run=tmp_path / "short"))
    (tmp_path / "short" / "config.json").write_text("{")
    with pytest.raises(DataError, match="config.json is no run's"):
        finetuning(subject(model, DATA, run=tmp_path / "short"))
    write(tmp_path / "blind", "online", None, [], [], [])
    with pytest.raises(Unsupported, match="holds no evaluation episodes"):
        finetuning(subject(model, DATA, run=tmp_path / "blind"))


# -- the verb -------------------------------------------------------------------------------------------------------


def test_verb_writes_beside_the_run_and_never_over_it(runs, capsys, monkeypatch):
    from headstart.data import sources

    source = f"arrays:{runs / 'data'}"
    sources.write(DATA, source)
    run = str(runs / "finetune")
    asked = ["diagnose", run, "--data", source, "--env", ENV, "--states", "100", "--episodes", "4"]
    assert main(asked) == 0
    said = capsys.readouterr().out
    assert "[sound] Calibration:" in said
    assert "[flagged] Finetuning:" in said
    assert "[skipped] Value landscape:" in said
    written = json.loads((runs / "finetune" / "diagnose" / "diagnose.json").read_text())
    assert written["format"] == 1
    assert written["environment"] == ENV
    for finding in written["findings"]:
        for figure in finding["figures"]:
            path = runs / "finetune" / "diagnose" / figure
            assert path.exists()
            assert path.with_suffix(".png").exists()
    assert main(asked) == 2
    assert "diagnose.json exists" in capsys.readouterr().err
    assert main(["diagnose", f"{run}/artifact", "--data", source]) == 2
    assert "say where the findings go (--out)" in capsys.readouterr().err


# -- statistics -----------------------------------------------------------------------------------------------------


def test_rank_correlation_of_known_orders():
    x = np.array([1.0, 2.0, 3.0, 4.0])
    assert rank_correlation(x, np.exp(x)) == pytest.approx(1.0)
    assert rank_correlation(x, -x) == pytest.approx(-1.0)
    # Ties take their mean rank: ranks 1.5, 1.5, 3, 4 against 1, 2, 3, 4.
    assert rank_correlation(x, np.array([0.0, 0.0, 1.0, 2.0])) == pytest.approx(4.5 / np.sqrt(4.5 * 5.0))
    assert np.isnan(rank_correlation(x, np.ones(4)))


def draws(rng, mean, groups=40, rows=10):
    """Numbers (groups * rows, 3) and their groups; rows of a group resemble each other."""
    centres = rng.normal(size=(groups, 1, 3)) + mean
    numbers = (centres + 0.2 * rng.normal(size=(groups, rows, 3))).reshape(-1, 3)
    return numbers, np.repeat(np.arange(groups), rows)


def test_two_samples_of_one_distribution_are_told_apart_no_more_often_than_chance():
    found = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        (first, groups), (second, _) = draws(rng, 0.0), draws(rng, 0.0)
        found += two_sample(first, second, groups, groups + 100, seed).differ
    assert found <= 3


def test_two_samples_of_two_distributions_are_told_apart():
    rng = np.random.default_rng(0)
    (first, groups), (second, _) = draws(rng, 0.0), draws(rng, 2.0)
    test = two_sample(first, second, groups, groups + 100)
    assert test.differ
    assert test.accuracy > 0.9
    # A different shape about the same mean, which no plane separates.
    wide = two_sample(0.1 * first, first, groups, groups + 100)
    assert wide.differ


def test_paired_samples_are_compared_within_their_groups():
    """The same states with other actions: what differs between states does not hide what differs between actions."""
    rng = np.random.default_rng(0)
    states, groups = draws(rng, 0.0)
    alike = [np.concatenate([states, rng.normal(size=(len(states), 1))], 1) for _ in range(2)]
    assert not two_sample(*alike, groups, groups).differ
    moved = np.concatenate([states, rng.normal(size=(len(states), 1)) + 1.0], 1)
    assert two_sample(alike[0], moved, groups, groups).differ


def test_distances_are_root_mean_squares():
    found = distances(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0], [0.0, 0.0]]))
    np.testing.assert_allclose(found, [[5.0 / np.sqrt(2.0), 0.0]], atol=1e-9)

"""The statistics of reports, beside SciPy's and rliable's."""

import warnings

import numpy as np
import pytest
import scipy.stats

from headstart.report import statistics

RNG = np.random.default_rng(0)
TASKS = [RNG.random(5), RNG.random(5) ** 2, RNG.random(5) / 2]
OTHERS = [RNG.random(5), RNG.random(5), RNG.random(5)]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 11])
def test_interquartile_mean_is_scipys_trimmed_mean(count):
    scores = RNG.normal(size=(2, count))
    expected = [scipy.stats.trim_mean(row, 0.25) for row in scores]
    np.testing.assert_allclose(statistics.interquartile_mean(scores), expected)


def test_interval_of_one_task_is_scipys_bootstrap():
    value, low, high = statistics.estimate(TASKS[:1])
    assert value == pytest.approx(scipy.stats.trim_mean(TASKS[0], 0.25))
    expected = scipy.stats.bootstrap(
        (TASKS[0],), statistics.interquartile_mean, method="percentile", n_resamples=20_000, rng=1
    ).confidence_interval
    assert (low, high) == pytest.approx(tuple(expected), abs=0.03)


def test_seeds_are_drawn_within_their_task():
    # Two tasks whose scores do not vary: seeds drawn across tasks would vary.
    assert statistics.estimate([np.zeros(4), np.ones(4)], statistics.mean) == (0.5, 0.5, 0.5)


def test_probability_of_improvement_is_mann_whitneys():
    value, low, high = statistics.probability_of_improvement(TASKS, OTHERS)
    expected = [
        scipy.stats.mannwhitneyu(x, y).statistic / (len(x) * len(y)) for x, y in zip(TASKS, OTHERS, strict=True)
    ]
    assert value == pytest.approx(np.mean(expected))
    assert low < value < high
    assert statistics.probability_of_improvement(OTHERS, TASKS)[0] == pytest.approx(1.0 - value)
    ties = [np.array([1.0, 1.0]), np.array([0.0, 2.0])]
    assert statistics.probability_of_improvement(ties, ties)[0] == 0.5
    assert statistics.probability_of_improvement([np.ones(3)], [np.zeros(2)]) == (1.0, 1.0, 1.0)


def test_profile_counts_scores_above_each_level():
    levels = np.array([0.0, 0.25, 0.9, 1.0])
    profile = statistics.performance_profile(TASKS, levels)
    every = np.concatenate(TASKS)
    assert profile[:, 0].tolist() == [sum(score > level for score in every) / len(every) for level in levels]
    assert (profile[:, 1] <= profile[:, 0]).all()
    assert (profile[:, 0] <= profile[:, 2]).all()
    assert (np.diff(profile[:, 0]) <= 0).all()
    # Above the level a score is not where it equals it.
    assert statistics.performance_profile([np.array([0.5, 1.0])], np.array([0.5]))[0, 0] == 0.5


def test_rliable_agrees():
    pytest.importorskip("rliable", reason="rliable is not installed (extra bench)")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from rliable import library, metrics

        scores = {"one": np.stack(TASKS, 1), "two": np.stack(OTHERS, 1)}
        pair = {"one,two": (scores["one"], scores["two"])}
        iqm, iqm_bounds = library.get_interval_estimates(
            scores, lambda x: np.array([metrics.aggregate_iqm(x), metrics.aggregate_mean(x)]), reps=1000
        )
        better, better_bounds = library.get_interval_estimates(pair, metrics.probability_of_improvement, reps=1000)
        levels = np.linspace(0, 1, 11)
        profile, profile_bounds = library.create_performance_profile(scores, levels, reps=1000)
    for name, tasks in (("one", TASKS), ("two", OTHERS)):
        for i, statistic in enumerate((statistics.interquartile_mean, statistics.mean)):
            expected = (iqm[name][i], *iqm_bounds[name][:, i])
            assert statistics.estimate(tasks, statistic) == pytest.approx(expected, abs=0.03)
            assert statistics.estimate(tasks, statistic)[0] == pytest.approx(expected[0], abs=1e-12)
        found = statistics.performance_profile(tasks, levels)
        np.testing.assert_allclose(found[:, 0], profile[name])
        np.testing.assert_allclose(found[:, 1:].T, profile_bounds[name], atol=0.08)
    found = statistics.probability_of_improvement(TASKS, OTHERS)
    assert found[0] == pytest.approx(better["one,two"])
    assert found[1:] == pytest.approx(tuple(better_bounds["one,two"].ravel()), abs=0.04)

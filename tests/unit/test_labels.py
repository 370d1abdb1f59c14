"""Labels on data whose answers are known."""

from __future__ import annotations

import dataclasses
import json

import jax
import numpy as np
import pytest
from data_examples import make_episodes

import headstart as hs
from headstart.data import transform
from headstart.data.dataset import Dataset
from headstart.diagnostics.statistics import rank_correlation
from headstart.errors import DataError, UsageError
from headstart.labels import calibration
from headstart.labels.calibration import Masses, wilson
from headstart.labels.classifier import Classifier, non_negative_risk
from headstart.labels.examples import Examples
from headstart.labels.preferences import Comparisons, Preferences
from headstart.losses import preferences as losses

QUICK = {"widths": (16,), "steps": 200, "learning_rate": 1e-2}


def cloud(episodes=60, steps=10, seed=0, rewards=None):
    """Episodes of independent standard normal states (3,) and actions (2,); success after a step: the first number of
    the state that it leads to is above 1."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(episodes):
        observations = rng.normal(size=(steps + 1, 3)).astype(np.float32)
        actions = rng.uniform(-1, 1, (steps, 2)).astype(np.float32)
        episode = {"observations": observations, "actions": actions, "successes": observations[1:, 0] > 1.0}
        episode["rewards"] = observations[1:] @ [1.0, -2.0, 0.0] + actions @ [0.0, 1.0]
        found.append(episode)
    return Dataset.from_episodes(found)


def labelled_masses(labels):
    labels = np.asarray(labels, bool)
    return Masses(np.full(len(labels), 1 / len(labels)), labels / len(labels), np.arange(len(labels)))


def positive_unlabelled(logits, labels, seed=0):
    """(logits, masses) of the positives and of unlabelled others with the same share of positives."""
    half = len(logits) // 2
    good = logits[:half][labels[:half]]
    prior = labels.mean()
    masses = Masses(
        np.repeat([0.0, 1.0 / half], [len(good), half]), np.repeat([prior / len(good), 0.0], [len(good), half]),
        np.arange(len(good) + half),
    )  # fmt: skip
    return np.concatenate([good, logits[half:]]), masses


def logistic(count=20_000, seed=0):
    """Logits z and labels of probability sigmoid(2 z - 1)."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=count) * 1.5
    return z, rng.random(count) < calibration.sigmoid(2 * z - 1)


# -- calibration ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["labelled", "positive and unlabelled"])
def test_platt_finds_the_known_logistic_model(kind):
    z, labels = logistic()
    masses = labelled_masses(labels)
    if kind != "labelled":
        z, masses = positive_unlabelled(z, labels)
    scale, shift = calibration.platt(z, masses)
    assert (scale, shift) == pytest.approx((2.0, -1.0), abs=0.15)
    assert calibration.calibration_error(scale * z + shift, masses) < 0.02
    # As it came, it is off by what is known.
    assert calibration.calibration_error(z, masses) > 0.08


def test_temperature_keeps_the_sign_of_logits():
    rng = np.random.default_rng(0)
    z = rng.normal(size=20_000)
    labels = rng.random(len(z)) < calibration.sigmoid(z / 3.0)
    assert calibration.platt(z, labelled_masses(labels), intercept=False) == pytest.approx((1 / 3, 0.0), abs=0.03)


def test_calibration_stays_bounded_where_examples_are_told_apart():
    scale, shift = calibration.platt(np.array([-1.0, -2.0, 1.0, 2.0]), labelled_masses([0, 0, 1, 1]))
    assert 1.0 < scale < 5.0
    assert abs(shift) < 1e-6


def test_logits_that_are_the_wrong_way_round_are_not_turned():
    z, labels = logistic(500)
    scale, shift = calibration.platt(-z, labelled_masses(labels))
    assert scale == 0.0
    assert calibration.sigmoid(np.array(shift)) == pytest.approx(labels.mean())


@pytest.mark.parametrize("kind", ["labelled", "positive and unlabelled"])
def test_error_and_ranking_are_those_of_all_labels(kind):
    z, labels = logistic()
    wrong = ((2 * z - 1 > 0) != labels).mean()
    good, bad = z[labels], z[~labels]
    auc = (good[:2000, None] > bad[None, :2000]).mean()
    masses = labelled_masses(labels)
    if kind != "labelled":
        z, masses = positive_unlabelled(z, labels)
    share, low, high = calibration.error(2 * z - 1, masses)
    assert share == pytest.approx(wrong, abs=0.012)
    assert low < share < high
    found, chance = calibration.ranking(z, masses)
    assert found == pytest.approx(auc, abs=0.02)
    assert 0.5 < chance < 0.55


def test_no_mistake_in_few_examples_is_not_certainty():
    share, low, high = calibration.error(np.array([-1.0, -2.0, 1.0, 2.0]), labelled_masses([0, 0, 1, 1]))
    assert share == low == 0.0
    assert high == pytest.approx(wilson(0, 4)[1])
    assert high > 0.4


def test_ranking_counts_ties_half_and_knows_what_few_examples_show():
    auc, limit = calibration.ranking(np.array([1.0, 0.0, 0.0, -1.0]), labelled_masses([1, 1, 0, 0]))
    assert auc == pytest.approx(3.5 / 4)
    # Of two and two the best order comes by chance once in six times.
    assert limit > 1.0


def test_non_negative_risk_against_numpy():
    positive, among_all, prior = np.array([0.5, -1.0]), np.array([2.0, -0.3, 1.0]), 0.3
    softplus = lambda x: np.log1p(np.exp(x))  # noqa: E731
    known = prior * softplus(-positive).mean()
    failures = softplus(among_all).mean() - prior * softplus(positive).mean()
    assert failures > 0
    assert non_negative_risk(positive, among_all, prior) == pytest.approx(known + failures, abs=1e-6)
    # Learned by heart: the risk of failures is below zero, and is what is undone.
    positive, among_all = np.full(2, 9.0), np.full(3, -9.0)
    expected = prior * softplus(9.0) - softplus(-9.0)
    assert non_negative_risk(positive, among_all, prior) == pytest.approx(expected, abs=1e-5)


# -- classifier -------------------------------------------------------------------------------------------------


def accuracy(found, data):
    steps = data.transitions
    return (found.data.successes[steps] == data.successes[steps]).mean()


def test_classifier_of_successes_and_failures():
    data = cloud()
    examples = Examples.of_successes(data, 40, 60, seed=1)
    found = hs.label(transform.drop_rewards(data), "classifier", examples=examples, prior=0.159, **QUICK)
    assert accuracy(found, data) > 0.93
    assert found["held-out error"].high < found["held-out error"].chance + 0.1
    assert found["ranking (AUC)"].value > 0.95
    assert not found.warnings
    steps = data.transitions
    assert rank_correlation(found.data.rewards[steps], data.observations[steps + 1, 0]) > 0.8
    assert ((found.data.rewards >= 0) & (found.data.rewards <= 1)).all()
    line = found.data.provenance.transforms[-1]
    assert line.startswith(
        "rewards by classifier of 40 successes and 60 failures of memory, its own successes (seed 1)"
    )
    assert "held-out error" in line
    again = hs.label(transform.drop_rewards(data), "classifier", examples=examples, prior=0.159, **QUICK)
    assert again.data.digest == found.data.digest


def test_classifier_of_positives_beside_the_data_with_known_prior():
    data = cloud(episodes=150)
    share = float(data.successes[data.transitions].mean())
    examples = Examples.of_successes(data, 80, seed=1)
    found = hs.label(data, "classifier", examples=examples, prior=share, **QUICK | {"steps": 400})
    assert accuracy(found, data) > 0.93
    # What it says of itself without one failure is what all labels say.
    held_out = found["held-out error"]
    assert held_out.low - 0.05 <= 1 - accuracy(found, data) <= held_out.high + 0.05
    assert found["calibration error"].value < 0.15


def test_probabilities_are_calibrated_where_success_is_a_matter_of_chance():
    data = cloud(episodes=300)
    rng = np.random.default_rng(0)
    steps = data.transitions
    truth = calibration.sigmoid(2.0 * data.observations[steps + 1, 0])
    successes = np.zeros(len(data), bool)
    successes[steps] = rng.random(len(steps)) < truth
    data = dataclasses.replace(data, successes=successes)
    told = np.concatenate([rng.choice(steps[successes[steps] == kind], 400, replace=False) + 1 for kind in (1, 0)])
    examples = Examples.of_rows(data, told[:400], told[400:])
    found = Classifier(**QUICK, prior=float(successes[steps].mean())).label(data, examples)
    assert np.abs(found.data.rewards[steps] - truth).mean() < 0.06
    assert found["calibration error"].value < 0.08


def test_examples_of_one_part_are_not_learned_from_by_its_member():
    """Labels that can only be learned by heart: held-out answers are no better than chance, and it says so."""
    data = cloud(episodes=40)
    rng = np.random.default_rng(0)
    rows = rng.choice(data.transitions, 60, replace=False)
    found = hs.label(data, "classifier", examples=Examples.of_rows(data, rows[:30], rows[30:]), **QUICK)
    assert 0.3 < found["ranking (AUC)"].value < 0.7
    assert "not better than chance" in found.warnings[0]
    assert found.describe().splitlines()[-1].startswith("warning: the classifier is not better than chance")


def test_rewards_by_threshold_and_cut_episodes():
    data = cloud()
    examples = Examples.of_successes(data, 40, 60)
    options = QUICK | {"prior": 0.16, "reward": "success"}
    found = hs.label(data, "classifier", examples=examples, **options).data
    steps = found.transitions
    np.testing.assert_array_equal(found.rewards[steps], np.where(found.successes[steps], 0.0, -1.0))
    cut = hs.label(data, "classifier", examples=examples, cut=True, success_reward=5.0, **options).data
    for index in range(cut.episodes):
        episode = cut.episode(index)
        assert not episode["successes"][:-1].any()
        assert episode["terminated"] == episode["successes"][-1]
        assert (episode["rewards"][-1] == 5.0) == episode["terminated"]


def test_few_examples_are_refused():
    data = cloud(episodes=4)
    rows = data.transitions
    with pytest.raises(UsageError, match="hold no success"):
        hs.label(data, "classifier", examples=Examples.of_rows(data, [], rows[:3]))
    with pytest.raises(UsageError, match=r"successes alone: say what share .*\(prior\)"):
        hs.label(data, "classifier", examples=Examples.of_rows(data, rows[:3]))
    with pytest.raises(UsageError, match="successes are all of one episode"):
        hs.label(data, "classifier", examples=Examples.of_rows(data, rows[:3], rows[10:30]))


def test_example_files(tmp_path):
    data = cloud(episodes=3, steps=4)
    file = tmp_path / "labels.json"
    file.write_text(json.dumps({"successes": [[0, 2], [2, -1]], "failures": [[1, 0]]}))
    found = Examples.read(file, data)
    np.testing.assert_array_equal(found.observations, data.observations[[2, 14, 5]])
    assert found.successes.tolist() == [True, True, False]
    assert found.groups.tolist() == [0, 10, 5]
    np.savez(tmp_path / "labels.npz", observations=data.observations[:3].astype(float), labels=[1, 0, 1])
    found = Examples.read(tmp_path / "labels.npz", data)
    assert found.observations.dtype == np.float32
    assert found.successes.tolist() == [True, False, True]
    for content, message in {
        '{"successes": [[3, 0]]}': "name episode 3; memory has 3",
        '{"successes": [[0, 5]]}': "step 5 of episode 0, which has states 0 to 4",
        '{"successes": [[0, 1.5]]}': "pairs of whole numbers",
        '{"failures": []}': "expected",
        "[": "not readable JSON",
    }.items():
        file.write_text(content)
        with pytest.raises(DataError, match=message):
            Examples.read(file, data)
    np.savez(tmp_path / "bad.npz", observations=np.zeros((3, 2)), labels=[1, 0, 1])
    with pytest.raises(DataError, match=r"observation has shape \(3, 2\), expected \(3, 3\)"):
        Examples.read(tmp_path / "bad.npz", data)


@pytest.mark.parametrize("observations", ["pixels", "dict"])
def test_classifiers_see_pixels_and_named_arrays(observations):
    data = Dataset.from_episodes(make_episodes((6,) * 8, (False,) * 8, observations, "discrete"))
    examples = Examples.of_successes(data, 6, 6)
    found = hs.label(data, "classifier", examples=examples, widths=(8,), steps=5)
    assert found.data.rewards[data.transitions].min() > 0
    if observations == "dict":
        part = hs.label(data, "classifier", examples=examples, array="arm/angle", entries=(0,), widths=(8,), steps=5)
        assert part.data.digest != found.data.digest
        with pytest.raises(UsageError, match="unknown array of observations"):
            hs.label(data, "classifier", examples=examples, array="arm/angel")


# -- preferences ------------------------------------------------------------------------------------------------


def test_bradley_terry_against_numpy():
    first, second, preferred = np.array([1.0, -2.0, 0.3]), np.array([0.5, 1.0, 0.3]), np.array([0.0, 1.0, 0.5])
    p = 0.8 / (1 + np.exp(first - second)) + 0.1
    expected = -(preferred * np.log(p) + (1 - preferred) * np.log(1 - p))
    np.testing.assert_allclose(losses.bradley_terry(first, second, preferred, 0.2), expected, rtol=1e-5)
    p = 1 / (1 + np.exp(first - second))
    expected = -(preferred * np.log(p) + (1 - preferred) * np.log(1 - p))
    np.testing.assert_allclose(losses.bradley_terry(first, second, preferred), expected, rtol=1e-5)


def test_preferences_recover_a_linear_reward_up_to_scale():
    data = cloud(episodes=100)
    answers = Comparisons.of_rewards(data, 400, 5, seed=1)
    found = hs.label(transform.drop_rewards(data), "preferences", preferences=answers, **QUICK | {"steps": 400})
    steps = data.transitions
    assert rank_correlation(found.data.rewards[steps], data.rewards[steps]) > 0.95
    assert np.corrcoef(found.data.rewards[steps], data.rewards[steps])[0, 1] > 0.95
    assert abs(found.data.rewards[steps].mean()) < 1e-3
    assert found["held-out accuracy"].low > 0.8
    assert not found.warnings
    assert "rewards by preferences: 400 preferences of true rewards" in found.data.provenance.transforms[-1]
    blind = Preferences(**QUICK, actions=False).label(data, answers).data
    noticed = [np.corrcoef(d.rewards[steps], data.actions[steps, 1])[0, 1] for d in (found.data, blind)]
    assert noticed[0] > 0.15
    assert abs(noticed[1]) < 0.1


def test_preferences_at_random_are_told():
    data = cloud(episodes=30)
    found = hs.label(
        data, "preferences", preferences=Comparisons.of_rewards(data, 100, 5, mistakes=0.5), **QUICK
    )  # fmt: skip
    assert found["held-out accuracy"].low < 0.5
    assert "not better than chance" in found.warnings[0]


def test_synthetic_answers():
    data = cloud(episodes=20)
    answers = Comparisons.of_rewards(data, 500, 3, seed=3)
    for side in ("first", "second"):
        assert (getattr(answers, side)[:, 1] + 3 <= 10).all()
    index = int(np.flatnonzero(answers.decided)[0])
    sums = [
        data.episode(e)["rewards"][s : s + n].sum()
        for e, s, n in (answers.first[index].tolist(), answers.second[index].tolist())
    ]
    assert answers.preferred[index] == float(sums[1] > sums[0])
    wrong = Comparisons.of_rewards(data, 500, 3, mistakes=0.2, seed=3)
    assert 0.12 < (wrong.preferred != answers.preferred).mean() < 0.28
    with pytest.raises(DataError, match="no episode has 11 steps"):
        Comparisons.of_rewards(data, 5, 11)


@pytest.mark.parametrize("name", ["answers.json", "answers.npz"])
def test_preference_files(name, tmp_path):
    data = cloud(episodes=5)
    answers = Comparisons.of_rewards(data, 20, 3)
    found = Comparisons.read(answers.write(tmp_path / name))
    for part in ("first", "second", "preferred"):
        np.testing.assert_array_equal(getattr(found, part), getattr(answers, part))
    with pytest.raises(UsageError, match="exists"):
        answers.write(tmp_path / name)


def test_damaged_preference_files(tmp_path):
    file = tmp_path / "answers.json"
    for content in ("{}", '[{"first": [0, 0, 1]}]', '[{"first": [0, 0], "second": [0, 0, 1], "preferred": 1}]', "x"):
        file.write_text(content)
        with pytest.raises(DataError, match=r"answers\.json"):
            Comparisons.read(file)
    file.write_text('[{"first": [0, 0, 1], "second": [0, 2, 1], "preferred": 2}]')
    with pytest.raises(DataError, match="preferred must be 0"):
        Comparisons.read(file)
    segment = np.array([[0, 8, 3], [0, 0, 3]])
    with pytest.raises(DataError, match="first segment of preference 0 has 3 steps from 8; episode 0 has 10"):
        hs.label(cloud(2), "preferences", preferences=Comparisons(segment, segment[::-1], np.array([0.0, 1.0])))


def test_the_same_question_is_in_one_part():
    sides = np.array([[0, 0, 3], [1, 0, 3], [0, 0, 3], [2, 0, 3]])
    answers = Comparisons(sides, sides[[1, 0, 3, 2]], np.array([0.0, 1.0, 0.0, 1.0]))
    part, count = Preferences()._parts(answers)
    assert count == 2
    assert part[0] == part[1] != part[2] == part[3]


def test_segments_of_unequal_length():
    data = cloud(episodes=3)
    answers = Comparisons(np.array([[0, 0, 2], [1, 8, 2]]), np.array([[1, 3, 4], [2, 0, 1]]), np.array([0.0, 1.0]))
    rows, valid = Preferences()._segments(data, answers)
    assert rows[0, 0].tolist() == [0, 1, 0, 0]
    assert valid.sum(-1).tolist() == [[2, 4], [2, 1]]
    assert rows[1, 0, :2].tolist() == [19, 20]


def test_wilson_interval():
    # scipy.stats.binomtest(45, 50).proportion_ci(method="wilson")
    assert wilson(45, 50) == pytest.approx((0.7863974, 0.9565243), abs=1e-6)
    low, high = wilson(10, 10)
    assert low < 0.75
    assert high == pytest.approx(1.0)


# -- zero -------------------------------------------------------------------------------------------------------


def test_zero_rewards_alone_and_beside_labelled_data():
    data, task = cloud(episodes=3, seed=1), cloud(episodes=2)
    found = hs.label(data, "zero").data
    assert (found.rewards == 0).all()
    assert found.successes is None
    lowest = task.rewards[task.transitions].min()
    both = hs.label(data, "zero", labelled=task)
    assert "zero is a good one" in both.warnings[0]
    np.testing.assert_array_equal(both.data.rewards[: len(task)], task.rewards)
    assert (both.data.rewards[len(task) :] == 0).all()
    both = hs.label(data, "zero", labelled=task, reward="minimum").data
    assert (both.rewards[len(task) :][data.transitions] == lowest).all()
    assert (both.rewards[both.ends] == 0).all()
    assert "lowest of labelled data" in both.provenance.transforms[0]
    with pytest.raises(UsageError, match=r"\(labelled\)"):
        hs.label(data, "zero", reward="minimum")
    with pytest.raises(DataError, match="no rewards"):
        hs.label(data, "zero", labelled=transform.drop_rewards(task))


# -- distance ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def line():
    """Walks to and fro on a line of 9 states, and a model of how far they are from each other."""
    rng = np.random.default_rng(0)
    episodes = []
    for _ in range(60):
        moves = rng.choice([-1, 1], 30)
        places = [int(rng.integers(9))]
        for move in moves:
            places.append(int(np.clip(places[-1] + move, 0, 8)))
        moves = np.diff(places)
        episodes.append(
            {"observations": np.array(places, np.float32)[:, None] / 4 - 1, "actions": moves[:, None] / 1.0}
        )
    data = Dataset.from_episodes(episodes)
    algorithm = hs.GCIVL(
        actor_widths=(8,), critic_widths=(32, 32), batch_size=128, critic_lr=3e-3, tau=0.05, discount=0.9
    )
    return data, hs.pretrain(algorithm, data, steps=500)


def test_distance_rewards_order_states_by_steps_to_the_goal(line):
    data, model = line
    found = hs.label(data, "distance", artifact=model, goal="[1.0]")
    steps = data.transitions
    distance = (1.0 - data.observations[steps + 1, 0]) * 4
    assert rank_correlation(found.data.rewards[steps], -distance) > 0.95
    assert not found.warnings
    assert found.measures[0].name.endswith("data that it learned from")
    assert "of gcivl" in found.data.provenance.transforms[-1]
    assert "towards [1.]" in found.data.provenance.transforms[-1]


def test_potential_differences_telescope(line):
    data, model = line
    goal = np.array([1.0])
    values = hs.label(data, "distance", artifact=model, goal=goal).data
    found = hs.label(data, "distance", artifact=model, goal=goal, reward="difference", discount=1.0).data
    first = model.goal_values(data.observations[:1], goal[None].astype(np.float32)).mean(0)[0]
    total = found.rewards[: data.ends[0]].sum()
    assert total == pytest.approx(values.rewards[data.ends[0] - 1] - first, abs=1e-4)


def test_within_ends_episodes_at_the_goal(line):
    data, model = line
    found = hs.label(data, "distance", artifact=model, goal="[1.0]", reward="within", within=0.6).data
    for index in range(found.episodes):
        episode = found.episode(index)
        assert (episode["rewards"][:-1] == -1).all()
        if episode["terminated"]:
            assert episode["observations"][-1, 0] >= 0.75
    assert found.terminations.sum() > 10
    with pytest.raises(UsageError, match=r"no state is within 0 of the goal; the nearest is at .* \(within\)"):
        hs.label(data, "distance", artifact=model, goal="[9.0]", reward="within", within=0.0)


def test_models_that_tell_nothing_are_told(line):
    data, _ = line
    model = hs.pretrain(hs.GCIVL(actor_widths=(8,), critic_widths=(8,), batch_size=16), data, steps=1)
    state = dataclasses.replace(
        model.state, nets=model.state.nets | {"value": jax.tree.map(np.zeros_like, model.state.nets["value"])}
    )
    found = hs.label(data, "distance", artifact=dataclasses.replace(model, state=state), goal="[0.0]")
    assert "does not tell near from far" in found.warnings[0]
    clone = hs.pretrain(hs.BC(actor_widths=(8,), batch_size=16), data, steps=1)
    with pytest.raises(UsageError, match="bc learns no values of goals"):
        hs.label(data, "distance", artifact=clone, goal="[0.0]")
    with pytest.raises(UsageError, match=r"neither a \.npz file nor"):
        hs.label(data, "distance", artifact=model, goal="north")
    with pytest.raises(UsageError, match=r"observation has shape \(2,\), expected \(1,\)"):
        hs.label(data, "distance", artifact=model, goal="[0.0, 1.0]")


def test_goals_from_files(line, tmp_path):
    data, model = line
    np.savez(tmp_path / "goal.npz", observation=[1.0])
    found = [
        hs.label(data, "distance", artifact=model, goal=goal).data for goal in ("[1.0]", str(tmp_path / "goal.npz"))
    ]
    assert found[0].digest == found[1].digest


# -- what is asked for ------------------------------------------------------------------------------------------


def test_wrong_requests():
    data = cloud(2)
    with pytest.raises(UsageError, match="unknown way to label 'classifer'; did you mean 'classifier'"):
        hs.label(data, "classifer")
    with pytest.raises(UsageError, match=r"labels by classifier need examples of success \(examples\)"):
        hs.label(data, "classifier")
    with pytest.raises(UsageError, match="labels by zero take no goal"):
        hs.label(data, "zero", goal="[1.0]")
    with pytest.raises(UsageError, match="unknown field of Classifier 'prio'; did you mean 'prior'"):
        hs.label(data, "classifier", prio=0.2)
    broken = dataclasses.replace(data, observations=np.full_like(data.observations, np.nan))
    with pytest.raises(DataError, match="NaN"):
        hs.label(broken, "zero")

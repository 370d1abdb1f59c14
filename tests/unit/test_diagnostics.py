"""Diagnostics of models whose values are known: what is wrong is flagged, with its size, and what is sound is not."""

import json

import numpy as np
import pytest
from diagnosed import CONTINUOUS, ENV, MDP, RIGHT, TRUE, slope, subject, table, walks

import headstart as hs
from headstart.algos import registry
from headstart.algos.bc import BC
from headstart.artifact import Artifact
from headstart.data.dataset import Dataset
from headstart.data.normalize import Normalizer
from headstart.data.transform import scale_rewards
from headstart.diagnostics.adversarial import adversarial
from headstart.diagnostics.calibration import calibration
from headstart.diagnostics.conservatism import conservatism
from headstart.diagnostics.diagnose import DIAGNOSTICS, diagnose
from headstart.diagnostics.exact import behaviour, conservative_values, estimated
from headstart.diagnostics.findings import Diagnosis, Finding, Table, Unsupported
from headstart.diagnostics.landscape import landscape
from headstart.diagnostics.replays import returns_after
from headstart.diagnostics.shift import shift
from headstart.envs.tabular import gridworld, random_mdp
from headstart.errors import UsageError
from headstart.train.updates import fresh

GOING = np.flatnonzero(~MDP.terminal)
DATA = walks()
PLACED = walks(continuous=True)


@pytest.fixture(scope="module", autouse=True)
def _quick(quick_compilation):
    pass


# -- findings -------------------------------------------------------------------------------------------------------


def test_files_hold_what_reports_read(tmp_path):
    from headstart import plotting

    figure = plotting.blank(2.0, 2.0)
    numbers = {"share": np.float32(0.5), "undefined": np.nan}
    rows = ((np.int64(1), np.float64(np.inf)), ("all", None))
    found = Finding("shift", "Shift", "It is.", np.bool_(True), numbers, Table(("a", "b"), rows), {"shift": figure})
    diagnosis = Diagnosis("digest", "cql", "some data", None, (found, Finding.skip("other", "Other", "no critic")))
    file = diagnosis.save(tmp_path / "out")
    assert json.loads(file.read_text()) == {
        "format": 1,
        "artifact": "digest",
        "algorithm": "cql",
        "data": "some data",
        "environment": None,
        "findings": [
            {
                "name": "shift",
                "title": "Shift",
                "verdict": "It is.",
                "flag": True,
                "numbers": {"share": 0.5},
                "table": {"columns": ["a", "b"], "rows": [[1, None], ["all", None]]},
                "figures": ["shift.svg"],
                "skipped": None,
            },
            {
                "name": "other",
                "title": "Other",
                "verdict": "Not diagnosed: no critic.",
                "flag": None,
                "numbers": {},
                "table": None,
                "figures": [],
                "skipped": "no critic",
            },
        ],
    }
    assert {path.name for path in file.parent.iterdir()} == {"diagnose.json", "shift.svg", "shift.png"}
    assert diagnosis.describe() == "[flagged] Shift: It is.\n[skipped] Other: Not diagnosed: no critic."
    assert diagnosis["other"].skipped == "no critic"
    with pytest.raises(UsageError, match="did you mean 'shift'"):
        diagnosis["shfit"]
    with pytest.raises(UsageError, match="diagnose.json exists"):
        diagnosis.save(tmp_path / "out")
    diagnosis.save(tmp_path / "out", overwrite=True)


# -- calibration ----------------------------------------------------------------------------------------------------


def test_true_values_are_calibrated():
    """Going right is better than the walk that collected the data, and Q-hat knows how good it is."""
    found = calibration(subject(table(TRUE, DATA), DATA, ENV))
    assert found.flag is False
    assert found.numbers["Q-hat less Monte-Carlo return"] > 0.05
    assert abs(found.numbers["signed error"]) < 0.05
    assert found.numbers["rank correlation with real returns"] > 0.5
    assert set(found.figures) == {"calibration"}
    assert found.table.rows[-1][:2] == ("all", found.numbers["states"])


@pytest.mark.parametrize(("offset", "rate"), [(-2.0, 0.0), (2.0, 1.0)])
def test_values_too_low_or_too_high_are_flagged_with_their_size(offset, rate):
    sound = calibration(subject(table(TRUE, DATA), DATA, ENV)).numbers
    found = calibration(subject(table(TRUE + offset, DATA), DATA, ENV))
    assert found.flag is True
    for label in ("Q-hat less Monte-Carlo return", "signed error"):
        assert found.numbers[label] - sound[label] == pytest.approx(offset, abs=1e-4)
    assert found.numbers["overestimation rate"] == rate
    assert found.numbers["share below the reference"] == 1.0 - rate


def test_without_an_environment_only_the_reference_counts():
    found = calibration(subject(table(TRUE + 2.0, DATA), DATA))
    assert found.flag is False
    assert "signed error" not in found.numbers


def test_every_seed_has_its_column():
    found = calibration(subject(table([TRUE, TRUE - 1.0], DATA), DATA))
    first, second = (found.table.columns.index(f"Q-hat, seed {seed}") for seed in (0, 1))
    for row in found.table.rows:
        assert row[first] - row[second] == pytest.approx(1.0, abs=1e-5)


def test_returns_of_cut_off_episodes_are_lower_bounds():
    """Rewards of -1: what follows a cut-off counts as the worst, so values that see the goal are above."""
    data = scale_rewards(walks(episodes=30, horizon=3), 1.0, -1.0)
    model = table(TRUE - 1.0 / (1.0 - MDP.discount), data)
    looked = subject(model, data)
    cut_off = data.terminations[data.episode_end[looked.rows] - 1] == 0
    assert calibration(looked).numbers["share of states in cut-off episodes"] == pytest.approx(cut_off.mean())
    np.testing.assert_allclose(looked.reference[cut_off], -1.0 / (1.0 - MDP.discount), rtol=1e-5)


def test_rewards_are_those_that_the_model_learned_from():
    settings = {"reward_scale": 10.0, "reward_shift": 0.0}
    found = calibration(subject(table(10.0 * TRUE, DATA, settings=settings), DATA, ENV))
    assert found.flag is False
    assert abs(found.numbers["signed error"]) < 0.5


def test_an_environment_that_pays_otherwise_than_the_data_is_told():
    same, other = (calibration(subject(table(TRUE, data), data, ENV)) for data in (DATA, scale_rewards(DATA, 0.1)))
    assert "same task" not in same.verdict
    assert "pays rewards from 0 to 0.9" in other.verdict
    assert "see whether both are the same task" in other.verdict


def test_data_that_was_trained_on_is_named():
    model = table(TRUE, DATA, data=DATA.summary())
    assert "states it was trained on" in calibration(subject(model, DATA)).verdict
    assert "trained on" not in calibration(subject(model, walks(seed=1))).verdict


def test_values_above_anything_possible_are_flagged_without_an_environment():
    """Rewards of 0 and 1: 1 / (1 - discount) is the most that anything is worth."""
    sound = calibration(subject(table(TRUE, DATA), DATA))
    highest = DATA.rewards.max() / (1.0 - MDP.discount)
    assert sound.numbers["highest possible return"] == pytest.approx(highest, rel=1e-5)
    assert sound.numbers["share above the highest possible return"] == 0.0
    found = calibration(subject(table(np.full_like(TRUE, highest + 1.0), DATA), DATA))
    assert found.flag is True
    assert found.numbers["share above the highest possible return"] == 1.0
    assert f"it is above {highest:.3g}, the highest return that rewards allow" in found.verdict
    assert " above it, where returns spread over " in found.verdict


# -- conservatism ---------------------------------------------------------------------------------------------------


def test_true_values_are_neither_low_nor_impossible():
    found = conservatism(subject(table(TRUE, DATA), DATA, ENV))
    assert found.flag is False
    assert found.numbers["below the real value"] == pytest.approx(0.0, abs=1e-5)
    assert found.numbers["share below the lowest possible return"] == 0.0


def test_values_that_nothing_can_have_are_flagged_and_their_depth_is_exact():
    found = conservatism(subject(table(TRUE - 2.0, DATA), DATA, ENV))
    assert found.flag is True
    assert found.numbers["below the real value"] == pytest.approx(2.0, abs=1e-5)
    assert found.numbers["share below the lowest possible return"] == 1.0
    assert found.table.rows[-1][0] == "learned"


def test_depth_is_measured_where_it_cannot_be_computed(monkeypatch):
    """The same by the policy's own episodes, as in environments whose values nobody knows."""
    from headstart.envs import tabular

    looked = subject(table([TRUE, TRUE - 2.0], DATA), DATA, ENV, episodes=30)
    assert len(looked.experience) == 2
    monkeypatch.setattr(tabular, "NAMESPACE", "elsewhere/")
    found = conservatism(looked)
    shallow, deep = (row[found.table.columns.index("below it by")] for row in found.table.rows)
    assert shallow == pytest.approx(0.0, abs=0.1)
    assert deep == pytest.approx(2.0, abs=0.1)


def test_conservative_weight_is_told():
    data = PLACED
    model = slope(np.zeros(MDP.states), 0.0, 0.5, data)
    assert conservatism(subject(model, data)).numbers["conservative weight"] == 5.0


@pytest.mark.parametrize("mdp", [gridworld(3, 2, slip=0.2), random_mdp(seed=3)], ids=["gridworld", "random"])
def test_conservative_evaluation_is_the_closed_form_of_the_theorem(mdp):
    """CQL, proof of theorem 3.2: V-hat = V - weight * (I - gamma P)^-1 E_pi[pi / prior - 1]."""
    rng = np.random.default_rng(0)
    policy, prior = (rng.dirichlet(np.ones(mdp.actions), mdp.states) for _ in range(2))
    truth = mdp.evaluate(policy)[0]
    np.testing.assert_allclose(conservative_values(mdp, policy, prior, 0.0), truth, atol=1e-6)
    excess = np.where(mdp.terminal, 0.0, (policy * (policy / prior - 1.0)).sum(1))
    going = ~mdp.terminal
    flow = np.einsum("sa,sat->st", policy, mdp.transition) * going[:, None] * going
    push = np.linalg.solve(np.eye(mdp.states) - mdp.discount * flow, excess)
    found = conservative_values(mdp, policy, prior, 0.7)
    np.testing.assert_allclose(found, truth - 0.7 * push, atol=1e-6)
    assert (found[going] <= truth[going] + 1e-8).all()


def test_calibrated_evaluation_is_never_below_the_reference_for_a_large_enough_weight():
    mdp = random_mdp(seed=1)
    policy, prior = np.eye(mdp.actions)[mdp.reward.argmin(1)], mdp.uniform
    reference = mdp.evaluate(prior)[0]
    assert (mdp.evaluate(policy)[0] < reference).any()
    for weight in (1.0, 10.0, 100.0):
        found = conservative_values(mdp, policy, prior, weight, reference)
        assert (found >= reference - 1e-6).all()
        assert (conservative_values(mdp, policy, prior, weight) < reference - 1e-3).any()


def test_estimated_problem_has_the_frequencies_of_the_data():
    data = walks(episodes=300)
    shown, counts = estimated(MDP, data)
    assert counts.sum() == data.steps
    seen = counts > 50
    np.testing.assert_allclose(shown.transition[seen], MDP.transition[seen], atol=0.15)
    assert np.abs(shown.transition[seen] - MDP.transition[seen]).max() > 1e-3
    np.testing.assert_allclose(behaviour(counts)[GOING], 0.5, atol=0.1)
    _, placed = estimated(MDP, PLACED)
    assert placed.sum() == PLACED.steps


# -- shift ----------------------------------------------------------------------------------------------------------


def test_actions_of_the_data_are_no_shift_and_others_are():
    data = walks(RIGHT, continuous=True)
    sound, moved = (shift(subject(slope(np.zeros(5), 0.0, action, data), data)) for action in (0.5, -0.9))
    assert sound.flag is False
    assert sound.numbers["actions: share outside the data"] < 0.05
    assert moved.flag is True
    assert moved.numbers["actions: share outside the data"] == 1.0
    assert moved.numbers["actions: classifier accuracy"] > 0.95
    assert "no environment" in moved.verdict


def test_states_that_the_data_has_never_seen_are_found():
    """Data of walks to the left, without any reward; the policy goes right, to states that these never reach."""
    left = np.eye(2)[np.zeros(MDP.states, int)]
    data = walks(left, episodes=20, horizon=4)
    found = shift(subject(table(TRUE, data), data, ENV))
    assert found.flag is True
    assert found.numbers["states: share outside the data"] > 0.3
    unseen = walks(RIGHT)
    again = shift(subject(table(TRUE, unseen), unseen, ENV))
    assert again.numbers["states: share outside the data"] < 0.05
    (states,) = (row for row in again.table.rows if row[0] == "states")
    accuracy, low, high = states[2:5]
    assert low <= accuracy <= high


def test_online_data_is_followed_over_time():
    left, right = walks(np.eye(2)[np.zeros(5, int)], 12, 4), walks(RIGHT, 12)
    episodes = [part.episode(i) for part in (left, right) for i in range(12)]
    online = Dataset.from_episodes(episodes, left.spec)
    numbers = shift(subject(table(TRUE, left), left, online=online)).numbers
    first, last = (numbers[f"online data, {third} third: share outside the data"] for third in ("first", "last"))
    assert first < 0.1
    assert last > 0.3


# -- adversarial actions --------------------------------------------------------------------------------------------


def test_ascent_finds_the_known_maximum_and_what_it_really_returns():
    """Q grows to the left, where nothing is to be had: the climb is 2 * 1.9, and its promise is not kept."""
    data = PLACED
    model = slope(TRUE[:, 1] * ~MDP.terminal, -2.0, 0.9, data)
    found = adversarial(subject(model, data, CONTINUOUS))
    assert found.flag is True
    assert found.numbers["climb"] == pytest.approx(2.0 * 1.9, abs=0.01)
    assert found.numbers["promised in the environment"] > found.numbers["returned"] + 1.0
    # Once to the left and then right again costs two or more steps.
    assert found.numbers["returned"] < found.numbers["returned by the policy's own actions"] - 0.1


def test_a_policy_at_the_maximum_of_a_true_critic_is_not_flagged():
    data = PLACED
    values, rate = TRUE.mean(1) * ~MDP.terminal, float(np.ptp(TRUE[GOING], axis=1).mean() / 2.0)
    found = adversarial(subject(slope(values, rate, 0.999, data), data, CONTINUOUS))
    assert found.flag is False
    assert found.numbers["climb"] < 0.01


def test_discrete_actions_are_all_tried():
    model = table(TRUE, DATA)
    assert adversarial(subject(model, DATA, ENV)).flag is False
    # The greedy policy takes the maximum anyway; from the data's actions there is a way up.
    found = adversarial(subject(model, DATA)).numbers
    assert found["climb"] == 0.0
    assert found["Q-hat of the best actions found"] > found["Q-hat of the data's actions"]


def test_returns_of_other_actions_are_those_of_the_problem():
    looked = subject(table(TRUE, DATA), DATA, ENV, episodes=60)
    (past,) = looked.experience
    rows = past.data.starts[None]
    left = np.zeros((1, len(rows[0])), np.int32)
    found = returns_after(looked, rows, left)
    states = past.data.observations[rows[0]].argmax(-1)
    assert found.mean() == pytest.approx(TRUE[states, 0].mean(), abs=0.05)


def test_an_environment_that_does_not_come_back_is_named():
    """As if chance were not its seed's."""
    looked = subject(table(TRUE, DATA), DATA, ENV)
    for past in looked.experience:
        past.seeds[:] += 1
    with pytest.raises(Unsupported, match="does not come back"):
        adversarial(looked)


# -- landscape ------------------------------------------------------------------------------------------------------


def plane(towards):
    """Data on a square with the goal at the top right, and a model that always moves along `towards`."""
    rng = np.random.default_rng(0)
    episodes = [
        {"observations": rng.uniform(0.0, 1.0, (11, 2)), "actions": rng.uniform(-1, 1, (10, 2)), "rewards": np.ones(10)}
        for _ in range(60)
    ]
    data = Dataset.from_episodes(episodes)
    return slope([1.0, 1.0], 0.0, towards, data), data


@pytest.mark.parametrize(("towards", "share", "flag"), [(0.5, 1.0, False), (-0.5, 0.0, True)])
def test_arrows_are_compared_with_the_slope_of_values(towards, share, flag):
    model, data = plane(towards)
    found = landscape(subject(model, data, states=600))
    assert found.flag is flag
    assert found.numbers["share of cells whose arrow climbs"] == pytest.approx(share, abs=0.1)
    assert found.numbers["highest value"] == pytest.approx(2.0, abs=0.2)


def test_positions_are_asked_for_where_observations_hold_more():
    with pytest.raises(Unsupported, match="which two numbers"):
        landscape(subject(table(TRUE, DATA), DATA))
    found = landscape(subject(table(TRUE, DATA), DATA, position=(0, 1)))
    assert "no arrows" in found.verdict
    assert found.flag is None
    with pytest.raises(Unsupported, match="position asks for"):
        landscape(subject(table(TRUE, DATA), DATA, position=(0, 5)))


def test_places_are_told_by_the_environment_that_hides_them():
    """The quickstart's maze shows activities of place cells; what they say of the position is exact."""
    pytest.importorskip("ogbench", reason="the maze is OGBench's")
    from headstart.envs import factory

    env = factory.make("headstart.recipes.maze:PlaceMaze-v0?steps=5")
    shown, places = [], []
    for seed in range(8):
        shown.append(env.reset(seed=seed)[0])
        places.append(env.unwrapped.get_xy().copy())
    np.testing.assert_allclose(env.get_wrapper_attr("locate")(np.array(shown)), places, atol=1e-4)
    env.close()


# -- all together ---------------------------------------------------------------------------------------------------


def imitator(data):
    algorithm = BC(actor_widths=())
    import jax

    states = fresh(algorithm, data.spec, jax.random.split(jax.random.key(0), 1))
    return Artifact(algorithm, data.spec, states, Normalizer.of(data.spec), (0,))


def test_what_cannot_be_diagnosed_says_why():
    found = diagnose(imitator(DATA), DATA, states=50)
    assert [finding.name for finding in found.findings] == [name for name, *_ in DIAGNOSTICS]
    skipped = {finding.name: finding.skipped for finding in found.findings}
    for name in ("calibration", "conservatism", "adversarial"):
        assert skipped[name] == "bc has no critic"
    assert skipped["shift"] is None
    assert "no run is given" in skipped["finetuning"]


def test_of_chunks_the_first_action_is_compared_and_their_critic_left_aside():
    import jax

    algorithm = registry.algorithm("qcfql", actor_widths=(8,), critic_widths=(8,), chunk=2)
    states = fresh(algorithm, PLACED.spec, jax.random.split(jax.random.key(0), 1))
    model = Artifact(algorithm, PLACED.spec, states, Normalizer.of(PLACED.spec), (0,))
    found = diagnose(model, PLACED, CONTINUOUS, states=50, episodes=2)
    assert found["calibration"].skipped == "the critic of fql values chunks of actions, not single ones"
    assert {row[0] for row in found["shift"].table.rows} == {"actions", "states"}


def test_data_without_rewards_or_actions_says_so():
    passive = Dataset.from_episodes(
        [{"observations": DATA.episode(i)["observations"]} for i in range(5)], DATA.spec
    )  # fmt: skip
    skipped = {finding.name: finding.skipped for finding in diagnose(table(TRUE, DATA), passive, states=50).findings}
    assert "holds no rewards" in skipped["calibration"]
    assert "holds no actions" in skipped["shift"]
    nothing = scale_rewards(DATA, 0.0)
    skipped = {finding.name: finding.skipped for finding in diagnose(table(TRUE, DATA), nothing, states=50).findings}
    assert skipped["calibration"] == "every reward in the data is 0"


def test_other_observations_are_refused():
    other = Dataset.from_episodes([{"observations": np.zeros((3, 4)), "actions": [0, 1], "rewards": [0.0, 1.0]}])
    with pytest.raises(UsageError, match="observation differs"):
        hs.diagnose(table(TRUE, DATA), other)
    wide = Dataset.from_episodes([{"observations": np.zeros((3, 5)), "actions": [0, 2], "rewards": [0.0, 1.0]}])
    with pytest.raises(UsageError, match="actions up to 2, the artifact knows 2 choices"):
        hs.diagnose(table(TRUE, DATA), wide)
    with pytest.raises(UsageError, match="at least one state"):
        hs.diagnose(table(TRUE, DATA), DATA, states=0)
    with pytest.raises(UsageError, match="observation differs"):
        hs.diagnose(table(TRUE, DATA), DATA, env="headstart/chain?n=4")


def test_sampled_policies_are_diagnosed_by_their_draws():
    data = PLACED
    model = slope(TRUE.mean(1), 0.3, 0.0, data)
    looked = subject(model, data, CONTINUOUS, sample=True)
    assert looked.policy_actions.std() > 0.1
    assert np.abs(looked.values - looked.q(looked.everyone(looked.observations), looked.policy_actions)).max() > 0.01
    assert calibration(looked).numbers["states"] == len(looked.rows)

"""Criteria on models whose Q and policy are set by hand, the bootstrap, and what is refused."""

from __future__ import annotations

import dataclasses
import json

import equinox as eqx
import models
import numpy as np
import pytest

import headstart as hs
from headstart.algos.bc import BC, GCBC
from headstart.algos.discrete_cql import DiscreteCQL
from headstart.cli.main import main
from headstart.data import transform
from headstart.data.dataset import Dataset
from headstart.envs.tabular import chain
from headstart.selection.criteria import CRITERIA, Contributions
from headstart.selection.evaluation import common_discount
from headstart.selection.select import rank, select

MDP = chain(4, slip=0.1, discount=0.8)
ALGORITHM = DiscreteCQL(critic_widths=(), discount=MDP.discount)


@pytest.fixture(scope="module")
def data():
    return Dataset.from_episodes(MDP.sample_episodes(MDP.uniform, 60, 8, np.random.default_rng(1)))


def model(data, *tables, **settings):
    """An artifact whose members' Q are tables (S, A): without hidden layers, on one-hot observations."""
    state = models.state(ALGORITHM, data.spec, len(tables))
    linear = state.nets["critic"].members.trunk.output
    critic = eqx.tree_at(
        lambda critic: (critic.members.trunk.output.weight, critic.members.trunk.output.bias), state.nets["critic"],
        (np.float32(tables)[:, None], np.zeros_like(linear.bias)),
    )  # fmt: skip
    state = dataclasses.replace(state, nets={"critic": critic})
    return hs.Artifact(ALGORITHM, data.spec, state, hs.Normalizer.of(data.spec), tuple(range(len(tables))), settings)


def truth(action):
    """Q of always taking an action, exactly."""
    return MDP.evaluate(np.eye(2)[np.full(MDP.states, action)])[1]


RIGHT, LEFT = (truth(1), truth(0))


def test_own_values_at_initial_states(data):
    better, worse = model(data, RIGHT), model(data, RIGHT - 0.3)
    found = select([worse, better], data, by="value")
    assert [candidate.name for candidate in found.candidates] == ["discrete_cql 1", "discrete_cql 0"]
    # The greedy action of the start state is right.
    assert found.best.score == pytest.approx(RIGHT[0, 1], abs=1e-5)
    assert found.sure == 1.0
    assert found.best.first == 1.0


def test_bellman_errors_are_least_at_the_truth(data):
    found = select([model(data, RIGHT + 0.5), model(data, RIGHT)], data, by="td_error")
    assert found.best.name == "discrete_cql 1"
    # By hand, over every step of the data.
    rows = data.transitions
    states, following = (data.observations[at].argmax(-1) for at in (rows, rows + 1))
    target = data.rewards[rows] + MDP.discount * ~data.terminations[rows] * RIGHT.max(1)[following]
    assert found.best.score == pytest.approx(-np.square(RIGHT[states, data.actions[rows]] - target).mean(), rel=1e-4)


def test_soft_classification_tells_successes_from_failures(data):
    """Q that is 1 where only successful episodes go, against Q that is the same everywhere."""
    goal = np.zeros((MDP.states, 2))
    goal[2] = 1.0
    found = select([model(data, np.ones((MDP.states, 2))), model(data, goal)], data, by="soft_opc")
    assert found.best.name == "discrete_cql 1"
    assert found.candidates[1].score == pytest.approx(0.0, abs=1e-6)
    rows = data.transitions
    at = data.observations[rows].argmax(-1) == 2
    solved = np.array([data.successes[start:end].any() for start, end in zip(data.starts, data.ends, strict=True)])
    positive = solved[np.searchsorted(data.starts, rows, side="right") - 1]
    assert found.best.score == pytest.approx(at[positive].mean() - at.mean(), abs=1e-5)


def test_the_baseline_counts_equal_actions(data):
    found = select([model(data, RIGHT), model(data, LEFT)], data, by="behaviour")
    share = (data.actions[data.transitions] == 1).mean()
    scores = {candidate.name: candidate.score for candidate in found.candidates}
    assert scores["discrete_cql 0"] == pytest.approx(share)


def test_members_are_averaged_or_ranked_one_by_one(data):
    both = model(data, RIGHT, RIGHT - 1.0)
    found = select([both, model(data, RIGHT - 0.25)], data, by="value")
    assert found.best.name == "discrete_cql 1"
    alone = select([both], data, by="value", each_seed=True)
    assert [candidate.name for candidate in alone.candidates] == ["discrete_cql 0 seed 0", "discrete_cql 0 seed 1"]


def test_the_probability_is_that_of_the_difference_not_of_each():
    """Two candidates whose scores vary much over episodes, but together: the second is always a little worse."""
    noise = np.random.default_rng(0).normal(size=50)
    counts = np.ones((1, 50))
    parts = {name: Contributions(values[None, None, None], counts) for name, values in
             {"worse": noise - 0.01, "better": noise, "same": noise}.items()}  # fmt: skip
    found = rank({name: parts[name] for name in ("worse", "better")}, "value")
    assert found.best.name == "better"
    assert found.sure == 1.0
    assert found.candidates[1].high > found.best.low
    tied = rank({name: parts[name] for name in ("same", "better")}, "value")
    assert tied.sure == 0.5


def test_critics_that_disagree_make_it_less_sure():
    counts = np.ones((1, 20))
    agreeing, torn = (
        np.full((1, 2, 1, 20), 1.0),
        np.concatenate([np.zeros((1, 1, 1, 20)), np.full((1, 1, 1, 20), 1.8)], 1),
    )
    found = rank({"agreeing": Contributions(agreeing, counts), "torn": Contributions(torn, counts)}, "value")
    assert found.best.name == "agreeing"
    assert 0.4 < found.sure < 0.6


def test_fitted_evaluation_ranks_by_return(data):
    found = select([model(data, LEFT * 0.0 + [[1.0, 0.0]]), model(data, RIGHT)], data, by="fqe", steps=400)
    assert found.best.name == "discrete_cql 1"
    assert found.sure > 0.9


@pytest.mark.parametrize("by", list(CRITERIA))
def test_what_is_lacking_is_said_in_a_line(data, by, capsys):
    pair = [model(data, RIGHT), model(data, LEFT)]
    lacking = {
        "fqe": (pair, transform.drop_rewards(data), "holds no rewards"),
        "value": ([pair[0], cloned(data)], data, "bc has no critic"),
        "td_error": (pair, transform.drop_rewards(data), "holds no rewards"),
        "soft_opc": (pair, transform.only_successes(data), "every episode of memory succeeds"),
        "behaviour": (pair, transform.drop_actions(data), "holds no actions"),
    }
    models, given, message = lacking[by]
    with pytest.raises(hs.UsageError, match=message) as raised:
        select(models, given, by=by, steps=1)
    assert len(str(raised.value)) < 240


def cloned(data):
    return models.model(BC(actor_widths=(4,)), data.spec)


def test_what_does_not_fit_together(data, tmp_path):
    one, other = model(data, RIGHT), model(data, LEFT)
    with pytest.raises(hs.UsageError, match="did you mean 'fqe'"):
        select([one, other], data, by="fqee")
    with pytest.raises(hs.UsageError, match="at least two candidates"):
        select([one], data, by="value")
    with pytest.raises(hs.UsageError, match="values in one unit"):
        select([one, model(data, LEFT, reward_scale=10.0)], data, by="value")
    reaching = models.model(GCBC(actor_widths=(4,)), GCBC().view().with_context(data.spec))
    with pytest.raises(hs.UsageError, match="gcbc 1 acts on a goal, a skill or a task, and is told none here"):
        select([one, reaching], data, by="behaviour")
    wider = chain(5)
    episodes = wider.sample_episodes(wider.uniform, 5, 8, np.random.default_rng(0))
    with pytest.raises(hs.UsageError, match="shape"):
        select([one, other], Dataset.from_episodes(episodes), by="value")
    one.save(tmp_path / "a")
    with pytest.raises(hs.UsageError, match="given twice"):
        select([tmp_path / "a", tmp_path / "a"], data, by="value")


def test_which_discount_counts(data):
    slower = dataclasses.replace(model(data, LEFT), algorithm=dataclasses.replace(ALGORITHM, discount=0.9))
    # Who imitates discounts nothing.
    assert common_discount([model(data, RIGHT), cloned(data)]) == MDP.discount
    with pytest.raises(hs.UsageError, match=r"0\.8, 0\.9"):
        common_discount([model(data, RIGHT), slower])
    with pytest.raises(hs.UsageError, match="no artifact"):
        common_discount([cloned(data)])


def test_on_the_command_line(data, tmp_path, capsys):
    for name, table in {"right": RIGHT, "left": LEFT}.items():
        model(data, table).save(tmp_path / name)
    steps = data.transitions
    np.savez(
        tmp_path / "data.npz", observations=data.observations[steps], actions=data.actions[steps],
        rewards=data.rewards[steps], terminals=data.terminations[steps],
        timeouts=np.isin(steps + 1, data.ends) & ~data.terminations[steps],
        next_observations=data.observations[steps + 1],
    )  # fmt: skip
    asked = ["select", str(tmp_path / "left"), str(tmp_path / "right"), "--data", f"arrays:{tmp_path / 'data.npz'}"]
    assert main([*asked, "--by", "value", "--json", str(tmp_path / "ranking.json")]) == 0
    assert f"  1  {tmp_path / 'right'}" in capsys.readouterr().out
    assert json.loads((tmp_path / "ranking.json").read_text())["candidates"][0]["name"] == str(tmp_path / "right")
    assert main([*asked, "--by", "soft_opc"]) == 2
    assert "does not say what counts as success" in capsys.readouterr().err

"""Data shared between tasks: what is relabelled how (UDS), and which of it a task takes (CDS)."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from data_examples import make_episodes
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart import losses
from headstart.algorithm import View
from headstart.algos import registry, sharing
from headstart.cli import main as cli
from headstart.data import sources, transform
from headstart.data.dataset import Dataset
from headstart.data.normalize import Normalizer
from headstart.data.share import share
from headstart.data.views import gather, table
from headstart.errors import DataError, UsageError

pytestmark = pytest.mark.usefixtures("quick_compilation")

NAMES = ("open", "close", "push")


def three_tasks(rewards=((0.0, 1.0, 1.0), (-1.0, 0.0, -1.0), (5.0, 5.0, 7.0))) -> Dataset:
    """An episode of three steps for each task."""
    parts = []
    for i, name in enumerate(NAMES):
        episode = make_episodes(lengths=(3,), ends=(True,), seed=i)[0] | {"rewards": np.float32(rewards[i])}
        parts.append(Dataset.from_episodes([episode], task=name))
    return transform.concatenate(parts)


# -- relabelling -----------------------------------------------------------------------------------------------------


def test_unlabelled_steps_get_the_lowest_reward_of_the_task_that_takes_them():
    data = three_tasks()
    both = share(data)
    assert both.episodes == 9
    assert both.steps == 27
    own = ~both.shared[both.transitions]
    np.testing.assert_array_equal(both.rewards[both.transitions][own], data.rewards[data.transitions])
    for task, lowest in enumerate((0.0, -1.0, 5.0)):
        mine = both.transitions[(both.tasks[both.transitions] == task) & ~own]
        assert len(mine) == 6
        assert (both.rewards[mine] == lowest).all()
        # It is the other tasks' experience, in their order, which no step of theirs ends.
        theirs = data.transitions[data.tasks[data.transitions] != task]
        np.testing.assert_array_equal(both.observations[mine], data.observations[theirs])
        np.testing.assert_array_equal(both.actions[mine], data.actions[theirs])
        assert not both.terminations[mine].any()
    assert both.provenance.transforms[-1] == (
        "6 episodes shared between 3 tasks: rewards known for 0, else the task's lowest"
    )
    assert (share(data, unlabelled=-3.0).rewards[both.transitions][~own] == -3.0).all()


def test_known_rewards_and_ends_by_a_function():
    """An episode that ends the other task goes on as an episode of its own."""
    data = three_tasks()

    def rewards(episode, task):
        return (np.array([1.0, 2.0, 3.0]), np.array([False, True, False])) if task == "push" else None

    both = share(data, rewards)
    mine = [both.episode(i) for i in range(3, both.episodes) if both.episode(i)["tasks"][0] == 2]
    assert [list(e["rewards"]) for e in mine] == [[1.0, 2.0], [3.0]] * 2
    assert [e["terminated"] for e in mine] == [True, False] * 2
    assert [list(e["successes"]) for e in mine] == [[False, True], [False]] * 2
    np.testing.assert_array_equal(mine[0]["observations"], data.observations[:3])
    np.testing.assert_array_equal(mine[1]["observations"], data.observations[2:4])
    assert "rewards known for 2" in both.provenance.transforms[-1]


def test_known_rewards_by_columns(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = three_tasks()
    sources.write(data, "arrays:three")
    columns = {"push": np.arange(9.0), "push/ends": np.arange(9) == 4}
    np.savez("rewards.npz", **columns)
    assert cli.main(["data", "share", "arrays:three", "arrays:more", "--rewards", "rewards.npz"]) == 0
    assert "7 episodes shared between 3 tasks: rewards known for 2" in capsys.readouterr().out
    both = sources.load("arrays:more")
    mine = both.transitions[(both.tasks[both.transitions] == 2) & both.shared[both.transitions]]
    np.testing.assert_array_equal(both.rewards[mine], np.arange(6.0))
    np.testing.assert_array_equal(both.terminations[mine], np.arange(6) == 4)
    with pytest.raises(UsageError, match="did you mean 'push'"):
        share(data, {"pus": (np.zeros(9), None)})
    with pytest.raises(UsageError, match=r"shape \(8,\), expected \(9,\)"):
        share(data, {"push": (np.zeros(8), None)})


def test_what_cannot_be_shared():
    plain = Dataset.from_episodes(make_episodes())
    with pytest.raises(DataError, match="holds no tasks"):
        share(plain)
    with pytest.raises(UsageError, match="of one task"):
        share(transform.of_task(plain, "open"))
    with pytest.raises(DataError, match="holds no rewards"):
        share(transform.drop_rewards(three_tasks()))
    mixed = make_episodes(lengths=(2,), ends=(True,))[0] | {"tasks": [0, 1]}
    with pytest.raises(UsageError, match="several tasks"):
        share(Dataset.from_episodes([mixed]))


# -- which rows ------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.31, 0.52, 0.87, 1.0]), st.integers(1, 4))
def test_the_quantile_is_that_of_the_tasks_own_rows(seed, quantile, tasks):
    rng = np.random.default_rng(seed)
    task, shared = rng.integers(0, tasks, 20), rng.random(20) < 0.6
    q = rng.integers(-5, 5, 20).astype(np.float32)
    vectors = rng.normal(size=(tasks, 3)).astype(np.float32)
    found = losses.tasks.own_quantile(q, vectors[task], shared, quantile)
    for i in range(20):
        own = q[(task == task[i]) & ~shared]
        expected = np.quantile(own, quantile, method="inverted_cdf") if len(own) else np.inf
        assert found[i] == expected


def test_weights_against_numpy():
    advantage = np.array([-3.0, 0.0, 1.0, -1.0, 2.0, -np.inf], np.float32)
    shared = np.array([True, True, True, False, False, True])
    hard = losses.tasks.shared_weight(advantage, shared, soft=False)
    np.testing.assert_array_equal(hard, [0, 1, 1, 1, 1, 0])
    soft = losses.tasks.shared_weight(advantage, shared, soft=True)
    size = np.mean([3.0, 0.0, 1.0])
    expected = np.where(shared, 1 / (1 + np.exp(-np.float64(advantage) / size)), 1.0)
    np.testing.assert_allclose(soft, expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["iql", "cql"])
@pytest.mark.parametrize("rows", ["quantile", "weighted"])
def test_batches_are_drawn_from_the_rows_that_a_task_takes(name, rows):
    """Of 4 x B candidates; as often as their weights say, and the update takes no other."""
    data = share(three_tasks())
    small = {"actor_widths": (8,), "critic_widths": (8,), "batch_size": 64}
    algorithm = registry.algorithm(name, tasks=True, shared_rows=rows, share_quantile=0.5, **small)
    view = algorithm.view()
    assert (view.batch_size, view.shared) == (256, True)
    spec, columns = view.with_context(data.spec), table(data, view)
    positions = np.random.default_rng(0).integers(0, len(columns.rows), view.batch_size)
    candidates = gather(columns, columns.rows[positions], view, Normalizer.of(spec))
    state = algorithm.init(jax.random.key(0), spec)
    batch, metrics = jax.jit(lambda key: sharing.choose(algorithm, state, candidates, key))(jax.random.key(1))
    assert batch.size == 64
    assert 0.0 < metrics["shared_rate"] == batch.shared.mean() < 1.0
    features = np.concatenate([candidates.observation, candidates.context], -1)
    q = np.asarray(state.nets["critic"](features, candidates.action).min(0))
    threshold = np.empty(256)
    for i in range(256):
        own = (candidates.context == candidates.context[i]).all(1) & ~candidates.shared
        threshold[i] = np.quantile(q[own], 0.5, method="inverted_cdf")
    allowed = ~candidates.shared | (q >= threshold)
    taken = {tuple(row) for row in np.asarray(features)[allowed]}
    chosen = np.concatenate([batch.observation, batch.context], -1)
    inside = np.array([tuple(row) in taken for row in chosen])
    assert inside.all() if rows == "quantile" else not inside.all()


@pytest.mark.parametrize("name", ["iql", "cql"])
def test_an_update_takes_the_chosen_rows_and_says_how_many_are_shared(name):
    data = share(three_tasks())
    small = {"actor_widths": (8,), "critic_widths": (8,), "batch_size": 16}
    algorithm = registry.algorithm(name, tasks=True, shared_rows="quantile", **small)
    view = algorithm.view()
    spec, columns = view.with_context(data.spec), table(data, view)
    candidates = gather(columns, columns.rows[np.arange(view.batch_size) % 27], view, Normalizer.of(spec))
    state = jax.eval_shape(lambda: algorithm.init(jax.random.key(0), spec))
    new, metrics = jax.eval_shape(algorithm.update, state, candidates, jax.random.key(1))
    assert jax.tree.structure(new) == jax.tree.structure(state)
    assert metrics["shared_rate"].shape == ()


def test_all_rows_are_taken_unless_asked_otherwise():
    algorithm = registry.algorithm("iql", tasks=True)
    assert algorithm.view() == View(discount=0.99, tasks=True)
    batch = object()
    assert sharing.choose(algorithm, None, batch, None) == (batch, {})
    with pytest.raises(UsageError, match="act on them"):
        registry.algorithm("cql", shared_rows="quantile")
    with pytest.raises(UsageError, match="share_quantile: expected at most 1"):
        dataclasses.replace(algorithm, share_quantile=1.5)

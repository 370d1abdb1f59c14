"""What both training loops promise, whatever the algorithm."""

from __future__ import annotations

import dataclasses
import logging

import gymnasium
import jax
import numpy as np
import pytest
from problems import small

from headstart import api
from headstart.algos import registry
from headstart.data import replay
from headstart.data.dataset import Dataset
from headstart.envs.collect import collect, to_dataset
from headstart.envs.controllers import Scripted
from headstart.errors import TrainingError, UsageError
from headstart.spec import ArraySpec
from headstart.train import acting, online, updates
from headstart.train.run import Run, read_log

pytestmark = pytest.mark.usefixtures("quick_compilation")

ENV, DISCRETE_ENV = "headstart/chain?n=5&continuous=1&steps=20", "headstart/chain?n=5&steps=20"
GOAL_ENV = ENV + "&goals=1&task=4"
"""The same with the chain's right end as a goal."""
QUIET = {"eval_episodes": 0, "log_every": 10}
ROUND = {"steps": 32, "collect": 32}
"""One round of steps and of as many updates."""


@pytest.fixture(scope="module")
def data():
    return to_dataset(collect(Scripted("random"), ENV, episodes=20, seed=0), ENV, ())


@pytest.fixture(scope="module")
def discrete_data():
    return to_dataset(collect(Scripted("random"), DISCRETE_ENV, episodes=20, seed=0), DISCRETE_ENV, ())


@pytest.fixture(scope="module")
def trained(data):
    """Two members of IQL."""
    return api.pretrain(small("iql"), data, steps=25, seeds=2, data_on="device", **QUIET)


def leaves(artifact):
    return {part: artifact.arrays()[part] for part in ("weights", "optimizer")}


def require_close(first, second):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5), first, second)


# -- seeds, places ------------------------------------------------------------------------------------------------


def test_seeds_side_by_side_equal_separate_runs(data, trained):
    online = {"env": ENV, "data": data, "steps": 30, "lanes": 2, **QUIET}
    pair = api.finetune(trained, **online)
    for seed in (0, 1):
        alone = api.pretrain(small("iql"), data, steps=25, seeds=1, seed=seed, **QUIET)
        require_close(leaves(trained.member(seed)), leaves(alone))
        require_close(leaves(pair.member(seed)), leaves(api.finetune(trained.member(seed), **online)))
    first, second = (leaves(pair.member(seed))["weights"]["nets/actor/trunk/hidden/0/weight"] for seed in (0, 1))
    assert not np.allclose(first, second)


def test_batches_drawn_on_the_host_give_the_same_model(data, trained):
    host = api.pretrain(small("iql"), data, steps=25, seeds=2, data_on="host", **QUIET)
    assert host.digests == trained.digests


def test_training_leaves_its_source_as_it_was(data, trained):
    before = jax.tree.map(np.copy, leaves(trained))
    first = api.finetune(trained, data=data, steps=12, **QUIET)
    jax.tree.map(np.testing.assert_array_equal, leaves(trained), before)
    assert api.finetune(trained, data=data, steps=12, **QUIET).digest == first.digest != trained.digest


@pytest.mark.parametrize("how", ["online", "offline"])
@pytest.mark.parametrize("frozen", ["actor", "critic"])
def test_frozen_components_stay_with_their_targets_and_optimisers(data, trained, how, frozen):
    where = {"env": ENV, "data": data, "steps": 20} if how == "online" else {"data": data, "steps": 10}
    after = api.finetune(trained, freeze=[frozen], **where, **QUIET).state
    before = trained.state
    for part in ("nets", "targets", "opt_state"):
        for name, old in getattr(before, part).items():
            same = jax.tree.all(jax.tree.map(np.array_equal, old, getattr(after, part)[name]))
            assert same == (name == frozen), f"{part}/{name}"
    with pytest.raises(UsageError, match="unknown component to freeze 'actr'; did you mean 'actor'"):
        api.finetune(trained, freeze=["actr"], **where, **QUIET)
    with pytest.raises(UsageError, match="nothing would learn: .* are all frozen"):
        api.finetune(trained, freeze=list(before.opt_state), **where, **QUIET)


# -- every algorithm ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(registry.ALGORITHMS.keys() - {"bc", "fb", "hilp", "icvf", "lapo", "opal"}))
def test_every_algorithm_goes_on_online_from_its_own_artifact(name, data, discrete_data, tmp_path):
    algorithm = small(name)
    discrete = registry.name_of(algorithm) == "discrete_cql"
    pile, env = (discrete_data, DISCRETE_ENV) if discrete else (data, ENV)
    env = GOAL_ENV if algorithm.view().goals else env
    # As many batches at once as from the host: one compiled program for both phases.
    before = api.pretrain(algorithm, pile, steps=2, data_on="host", out=tmp_path / "before", **QUIET)
    after = api.finetune(tmp_path / "before", env=env, data=pile, **ROUND, out=tmp_path / "after", **QUIET)
    assert (before.steps, after.steps) == (2, 34)
    old, new = leaves(before)["weights"], leaves(after)["weights"]
    changed = [path for path in old if not np.array_equal(old[path], new[path])]
    assert any(path.startswith("nets/") for path in changed)
    assert [entry["digest"] for entry in after.lineage] == [before.digest]
    (line,) = read_log(tmp_path / "after", "metrics")
    assert (line["phase"], line["step"], line["updates"]) == ("online", 32, 32)
    assert all(np.isfinite(value) for value in line.values() if not isinstance(value, str))


def test_a_calibrated_critic_goes_on_with_sac(data, capsys):
    before = api.pretrain(small("calql"), data, steps=2, data_on="host", **QUIET)
    after = api.finetune(before, algorithm=small("sac"), env=ENV, **ROUND, **QUIET)
    assert after.title == "sac"
    assert after.steps == 32  # a fresh optimiser counts from zero
    said = capsys.readouterr().err
    assert [line.split()[:2] for line in said.splitlines()] == [
        ["actor", "loaded"], ["critic", "loaded"], ["temperature", "loaded"], ["optimiser", "fresh"],
    ]  # fmt: skip


# -- what updates see ---------------------------------------------------------------------------------------------


class Counter(gymnasium.Env):
    """Observation: (number of the episode, steps taken in it); terminates after 5 steps in even episodes."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
    episodes = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.number, self.count = Counter.episodes, 0
        Counter.episodes += 1
        return self._observation(), {}

    def step(self, action):
        self.count += 1
        ended = self.number % 2 == 0 and self.count == 5
        return self._observation(), float(self.count), ended, False, {"success": ended}

    def _observation(self):
        return np.array([self.number, self.count], np.float32)


@pytest.fixture
def counter():
    """An environment of its own, cut off after 8 steps."""
    Counter.episodes = 0
    gymnasium.register("tests/Counter-v0", Counter, max_episode_steps=8)
    yield "tests/Counter-v0"
    del gymnasium.registry["tests/Counter-v0"]


@pytest.fixture
def seen(monkeypatch):
    """(first update, number of updates, batches) of every dispatch; nothing is learned."""
    calls = []

    def spy(algorithm, frozen, learner, keys, start, count, batches, precision, crop):
        calls.append((start, count, jax.tree.map(lambda leaf: np.array(leaf[:, :count]), batches)))
        return learner

    monkeypatch.setattr(updates, "from_batches", spy)
    return calls


def test_time_limits_bootstrap_and_ends_do_not(counter, seen):
    algorithm = small("sac", discount=0.9)
    api.finetune(None, algorithm=algorithm, env=counter, steps=60, seeds=2, lanes=2, reward_scale=2.0, **QUIET)
    batch = jax.tree.map(
        lambda *parts: np.concatenate([part.reshape(-1, *part.shape[3:]) for part in parts]),
        *[batches for *_, batches in seen],
    )
    number, count = batch.observation.T
    ended = (number % 2 == 0) & (count == 4)
    np.testing.assert_array_equal(batch.next_observation, np.stack([number, count + 1], 1))
    np.testing.assert_array_equal(batch.discount, np.where(ended, 0.0, np.float32(0.9)))
    np.testing.assert_array_equal(batch.reward, 2.0 * (count + 1))
    # The last step before the time limit was drawn, and no step leads beyond an episode.
    assert ended.any()
    assert ((count == 7) & (number % 2 == 1)).any()
    assert count[number % 2 == 0].max() == 4
    assert count.max() == 7


@pytest.mark.parametrize(
    ("options", "due"),
    [
        ({"steps": 40}, 40),
        ({"steps": 43, "collect": 10}, 43),
        ({"steps": 40, "lanes": 2, "updates_per_step": 4.0}, 160),
        ({"steps": 40, "updates_per_step": 0.25}, 10),
        ({"steps": 50, "collect": 1, "updates_per_step": 0.29}, 14),
        ({"steps": 40, "warmup": 25}, 15),
        ({"steps": 40, "warmup": 100}, 0),
        ({"steps": 40, "updates_per_step": 0.0}, 0),
        ({"steps": 30, "collect": 30, "updates_per_step": 5.0}, 150),
    ],
)
def test_updates_are_counted_by_steps(counter, seen, tmp_path, options, due):
    api.finetune(None, algorithm=small("sac"), env=counter, out=tmp_path / "run", **options, **QUIET)
    done = 0
    for first, count, batches in seen:
        assert (first, batches.reward.shape[1]) == (done, count)
        done += count
    assert done == due
    lines = read_log(tmp_path / "run", "metrics")
    assert lines[-1]["updates"] == due
    warmup, rate = options.get("warmup", 0), options.get("updates_per_step", 1.0)
    for line in lines:
        assert line["updates"] == pytest.approx(max(0, line["step"] - warmup) * rate, abs=1)
        assert "critic_loss" not in line  # the spy learned nothing: there is nothing to average


def test_episodes_of_training_are_counted(counter, seen, tmp_path):
    api.finetune(None, algorithm=small("sac"), env=counter, steps=26, out=tmp_path / "run", **QUIET)
    total = {}
    for line in read_log(tmp_path / "run", "metrics"):
        if line["train_episodes"]:
            total[line["step"]] = tuple(line[f"train_{key}"] for key in ("episodes", "return", "length", "success"))
    # Episodes of 5 (return 15, solved) and 8 steps (return 36) in turn.
    assert total == {10: (1, 15, 5, 1), 20: (2, (36 + 15) / 2, 6.5, 0.5), 26: (1, 36, 8, 0)}


def test_the_policy_acts_with_other_numbers_in_every_step(counter, seen, monkeypatch):
    actions, real = [], online.Lanes.step
    monkeypatch.setattr(
        online.Lanes, "step", lambda lanes, chosen: actions.append(chosen.copy()) or real(lanes, chosen)
    )
    api.finetune(None, algorithm=small("sac"), env=counter, steps=20, lanes=2, **QUIET)
    assert len(np.unique(np.concatenate(actions))) == 20
    assert np.abs(np.concatenate(actions)).max() <= 1.0


# -- errors -------------------------------------------------------------------------------------------------------


def test_a_loss_that_turns_nan_stops_the_run(data, tmp_path):
    huge = Dataset.from_episodes(
        [data.episode(i) | {"rewards": data.episode(i)["rewards"] + 1e30} for i in range(3)], data.spec
    )
    with pytest.raises(TrainingError, match=r"td_loss.* turned NaN or infinite before offline step 10 \(seed 0\)"):
        api.pretrain(small("iql"), huge, steps=25, out=tmp_path / "run", **QUIET)
    assert not (tmp_path / "run" / "artifact").exists()


def test_discrete_actions_that_the_task_does_not_have(discrete_data):
    five = ArraySpec((), "int32", categories=5)
    wide = dataclasses.replace(discrete_data, spec=dataclasses.replace(discrete_data.spec, action=five))
    with pytest.raises(UsageError, match="has 5 choices, headstart/chain.* has 2 choices"):
        api.pretrain(small("discrete_cql"), wide, steps=5, env=DISCRETE_ENV, **QUIET)
    with pytest.raises(UsageError, match="has 5 choices, headstart/chain.* has 2 choices"):
        api.finetune(None, algorithm=small("discrete_cql"), data=wide, env=DISCRETE_ENV, steps=5, **QUIET)


def test_statistics_are_extended_only_where_there_are_some(data, trained):
    with pytest.raises(UsageError, match="'extend': the artifact holds no statistics; use 'keep'"):
        api.finetune(trained, data=data, steps=5, normalizer="extend", **QUIET)


def test_sinks_get_numbers_of_training_and_evaluation(data):
    class Kept(dict):
        def log(self, step, values):
            self.setdefault(step, {}).update(values)

        def close(self):
            self.closed = True

    kept = Kept()
    options = {"seeds": 2, "env": ENV, "eval_episodes": 2, "log_every": 5, "eval_every": 5}
    api.pretrain(small("bc"), data, steps=10, sinks=[kept], **options)
    assert kept.closed
    assert sorted(kept) == [0, 5, 10]
    assert {"offline/return", "offline/success/seed_1"} <= kept[0].keys()
    assert {"offline/actor_loss", "offline/actor_loss/seed_0", "offline/rate", "offline/return"} <= kept[10].keys()


def test_seeds_are_the_artifacts_unless_others_are_asked_for(data, trained):
    once = api.finetune(trained, env=ENV, steps=20, **QUIET)
    again = api.finetune(trained, env=ENV, steps=20, seed=trained.seeds[0], **QUIET)
    other = api.finetune(trained, env=ENV, steps=20, seed=7, **QUIET)
    assert once.seeds == again.seeds == trained.seeds
    assert again.digest == once.digest
    assert other.seeds == tuple(range(7, 7 + len(trained.seeds)))
    # Other keys and environments, from the same weights.
    assert other.digests["weights"] != once.digests["weights"]
    assert other.lineage[-1]["seeds"] == list(trained.seeds)


@pytest.mark.parametrize("asked", [{"offline_share": 1.0}, {"final_offline_share": 0.1}, {"mixture": "append"}])
def test_a_share_of_offline_data_needs_such_data(asked):
    (name,) = asked
    with pytest.raises(UsageError, match=rf"offline data is asked for in batches \({name}\), but none was given"):
        api.finetune(None, algorithm=small("sac"), env=ENV, steps=5, **asked, **QUIET)


def test_what_data_alone_cannot_teach_is_said(data, capsys):
    """Rewards that are all 0, and an algorithm that relies on interaction; both train nevertheless."""
    same = data.replace("", rewards=np.zeros_like(data.rewards))
    paid = data.replace("", rewards=np.full_like(data.rewards, -1.0))
    assert data.terminations.any()
    for algorithm, source, warnings in (
        ("iql", data, []), ("iql", paid, []), ("bc", same, []), ("iql", same, ["every reward in"]),
        ("sac", data, ["sac has nothing that keeps it near the data"]),
    ):  # fmt: skip
        api.pretrain(small(algorithm), source, steps=1, **QUIET)
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
        assert [line.partition(": ")[2][: len(start)] for line, start in zip(lines, warnings, strict=True)] == warnings


def test_arguments_of_another_kind_are_told(data):
    with pytest.raises(UsageError, match=r"found a class; write IQL\(\)"):
        api.pretrain(registry.KINDS["iql"], data, steps=1)
    with pytest.raises(UsageError, match="expected a Dataset or a source such as .*, found ndarray"):
        api.pretrain("iql", np.zeros(3), steps=1)
    with pytest.raises(UsageError, match="expected at least one training seed from 0 on, found a from 0"):
        api.pretrain("iql", data, steps=1, seeds="a")


def test_fields_of_an_algorithm_are_no_options_of_training(data):
    with pytest.raises(UsageError, match=r"'batchsize' is no option of training; batch_size .* hs.IQL\(batch_size="):
        api.pretrain("iql", data, steps=1, batchsize=3)
    with pytest.raises(UsageError, match="unknown field of OfflineOptions 'log_evry'; did you mean 'log_every'"):
        api.pretrain("iql", data, steps=1, log_evry=3)


def test_online_there_is_one_environment():
    with pytest.raises(UsageError, match=r"another place \(eval_env\) is for data alone"):
        api.finetune(None, algorithm=small("sac"), env=ENV, eval_env=ENV, steps=5, **QUIET)


# -- speed --------------------------------------------------------------------------------------------------------


def test_nothing_is_compiled_after_the_first_rounds(data, trained, monkeypatch, caplog, tmp_path):
    """With partial rounds at the warm-up's and the run's end, logs, checkpoints and evaluations in between."""
    programs = {"update": updates.from_batches, "act": acting.act, "draw": replay._draws}
    for program in programs.values():
        # Tests that ran before may have compiled the same.
        program.clear_cache()
    marks, made, write = [], {}, Run.write

    def marking(run, log, lines):
        write(run, log, lines)
        if log == "timing":
            marks.append(len(caplog.records))
            made.update({name: program._cache_size() for name, program in programs.items()})

    monkeypatch.setattr(Run, "write", marking)
    with caplog.at_level(logging.WARNING), jax.log_compiles():
        api.finetune(
            trained, env=ENV, data=data, steps=97, warmup=13, collect=10, updates_per_step=1.5, log_every=20,
            eval_every=40, eval_episodes=2, checkpoint_every=30, out=tmp_path / "run",
        )  # fmt: skip
    compiled = [
        [r.getMessage() for r in part if r.getMessage().startswith("Compiling")]
        for part in (caplog.records[: marks[1]], caplog.records[marks[1] : marks[-1]])
    ]
    assert len(compiled[0]) >= 3
    assert compiled[1] == []
    # Actions for the lanes of evaluation; for training's few they are NumPy's.
    assert made == {"update": 1, "act": 1, "draw": 1}


def test_a_second_run_compiles_no_update(data, trained):
    api.finetune(trained, data=data, steps=11, **QUIET)
    count = updates.from_table._cache_size()
    api.finetune(trained, data=data, steps=23, **QUIET)
    assert updates.from_table._cache_size() == count


def test_metrics_hold_the_norms_of_gradients(data, tmp_path):
    """Of Adam's second moments: after one update those of its gradients, whose norm the first moments hold too."""
    path = tmp_path / "one"
    artifact = api.pretrain(small("bc"), data, steps=1, out=path, seeds=2, **(QUIET | {"log_every": 1}))
    lines = read_log(path, "metrics")
    (adam, *_) = artifact.state.opt_state["actor"]
    for member, line in enumerate(lines):
        squares = [np.square(leaf[member] / 0.1).sum() for leaf in jax.tree.leaves(adam.mu)]
        assert line["gradient_norm_actor"] == pytest.approx(np.sqrt(sum(squares)), rel=1e-4)
    assert len(lines) == 2

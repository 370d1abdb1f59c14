"""What learns from observations alone: it never reads actions or rewards, is kept and loaded, and refuses to act."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from problems import PASSIVE_VARIANTS, small
from test_references import check_gradients, close, members, mlp, updated

from headstart import api
from headstart.artifact import Artifact
from headstart.data import transform
from headstart.diagnostics.diagnose import diagnose
from headstart.envs.collect import collect, to_dataset
from headstart.envs.controllers import Scripted
from headstart.errors import ArtifactError, DataError, UsageError

pytestmark = pytest.mark.usefixtures("quick_compilation")

ENV = "headstart/chain?n=5&continuous=1&steps=20"
PASSIVE = ("icvf", *PASSIVE_VARIANTS)
QUIET = {"eval_episodes": 0, "log_every": 5, "steps": 5}


@pytest.fixture(scope="module")
def data():
    return to_dataset(collect(Scripted("random"), ENV, episodes=10, seed=0), ENV, ())


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """name -> folder of a model that was shown actions and rewards of NaN, if any."""
    kept = {}
    poisoned = data.replace(
        "NaN", actions=np.full_like(data.actions, np.nan), rewards=np.full_like(data.rewards, np.nan)
    )

    def of(name):
        if name not in kept:
            kept[name] = tmp_path_factory.mktemp("runs") / "run"
            api.pretrain(small(name), poisoned, out=kept[name], **QUIET)
        return kept[name]

    return of


@pytest.mark.parametrize("name", PASSIVE)
def test_actions_and_rewards_are_never_read(name, data, trained):
    model = Artifact.load(trained(name))
    assert model.spec.action is None
    assert not model.acts
    without = api.pretrain(small(name), transform.drop_rewards(transform.drop_actions(data)), **QUIET)
    assert without.digest == model.digest
    values = model.goal_values(data.observations[:6], data.observations[1:7])
    assert values.shape == (1, 6)
    assert np.isfinite(values).all()


def test_an_actor_reads_them_and_says_what_to_leave_out(data):
    with pytest.raises(DataError, match="actions holds NaN"):
        api.pretrain(small("gcivl"), data.replace("NaN", actions=np.full_like(data.actions, np.nan)), **QUIET)
    with pytest.raises(UsageError, match=r"holds no actions, .* policy of gcivl learns; action_free \(--action-free"):
        api.pretrain(small("gcivl"), transform.drop_actions(data), **QUIET)


def test_there_is_nothing_to_play(data, trained):
    model = Artifact.load(trained("icvf"))
    for play in (lambda: api.evaluate(model, env=ENV), lambda: model.policy(data.observations[0])):
        with pytest.raises(
            UsageError, match=r"icvf has learned from observations alone, so it has no policy; train one"
        ):
            play()
    with pytest.raises(
        UsageError, match="icvf learns from observations alone, so it has no policy for headstart/chain"
    ):
        api.pretrain(small("icvf"), data, env=ENV, **QUIET)
    with pytest.raises(UsageError, match="so it has no policy for headstart/chain"):
        api.finetune(model, env=ENV, **QUIET)


def test_the_self_test_replays_values(trained, tmp_path):
    folder = trained("icvf") / "artifact"
    with np.load(folder / "example.npz") as file:
        columns = dict(file)
    assert columns.keys() == {"observation", "goal", "value"}
    broken = Artifact.load(folder).save(tmp_path / "broken")
    np.savez(broken / "example.npz", **columns | {"value": columns["value"] + 0.5})
    with pytest.raises(ArtifactError, match="does not act as it did when it was written"):
        Artifact.load(broken)


def test_diagnostics_say_why_they_are_skipped(data, trained):
    found = diagnose(trained("icvf"), data, states=20)
    skipped = {finding.name: finding.skipped for finding in found.findings}
    assert None not in skipped.values()
    assert skipped["shift"] == "icvf has learned from observations alone, and has no policy"


@pytest.mark.parametrize("name", ["gcivl, action-free", "hilp, action-free", "hiql, action-free"])
def test_the_actor_joins_later(name, data, trained):
    model = Artifact.load(trained(name))
    after = api.finetune(model, algorithm=dataclasses.replace(model.algorithm, action_free=False), data=data, **QUIET)
    assert after.acts
    shared = "phi" if name.startswith("hilp") else "value"
    assert shared in after.state.nets
    assert after.policy(data.observations[0], context=_context(after, data)).shape == (1,)


def _context(model, data):
    return data.observations[1] if model.goals else np.ones(model.spec.context.shape, np.float32)


def test_a_resumed_run_is_the_same_run(data, tmp_path):
    """Killed after the first checkpoint, as its files then are."""
    options = {"eval_episodes": 0, "log_every": 5, "steps": 10, "checkpoint_every": 5}
    whole = api.pretrain(small("icvf"), data, out=tmp_path / "whole", **options)
    from headstart.train import offline

    class Killed(Exception):
        pass

    class Stop(offline.Progress):
        def update(self, step):
            super().update(step)
            if step == 10:
                raise Killed

    before, offline.Progress = offline.Progress, Stop
    try:
        with pytest.raises(Killed):
            api.pretrain(small("icvf"), data, out=tmp_path / "cut", **options)
    finally:
        offline.Progress = before
    resumed = api.pretrain(small("icvf"), data, out=tmp_path / "cut", resume=True, **options)
    assert resumed.digest == whole.digest
    lines = [
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("whole", "cut")
    ]
    assert lines[0] == lines[1]


# -- equations --------------------------------------------------------------------------------------------------------


def values(ensemble, s, outcome, intention):
    """(2, B) of V(s, s+, z), each member by itself (Ghosh et al. 2023, section 4.3)."""
    found = []
    for net in members(ensemble):
        phi, psi = hidden(net.phi, s), hidden(net.psi, outcome)
        diagonal = hidden(net.intention, hidden(net.psi, intention))
        left, right = mlp(net.left, diagonal * phi), mlp(net.right, diagonal * psi)
        found.append((left * right).sum(-1))
    return np.stack(found)


def hidden(net, x):
    """The last hidden layer: a perceptron with the identity behind it."""
    width = net.hidden[-1].bias.shape[-1]
    output = type("Identity", (), {"weight": np.eye(width), "bias": np.zeros(width)})
    kept = ("activation", "hidden", "norms", "norm_last")
    return mlp(type("Perceptron", (), {name: getattr(net, name) for name in kept} | {"output": output}), x)


@pytest.mark.parametrize("changes", [{}, {"activation": "relu", "layer_norm": True}])
def test_icvf_against_numpy(changes):
    algorithm = small("icvf", **changes)
    state, batch, after, metrics = updated(algorithm)
    s, s_next, outcome, z = batch.observation, batch.next_observation, batch.context, batch.intention
    target = state.targets["value"]
    under = batch.intention_reward + batch.intention_discount * values(target, s_next, z, z).min(0)
    advantage = under - values(target, s, z, z).mean(0)
    backup = batch.reward + batch.discount * values(target, s_next, outcome, z)
    weight = np.where(advantage >= 0.0, algorithm.expectile, 1.0 - algorithm.expectile)
    assert 0 < (advantage < 0.0).sum() < len(advantage)

    def loss(value):
        return (weight * np.square(backup - values(value, s, outcome, z))).mean(1).sum()

    close(metrics["value_loss"], loss(state.nets["value"]))
    close(metrics["chosen"], (advantage >= 0.0).mean())
    check_gradients(loss, state, after, "value")


def test_features_and_goal_values_of_icvf():
    algorithm = small("icvf")
    state, batch, *_ = updated(algorithm)
    net = members(state.nets["value"])[0]
    np.testing.assert_allclose(
        algorithm.features(state, batch.observation), hidden(net.phi, batch.observation), atol=1e-4
    )
    found = algorithm.goal_value(state, batch.observation, batch.context)
    expected = values(state.nets["value"], batch.observation, batch.context, batch.context).mean(0)
    np.testing.assert_allclose(found, expected, atol=1e-3)

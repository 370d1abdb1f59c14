"""Hidden layers as a start, and frozen features: what fits, what is said, and what nets then see."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from models import SPEC, batch, model, state

from headstart.algos.bc import BC
from headstart.algos.gcivl import GCIVL
from headstart.algos.hilp import HILP
from headstart.algos.icvf import ICVF
from headstart.algos.iql import IQL
from headstart.algos.lapo import LAPO
from headstart.algos.opal import OPAL
from headstart.algos.sac import SAC
from headstart.artifact import Artifact, features_of, start
from headstart.errors import UsageError
from headstart.nets import FEATURES, seeing

ICVF_ = ICVF(critic_widths=(8, 6), activation="relu")
IQL_ = IQL(actor_widths=(8, 6), critic_widths=(8, 6))


def passive(algorithm=ICVF_, **options):
    return model(algorithm, algorithm.view().with_context(SPEC), **options)


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def reasons(report):
    return {row.component: (row.status, row.reason) for row in report.rows}


def with_features(source, use="features", members=1):
    """A state of IQL that sees the features, and these."""
    made = features_of(source, IQL_, use)
    fresh = state(IQL_, made.seen(SPEC), members)
    frozen = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (members, *leaf.shape[1:])), made)
    return dataclasses.replace(fresh, nets=fresh.nets | {FEATURES: frozen}), made


def test_trunks_start_from_hidden_layers_and_keep_the_rest():
    source, fresh = passive(seeds=(0, 1)), state(IQL_, members=2, seed=3)
    made, report = start(source, IQL_, SPEC, fresh, use="trunks")
    phi = source.state.nets["value"].members.phi
    for member in range(2):
        actor, value = made.nets["actor"].trunk, made.nets["value"].trunk
        for i in range(2):
            same(actor.hidden[i].weight[member], phi.hidden[i].weight[member, 0])
            same(value.hidden[i].bias[member], phi.hidden[i].bias[member, 0])
            for part in range(2):
                critic = made.nets["critic"].members.trunk.hidden[i]
                rows = 3 if i == 0 else 8
                same(critic.weight[member, part, :rows], phi.hidden[i].weight[member, part])
    # Actions are inputs that phi never had.
    before = fresh.nets["critic"].members.trunk.hidden[0].weight
    same(made.nets["critic"].members.trunk.hidden[0].weight[:, :, 3:], before[:, :, 3:])
    same(made.nets["actor"].trunk.output, fresh.nets["actor"].trunk.output)
    same(made.targets["critic"], made.nets["critic"])
    assert made.opt_state is fresh.opt_state
    assert reasons(report) == dict.fromkeys(
        ("actor", "critic", "value"), ("loaded", "2 hidden layers of value, the rest is fresh")
    )


def test_trunks_of_pairs_give_the_rows_of_the_state():
    gcivl = GCIVL(critic_widths=(8, 6), activation="relu", layer_norm=False, action_free=True)
    source, fresh = passive(gcivl), state(IQL_, seed=3)
    made, _ = start(source, IQL_, SPEC, fresh, {"value": "value"}, use="trunks")
    given = source.state.nets["value"].heads.members.trunk.hidden
    same(made.nets["value"].trunk.hidden[0].weight[0], given[0].weight[0, 0, :3])
    same(made.nets["actor"], fresh.nets["actor"])


def test_trunks_say_what_does_not_fit():
    source = passive(ICVF(critic_widths=(8, 6)))
    with pytest.raises(UsageError, match="no hidden layers of icvf fit iql: actor: layers are relu here, gelu there"):
        start(source, IQL_, SPEC, state(IQL_), use="trunks")
    other = IQL(actor_widths=(8, 5), critic_widths=(7, 6))
    _, report = start(passive(), other, SPEC, state(other, seed=3), use="trunks")
    assert reasons(report)["actor"] == ("loaded", "1 hidden layer of value, the rest is fresh")
    assert reasons(report)["critic"] == ("fresh", "the hidden layers have other widths")
    with pytest.raises(UsageError, match="critic cannot start from the hidden layers of value: the hidden layers have"):
        start(passive(), other, SPEC, state(other), {"critic": "value"}, use="trunks")
    hilp = HILP(critic_widths=(8, 6), activation="relu", layer_norm=False, action_free=True, goal_entries=(0, 1))
    with pytest.raises(UsageError, match="there it looks at 2 of the observation's 3 numbers"):
        start(passive(hilp), IQL_, SPEC, state(IQL_), use="trunks")


@pytest.mark.parametrize("use", ["features", "features+observation"])
@pytest.mark.parametrize("algorithm", [ICVF_, HILP(critic_widths=(8, 6), skill_size=6, action_free=True)])
def test_policies_see_features(use, algorithm):
    source = passive(algorithm)
    fresh, made = with_features(source, use)
    found, report = start(source, IQL_, SPEC, fresh, use=use)
    assert found is fresh
    status, reason = reasons(report)[FEATURES]
    assert status == "loaded"
    assert reason.startswith(f"from {algorithm.representation}, frozen")
    observation = np.random.default_rng(0).normal(size=(1, 4, 3)).astype(np.float32)
    agent = Artifact(IQL_, SPEC, fresh, source.normalizer.with_actions(SPEC), (0,))
    one = jax.tree.map(lambda leaf: leaf[0], source.state)
    seen = np.asarray(source.algorithm.features(one, observation[0]))
    seen = np.concatenate([observation[0], seen], -1) if use != "features" else seen
    actor = jax.tree.map(lambda leaf: leaf[0], fresh.nets["actor"])
    expected = agent.normalizer.raw_action(np.asarray(actor.mode(seen)))
    np.testing.assert_allclose(agent.act(observation)[0], expected, atol=1e-5)
    assert made.seen(SPEC).observation[0][1].shape == (6 + 3 * (use != "features"),)


def test_artifacts_carry_their_features(tmp_path):
    source = passive()
    fresh, _ = with_features(source)
    agent = Artifact(IQL_, SPEC, fresh, source.normalizer.with_actions(SPEC), (0,))
    again = Artifact.load(agent.save(tmp_path / "agent"))
    assert again.digest == agent.digest
    assert again.state.nets[FEATURES].algorithm == ICVF_
    # The next training goes on with them, on what they were learned from.
    assert features_of(again, IQL_, "components") is again.state.nets[FEATURES]
    with pytest.raises(UsageError, match="sees features already, and goes on with them"):
        features_of(again, IQL_, "features")
    with pytest.raises(UsageError, match="iql sees features, and so do its hidden layers"):
        start(again, IQL_, SPEC, fresh, use="trunks")


def test_features_are_constants_of_training():
    fresh, _ = with_features(passive())
    one = jax.tree.map(lambda leaf: leaf[0], fresh)
    after, _ = jax.jit(seeing(IQL_.update))(one, batch(), jax.random.key(0))
    same(after.nets[FEATURES], one.nets[FEATURES])
    assert FEATURES not in after.opt_state
    assert not np.array_equal(after.nets["actor"].trunk.hidden[0].weight, one.nets["actor"].trunk.hidden[0].weight)


def test_refusals():
    with pytest.raises(
        UsageError, match=r"gcivl learns no features of observations; use .*fb, hilp, icvf.*\), or its hidden"
    ):
        features_of(passive(GCIVL(critic_widths=(8,), action_free=True)), IQL_, "features")
    with pytest.raises(UsageError, match="gcivl learns from goals, which are observations"):
        features_of(passive(), GCIVL(), "features")
    with pytest.raises(UsageError, match="lapo learns from observations alone; features"):
        features_of(passive(), LAPO(), "features")
    with pytest.raises(UsageError, match="opal learns from stretches of observations; features"):
        features_of(passive(), OPAL(), "features")
    with pytest.raises(UsageError, match="unknown use of an artifact 'trunk'; did you mean 'trunks'"):
        features_of(passive(), IQL_, "trunk")
    with pytest.raises(UsageError, match="there is no artifact whose features could be used"):
        features_of(None, IQL_, "features")
    with pytest.raises(UsageError, match="components are not carried over where the artifact gives features"):
        start(passive(), IQL_, SPEC, with_features(passive())[0], {"actor": "value"}, use="features")
    with pytest.raises(UsageError, match="unknown component of sac 'valeu'"):
        start(
            passive(), SAC(), SPEC, state(SAC(actor_widths=(8,), critic_widths=(8,))), {"valeu": "value"}, use="trunks"
        )
    with pytest.raises(UsageError, match="2 members .* and 3 are asked for"):
        start(passive(seeds=(0, 1)), BC(), SPEC, state(BC(actor_widths=(8,)), members=3), use="trunks")

"""Which component goes where: loaded, fresh or unused, and nothing silently."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from models import ALGORITHMS, DISCRETE, SMALL, SPEC, batch, model, state

from headstart.algos.bc import BC
from headstart.algos.cql import CQL, CalQL
from headstart.algos.iql import IQL
from headstart.algos.td3bc import TD3BC
from headstart.artifact import transfer
from headstart.errors import UsageError
from headstart.spec import ArraySpec
from headstart.state import State
from headstart.train.updates import freeze

CALQL, SAC, TD3 = (ALGORITHMS[name] for name in ("calql", "sac", "td3bc"))


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def statuses(report):
    return {row.component: row.status for row in report.rows}


def reason(report, component):
    return next(row.reason for row in report.rows if row.component == component)


def test_calql_hands_everything_but_its_multiplier_to_sac():
    source, fresh = model(CALQL, seeds=(0, 1)), state(SAC, members=2, seed=3)
    moved, report = transfer(source, SAC, SPEC, fresh)
    for name in ("actor", "critic", "temperature"):
        same(moved.nets[name], source.state.nets[name])
    same(moved.targets["critic"], source.state.targets["critic"])
    same(moved.opt_state, fresh.opt_state)
    same(moved.step, fresh.step)
    assert statuses(report) == {
        "actor": "loaded", "critic": "loaded", "temperature": "loaded", "multiplier": "unused",
    }  # fmt: skip
    assert not report.continued


def test_a_cloned_actor_starts_cql():
    source, fresh = model(BC(actor_widths=(16, 16))), state(CQL(**SMALL), seed=3)
    moved, report = transfer(source, CQL(**SMALL), SPEC, fresh)
    same(moved.nets["actor"], source.state.nets["actor"])
    for name in ("critic", "temperature"):
        same(moved.nets[name], fresh.nets[name])
        assert reason(report, name) == "not in the artifact"
    same(moved.targets, fresh.targets)
    assert statuses(report) == {"actor": "loaded", "critic": "fresh", "temperature": "fresh"}


def test_a_target_that_the_source_lacks_is_a_copy_of_the_net():
    source = model(BC(actor_widths=(16, 16), policy_kind="deterministic"))
    moved, report = transfer(source, TD3, SPEC, state(TD3, seed=3))
    same(moved.targets["actor"], source.state.nets["actor"])
    assert reason(report, "actor") == "its target is a copy"
    # Buffers of their own: both can be donated at once.
    jax.jit(lambda moved: jax.tree.map(lambda leaf: leaf + 1, moved), donate_argnums=0)(moved)


def test_a_cloned_flow_starts_fql_and_goes_on_as_a_clone():
    clone, fql = BC(actor_widths=(16, 16), policy_kind="flow", flow_steps=5), ALGORITHMS["fql"]
    source = model(clone)
    with pytest.raises(UsageError, match="nothing of the artifact .* actor: a OneStepActor here, a FlowActor there"):
        transfer(source, fql, SPEC, state(fql, seed=3))
    moved, report = transfer(source, fql, SPEC, state(fql, seed=3), {"flow": "actor"})
    same(jax.tree.leaves(moved.nets["flow"]), jax.tree.leaves(source.state.nets["actor"]))
    assert moved.nets["flow"].steps == 3
    assert statuses(report) == {"flow": "loaded", "actor": "fresh", "critic": "fresh"}
    back, _ = transfer(model(fql), clone, SPEC, state(clone, seed=3), {"actor": "flow"})
    same(jax.tree.leaves(back.nets["actor"]), jax.tree.leaves(model(fql).state.nets["flow"]))


def test_fql_gives_best_of_n_its_flow_and_critic():
    fql, best = ALGORITHMS["fql"], dataclasses.replace(ALGORITHMS["fql"], best_of=4)
    _, report = transfer(model(fql), best, SPEC, state(best, seed=3))
    assert statuses(report) == {"flow": "loaded", "critic": "loaded", "actor": "unused"}
    # Another length of chunks is another input of every network.
    with pytest.raises(UsageError, match="nothing of the artifact .* shape of .* is "):
        transfer(model(fql), ALGORITHMS["qc"], SPEC, state(ALGORITHMS["qc"], seed=3))


def test_networks_that_compute_otherwise_are_not_taken_for_the_same():
    """The critics of IQL and FQL have arrays of the same shapes, but other activations."""
    source, plain = model(ALGORITHMS["iql"]), dataclasses.replace(ALGORITHMS["fql"], critic_layer_norm=False)
    with pytest.raises(UsageError, match="critic cannot be loaded from critic: layers end in gelu here, in relu there"):
        transfer(source, plain, SPEC, state(plain, seed=3), {"critic": "critic"})
    with pytest.raises(UsageError, match="critic: layers end in gelu here, in relu there"):
        transfer(source, plain, SPEC, state(plain, seed=3))


def test_settings_that_nets_hold_are_those_of_the_algorithm_that_goes_on():
    """A clone samples with noise of 0.1, and TD3+BC explores with its own, also where it goes on with itself."""
    quiet = dataclasses.replace(TD3, exploration_noise=0.02)
    for source in (model(BC(actor_widths=(16, 16), policy_kind="deterministic")), model(TD3)):
        moved, report = transfer(source, quiet, SPEC, fresh := state(quiet, seed=3))
        assert report.continued == (source.algorithm == TD3)
        assert moved.nets["actor"].noise == 0.02
        assert jax.tree.structure(moved) == jax.tree.structure(fresh)
        same(jax.tree.leaves(moved.nets["actor"]), jax.tree.leaves(source.state.nets["actor"]))


def test_the_same_algorithm_goes_on_with_its_optimiser():
    source = model(CALQL, seeds=(0, 1))
    changed = dataclasses.replace(CALQL, weight=1.0, actor_lr=1e-5, calibrated=False)
    moved, report = transfer(source, changed, SPEC, state(changed, members=2, seed=3))
    same(moved, source.state)
    assert report.continued
    assert set(statuses(report).values()) == {"loaded"}
    # A component that is no longer wanted does not break the training off.
    without = dataclasses.replace(CALQL, lagrange=False)
    moved, report = transfer(source, without, SPEC, state(without, members=2, seed=3))
    assert report.continued
    assert statuses(report)["multiplier"] == "unused"
    same(moved.opt_state["critic"], source.state.opt_state["critic"])
    assert moved.step.tolist() == [7, 7]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (CalQL(**SMALL), CalQL(**SMALL, lagrange=True)),
        (IQL(**SMALL, actor_decay_steps=0), IQL(**SMALL, actor_decay_steps=100)),
        (CQL(**SMALL), CQL(**SMALL, critics=3)),
    ],
)
def test_what_does_not_fit_whole_starts_with_a_fresh_optimiser(old, new):
    fresh = state(new, seed=3)
    moved, report = transfer(model(old), new, SPEC, fresh)
    assert not report.continued
    same(moved.opt_state, fresh.opt_state)
    same(moved.step, fresh.step)


def test_other_shapes_stay_fresh_and_say_why():
    source, new = model(CQL(**SMALL, critics=10)), CQL(**SMALL)
    fresh = state(new, seed=3)
    moved, report = transfer(source, new, SPEC, fresh)
    same(moved.nets["critic"], fresh.nets["critic"])
    same(moved.targets["critic"], fresh.targets["critic"])
    assert report.lines() == [
        "actor        loaded",
        "critic       fresh   shape of nets/critic/members/trunk/hidden/0/weight is (2, 5, 16) here, (10, 5, 16) there",
        "temperature  loaded",
        "optimiser    fresh   fresh, step 0",
    ]
    assert report.describe() == "\n".join(report.lines())
    assert json.loads(json.dumps(report.to_json()))["components"][0] == {
        "component": "actor", "status": "loaded", "reason": "",
    }  # fmt: skip


def test_key_paths_and_kinds_that_differ_stay_fresh():
    new = CQL(**SMALL, critic_layer_norm=True)
    _, report = transfer(model(CQL(**SMALL)), new, SPEC, state(new))
    assert reason(report, "critic") == "nets/critic/members/trunk/norms/0/scale is here, but not there"
    _, report = transfer(model(IQL(**SMALL)), CQL(**SMALL), SPEC, state(CQL(**SMALL)))
    assert reason(report, "actor") == "a TanhGaussianActor here, a GaussianActor there"
    assert statuses(report)["critic"] == "loaded"


def test_a_map_chooses_components():
    source, fresh = model(CALQL), state(SAC, seed=3)
    moved, report = transfer(source, SAC, SPEC, fresh, {"actor": "actor", "temperature": "multiplier"})
    same(moved.nets["actor"], source.state.nets["actor"])
    same(moved.nets["temperature"], source.state.nets["multiplier"])
    same(moved.nets["critic"], fresh.nets["critic"])
    assert reason(report, "temperature") == "from multiplier"
    assert [(row.component, row.status, row.reason) for row in report.rows if row.status != "loaded"] == [
        ("critic", "fresh", "not asked for"), ("temperature", "unused", "not asked for"),
    ]  # fmt: skip


def test_a_map_that_does_not_fit_is_refused():
    source, fresh = model(CQL(**SMALL, critics=10)), state(SAC)
    with pytest.raises(
        UsageError,
        match=r"critic cannot be loaded from critic: shape of nets/critic/.* is \(2, 5, 16\) here, \(10, 5, 16\) there",
    ):
        transfer(source, SAC, SPEC, fresh, {"critic": "critic"})
    with pytest.raises(
        UsageError, match="actor cannot be loaded from critic: a TanhGaussianActor here, a Ensemble there"
    ):
        transfer(source, SAC, SPEC, fresh, {"actor": "critic"})
    with pytest.raises(UsageError, match="unknown component of sac 'actr'; did you mean 'actor'"):
        transfer(source, SAC, SPEC, fresh, {"actr": "actor"})
    with pytest.raises(UsageError, match=r"unknown component of the artifact \(cql\) 'critics'; did you mean 'critic'"):
        transfer(source, SAC, SPEC, fresh, {"critic": "critics"})


def test_one_member_goes_to_all_and_other_numbers_must_agree():
    source = model(CALQL)
    moved, report = transfer(source, CALQL, SPEC, state(CALQL, members=3, seed=3))
    for member in range(3):
        same(jax.tree.map(lambda leaf, m=member: leaf[m], moved), jax.tree.map(lambda leaf: leaf[0], source.state))
    assert report.continued
    with pytest.raises(UsageError, match=r"the artifact has 2 members \(seeds 4, 5\) and 3 are asked for"):
        transfer(model(CALQL, seeds=(4, 5)), CALQL, SPEC, state(CALQL, members=3))


def test_a_transfer_of_nothing_is_refused():
    gaussian = BC(policy_kind="gaussian", actor_widths=(16, 16))
    with pytest.raises(UsageError, match=r"nothing of the artifact \(bc\) fits cql: actor: a TanhGaussianActor here"):
        transfer(model(gaussian), CQL(**SMALL), SPEC, state(CQL(**SMALL)))
    with pytest.raises(UsageError, match="nothing of the artifact .* not asked for"):
        transfer(model(CALQL), SAC, SPEC, state(SAC), {})


def test_another_problem_is_refused():
    wider = dataclasses.replace(SPEC, observation=(("", ArraySpec((4,))),))
    with pytest.raises(
        UsageError, match=r"observation differs: the artifact has shape \(3,\), the new task has shape \(4,\)"
    ):
        transfer(model(CALQL), SAC, wider, state(SAC, wider))
    with pytest.raises(UsageError, match="actions differ"):
        transfer(model(CALQL), BC(), DISCRETE, state(BC(), DISCRETE))


def test_a_transferred_state_learns_and_its_source_stays():
    source, cloning = model(CALQL, seeds=(0, 1)), BC(actor_widths=(16, 16))
    before = jax.tree.map(np.copy, source.state)
    moved, _ = transfer(source, cloning, SPEC, state(cloning, members=2, seed=3))
    update = jax.jit(jax.vmap(cloning.update, in_axes=(0, None, 0)), donate_argnums=0)
    after, _ = update(moved, batch(), jax.random.split(jax.random.key(0), 2))
    assert after.step.tolist() == [4, 4]
    step = np.abs(after.nets["actor"].trunk.output.bias - before.nets["actor"].trunk.output.bias)
    assert (step > 1e-7).all()
    assert (step < 1e-2).all()
    same(source.state, before)


def test_frozen_components_stand_still():
    algorithm = TD3BC(actor_widths=(8,), critic_widths=(8,), actor_every=1)
    start = jax.tree.map(lambda leaf: leaf[0], state(algorithm))
    after, _ = jax.jit(freeze(algorithm.update, ["actor"]))(start, batch(), jax.random.key(0))
    for part in ("nets", "targets", "opt_state"):
        same(getattr(after, part)["actor"], getattr(start, part)["actor"])
        old, new = (jax.tree.leaves(getattr(which, part)["critic"]) for which in (start, after))
        assert not any(np.array_equal(a, b) for a, b in zip(old, new, strict=True))
    assert int(after.step) == 8


def test_everything_else_is_as_the_update_left_it():
    def update(state, batch, key):
        parts = {
            part: jax.tree.map(lambda x: x + batch, getattr(state, part)) for part in ("nets", "targets", "opt_state")
        }
        return State(**parts, step=state.step + 1), {"loss": key}

    start = State({"actor": 1, "critic": 2, "value": 3}, {"critic": 4}, {"actor": 5, "critic": 6, "value": 7}, 0)
    assert freeze(update, ["critic", "value"])(start, 10, 0.5) == (
        State({"actor": 11, "critic": 2, "value": 3}, {"critic": 4}, {"actor": 15, "critic": 6, "value": 7}, 1),
        {"loss": 0.5},
    )

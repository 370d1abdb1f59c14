"""The contract of `Algorithm`, held by everything in the registry."""

from __future__ import annotations

import dataclasses
import functools
import json

import jax
import numpy as np
import pytest
from problems import (
    CHOICES,
    CONTINUOUS,
    DIMENSIONS,
    DISCRETE,
    FEATURES,
    PASSIVE_VARIANTS,
    ROWS,
    VARIANTS,
    make_batch,
    small,
    spec_of,
)

from headstart import nets
from headstart.algos import registry
from headstart.errors import UsageError
from headstart.spec import ArraySpec, Spec
from headstart.train import updates

pytestmark = pytest.mark.usefixtures("quick_compilation")

NAMES = sorted(registry.ALGORITHMS)
SAMPLING = {"cql", "calql", "fb", "fql", "hilp", "lapo", "opal", "qc", "qcfql", "rlpd", "sac", "td3bc", "rebrac"}
SAMPLING |= VARIANTS.keys() - PASSIVE_VARIANTS
"""Those whose updates draw random numbers."""
STEPS = 4


class Run:
    """One compiled update, a few steps of it on one batch, and how often it was traced."""

    def __init__(self, name):
        self.algorithm = small(name)
        self.spec = spec_of(self.algorithm)
        self.batch = make_batch(self.spec, chunk=self.algorithm.view().chunk)
        self.traces = 0
        self.init = jax.jit(self.algorithm.init, static_argnums=1)
        self.step = jax.jit(self._update)
        self.states = [self.init(jax.random.key(0), self.spec)]
        self.metrics = []
        for i in range(STEPS):
            state, metrics = self.step(self.states[-1], self.batch, jax.random.key(i))
            self.states.append(state)
            self.metrics.append(metrics)

    def _update(self, state, batch, key):
        self.traces += 1
        return self.algorithm.update(state, batch, key)


@pytest.fixture(params=[*NAMES, *VARIANTS])
def run(request):
    return made(request.param)


@functools.cache
def made(name):
    return Run(name)


def same(a, b):
    return jax.tree.all(jax.tree.map(lambda x, y: (np.asarray(x) == np.asarray(y)).all(), a, b))


def raw(leaf):
    return np.asarray(leaf, np.float64)


# -- states -----------------------------------------------------------------------------------------------------------


def test_components_that_it_does_not_know_stay(run):
    """Such as the frozen features that stand beside an algorithm's own nets."""
    state = run.states[0]
    state = dataclasses.replace(
        state,
        nets=state.nets | {"other": np.zeros(2, np.float32)},
        opt_state=state.opt_state | {"other": np.zeros(2, np.float32)},
    )
    after = jax.eval_shape(run.algorithm.update, state, run.batch, jax.random.key(0))[0]
    assert jax.tree.structure(after) == jax.tree.structure(state)


def test_a_state_is_made_of_arrays_of_settled_types(run):
    for state in run.states[:2]:
        for path, leaf in jax.tree_util.tree_leaves_with_path(state):
            assert isinstance(leaf, jax.Array), path
            # A weak type would turn strong in the first update, which then compiles twice.
            assert not leaf.weak_type, path
            assert leaf.dtype in (np.float32, np.int32), path
    assert run.states[0].step.dtype == np.int32
    assert int(run.states[-1].step) == STEPS


def test_an_update_keeps_structure_shapes_and_types_and_is_traced_once(run):
    form = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type), run.states[0])
    for state in run.states[1:]:
        assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type), state) == form
    # None where another test has traced it before.
    assert run.traces <= 1
    assert run.step._cache_size() == 1


def test_states_can_be_donated(run):
    """No two leaves share memory, so that an update may reuse that of its argument."""
    leaves = jax.tree.leaves(run.states[0])
    assert len({leaf.unsafe_buffer_pointer() for leaf in leaves}) == len(leaves)


def test_trained_components_and_targets_have_known_names(run):
    state = run.states[0]
    known = {"actor", "critic", "flow", "value", "temperature", "multiplier", "high_actor", "dynamics"}
    known |= {"phi", "forward", "backward", "decoder", "prior", "posterior", "inverse", "latent_actor"}
    assert state.opt_state.keys() == state.nets.keys() <= known
    assert state.targets.keys() <= state.nets.keys()
    for name, target in state.targets.items():
        assert same(target, state.nets[name])


# -- updates ----------------------------------------------------------------------------------------------------------


def test_updates_are_a_function_of_their_key(run, request):
    state = run.states[2]
    again, metrics = run.step(state, run.batch, jax.random.key(2))
    assert same(again, run.states[3])
    assert same(metrics, run.metrics[2])
    other, _ = run.step(state, run.batch, jax.random.key(99))
    name = request.node.callspec.params["run"]
    assert same(other, run.states[3]) == (name not in SAMPLING)


def test_initial_states_are_a_function_of_their_key(run):
    assert same(run.init(jax.random.key(0), run.spec), run.states[0])
    assert not same(run.init(jax.random.key(1), run.spec).nets, run.states[0].nets)


@pytest.mark.parametrize("name", ["bc", "calql", "discrete_cql", "fql", "iql", "qc", "rlpd", "td3bc"])
def test_seeds_side_by_side_equal_separate_seeds(name):
    run = made(name)
    keys = jax.random.split(jax.random.key(5), 2)
    batches = [make_batch(run.spec, seed, chunk=run.algorithm.view().chunk) for seed in range(2)]
    separate = [run.step(run.init(key, run.spec), batch, key) for key, batch in zip(keys, batches, strict=True)]

    def one(key, batch):
        return run.algorithm.update(run.algorithm.init(key, run.spec), batch, key)

    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *batches)
    together = jax.jit(jax.vmap(one))(keys, stacked)
    for i in range(2):
        pairs = zip(jax.tree.leaves(together), jax.tree.leaves(separate[i]), strict=True)
        for both, alone in pairs:
            np.testing.assert_allclose(both[i], alone, rtol=2e-4, atol=2e-5)


def test_frozen_components_are_constants(run):
    """Whatever their optimisers hold, nothing of it shows: not in them, and not in an actor that looks at them."""
    state = run.states[0]
    frozen = state.opt_state.keys() - {"actor"}
    pushed = dict(state.opt_state)
    for name in frozen:
        pushed[name] = jax.tree.map(lambda leaf: leaf + 1, pushed[name])
    step = jax.jit(updates.freeze(run.algorithm.update, frozen))
    for _ in range(getattr(run.algorithm, "actor_every", 1)):
        after, metrics = step(state, run.batch, jax.random.key(0))
        other, other_metrics = step(dataclasses.replace(state, opt_state=pushed), run.batch, jax.random.key(0))
        assert same((after.nets, after.targets, metrics), (other.nets, other.targets, other_metrics))
        for name in frozen:
            assert same(after.nets[name], state.nets[name])
            assert same(after.opt_state[name], state.opt_state[name])
            assert name not in state.targets or same(after.targets[name], state.targets[name])
        state = after
    assert "actor" not in state.nets or not same(state.nets["actor"], run.states[0].nets["actor"])


def test_updates_in_bfloat16_are_those_in_float32_but_for_rounding(run):
    step = jax.jit(nets.multiply_in("bfloat16")(run.algorithm.update))
    low, metrics = step(run.states[0], run.batch, jax.random.key(0))
    exact = run.states[1]
    form = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type), exact)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type), low) == form
    for name, expected in run.metrics[0].items():
        np.testing.assert_allclose(metrics[name], expected, rtol=0.05, atol=0.05, err_msg=name)
    differences = 0.0
    for name in exact.opt_state:
        # Adam's moments after one update are the gradients but for their scale.
        found, expected = (
            np.concatenate([raw(leaf).ravel() for leaf in jax.tree.leaves(state.opt_state[name])])
            for state in (low, exact)
        )
        difference = np.linalg.norm(found - expected)
        assert difference <= 0.05 * np.linalg.norm(expected), name
        differences += difference
    assert differences > 0.0


def test_every_trained_component_moves(run):
    first, last = run.states[0], run.states[-1]
    for name in first.nets:
        assert not same(first.nets[name], last.nets[name]), name


def test_targets_move_by_tau(run):
    if not run.states[0].targets:
        return
    tau = run.algorithm.tau
    moves = 0
    for old, new in zip(run.states, run.states[1:], strict=False):
        # TD3 (Fujimoto et al. 2018, algorithm 1): all targets move with the actor and stand in between.
        waiting = registry.name_of(run.algorithm) == "td3bc" and int(new.step) % run.algorithm.actor_every
        for name, target in new.targets.items():
            if waiting:
                assert same(target, old.targets[name])
                continue
            for before, online, after in zip(
                *map(jax.tree.leaves, (old.targets[name], new.nets[name], target)), strict=True
            ):
                expected = (1.0 - tau) * raw(before) + tau * raw(online)
                np.testing.assert_allclose(after, expected, rtol=1e-6, atol=1e-8)
                moves += int((np.asarray(after) != np.asarray(before)).any())
    assert moves


def test_delayed_actors_stand_still_between_their_updates(run):
    every = getattr(run.algorithm, "actor_every", 1)
    for old, new in zip(run.states, run.states[1:], strict=False):
        due = int(new.step) % every == 0
        for name in {"actor", "temperature"} & old.nets.keys():
            assert same(old.nets[name], new.nets[name]) != due, name
            assert same(old.opt_state[name], new.opt_state[name]) != due, name
        if "critic" in old.nets:
            assert not same(old.nets["critic"], new.nets["critic"])


def test_the_reward_reaches_critics_only(run):
    """In one update actor, temperature and value see old (target) critics: another reward must not touch them."""
    # An update at which TD3's actor, which looks at the new critic by design, waits.
    state = run.states[0]
    other = dataclasses.replace(run.batch, reward=run.batch.reward + 1.0)
    usual, _ = run.step(state, run.batch, jax.random.key(0))
    changed, _ = run.step(state, other, jax.random.key(0))
    kind = registry.name_of(run.algorithm)
    # Action-free values bootstrap themselves; contrastive and quasimetric ones know no reward.
    reached = dict.fromkeys(["gcivl", "hiql", "icvf"], "value") | dict.fromkeys(["crl", "fb", "lapo", "opal", "qrl"])
    reached = (reached | {"hilp": "phi"}).get(kind, "critic")
    for name in usual.nets:
        assert same(usual.nets[name], changed.nets[name]) == (name != reached), name


def test_metrics_are_finite_numbers(run):
    names = run.metrics[0].keys()
    assert names
    for metrics in run.metrics:
        assert metrics.keys() == names
        for name, value in metrics.items():
            assert value.shape == (), name
            assert value.dtype == np.float32, name
            assert np.isfinite(value), name


def test_the_loss_falls_on_one_batch(run):
    kind = registry.name_of(run.algorithm)
    other = {"bc": "actor_loss", "fb": "measure_loss", "hilp": "phi_loss", "opal": "elbo_loss", "qrl": "dynamics_loss"}
    other |= {"lapo": "model_loss"}
    other |= dict.fromkeys(["gcivl", "hiql", "icvf"], "value_loss")
    loss = (other | dict.fromkeys(["cql", "crl", "discrete_cql"], "critic_loss")).get(kind, "td_loss")
    state = run.states[0]
    for i in range(300):
        state, metrics = run.step(state, run.batch, jax.random.key(i))
    assert np.isfinite(metrics[loss])
    assert float(metrics[loss]) < float(run.metrics[0][loss]) - 0.03 * abs(float(run.metrics[0][loss]))


# -- policies ---------------------------------------------------------------------------------------------------------


def test_policies_act_within_the_bounds(run):
    if run.spec.action is None:
        pytest.skip("learns no policy")
    observation = np.random.default_rng(1).normal(size=(50, FEATURES)).astype(np.float32) * 10.0
    context = None
    if run.spec.context:
        context = np.random.default_rng(2).normal(size=(50, *run.spec.context.shape)).astype(np.float32)
    act = jax.jit(lambda state, observation, key: run.algorithm.policy(state)(observation, key, context))
    state = run.states[-1]
    still = act(state, observation, None)
    moving = act(state, observation, jax.random.key(0))
    for action in (still, moving):
        if run.spec.action.discrete:
            assert action.shape == (50,)
            assert action.dtype == np.int32
            assert set(np.unique(action)) <= set(range(CHOICES))
        else:
            assert action.shape == (50, DIMENSIONS)
            assert action.dtype == np.float32
            assert np.abs(action).max() <= 1.0
    np.testing.assert_array_equal(still, act(state, observation, None))
    np.testing.assert_array_equal(moving, act(state, observation, jax.random.key(0)))
    others = [act(state, observation, jax.random.key(seed)) for seed in range(1, 4)]
    assert any((other != moving).any() for other in others)


def test_contexts_and_named_observations_are_inputs(run):
    """Goals join the features; the shapes alone are checked, without compiling."""
    observation = (("camera", ArraySpec((2, 2), "uint8")), ("joints", ArraySpec((3,))))
    spec, algorithm = Spec(observation, run.spec.action, ArraySpec((4,))), run.algorithm
    looks = ("observation", "next_observation", "low_goal", "high_target")
    if run.spec.context:
        with pytest.raises(UsageError, match=r"one array of observations, say which .*: camera, joints"):
            algorithm.view().with_context(spec)
        algorithm = dataclasses.replace(algorithm, goal_array="joints", goal_entries=(2, 0))
        spec = algorithm.view().with_context(spec)
        assert spec.context.shape == (algorithm.view().skill or 2,)
        assert (spec.action is None) == (not algorithm.view().actions)
    contexts = np.zeros((ROWS, *spec.context.shape), "f4")
    goals = np.zeros((ROWS, 2), "f4") if run.spec.context else contexts
    zeros = dict.fromkeys(looks, spec.zeros(ROWS)) | dict.fromkeys(("context", "actor_context", "intention"), goals)
    if (chunk := algorithm.view().chunk) > 1:
        zeros["chunk_observation"] = jax.tree.map(lambda x: np.repeat(x[:, None], chunk, 1), spec.zeros(ROWS))
    batch = dataclasses.replace(run.batch, **zeros)

    def whole(key):
        state, _ = algorithm.update(algorithm.init(key, spec), batch, key)
        if spec.action is None and not hasattr(algorithm, "goal_value"):
            return algorithm.features(state, batch.observation)[:, 0]
        if spec.action is None:
            return algorithm.goal_value(state, batch.observation, goals)
        return algorithm.policy(state)(batch.observation, key, contexts)

    shape = () if spec.action is None else spec.action.shape
    assert jax.eval_shape(whole, jax.random.key(0)).shape == (ROWS, *shape)


# -- configurations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_configurations_survive_json_and_are_hashable(name):
    for algorithm in (registry.algorithm(name), small(name)):
        again = registry.from_json(json.loads(json.dumps(registry.to_json(algorithm))))
        assert again == algorithm
        assert hash(again) == hash(algorithm)
    assert registry.algorithm(name, batch_size=7) == dataclasses.replace(registry.algorithm(name), batch_size=7)
    assert hash(registry.algorithm(name, batch_size=7).view())


@pytest.mark.parametrize("name", NAMES)
def test_unknown_fields_and_wrong_values_are_refused(name):
    with pytest.raises(UsageError, match="'batch_sise'; did you mean 'batch_size'?"):
        registry.algorithm(name, batch_sise=1)
    data = registry.to_json(registry.algorithm(name))
    data["config"]["batch_sise"] = data["config"].pop("batch_size")
    with pytest.raises(UsageError, match="'batch_sise'; did you mean 'batch_size'?"):
        registry.from_json(data)
    # Made in Python, not read from JSON: just as strict.
    with pytest.raises(UsageError, match="batch_size: expected int, found 'many'"):
        registry.ALGORITHMS[name](batch_size="many")


def test_unknown_choices_and_silent_combinations_are_refused():
    cql, iql, bc = (registry.ALGORITHMS[name] for name in ("cql", "iql", "bc"))
    with pytest.raises(
        UsageError, match="CQL.regulariser: expected one of 'entropy', 'kl', 'chi_square', found 'chi2'"
    ):
        cql(regulariser="chi2")
    with pytest.raises(UsageError, match="set prior to 'policy' or regulariser to 'entropy'"):
        cql(regulariser="kl", calibrated=True)
    with pytest.raises(UsageError, match="CQL.initial_temperature: expected at least 1e-06, found 0.0"):
        registry.algorithm("cql", initial_temperature=0.0)
    with pytest.raises(UsageError, match="switch one of them off"):
        cql(backup_entropy=True)
    for kind in (iql, bc):
        with pytest.raises(UsageError, match="dropout acts in the gaussian policy only, not in tanh_gaussian"):
            kind(dropout=0.1, policy_kind="tanh_gaussian")
    # Lists and whole numbers take their plain form, so that equal settings are equal keys of the compiler's cache.
    assert hash(cql(actor_widths=[64, 64], weight=1)) == hash(cql(actor_widths=(64, 64), weight=1.0))


def test_presets_answer_unknown_fields():
    with pytest.raises(UsageError, match="unknown field of CQL 'wieght'; did you mean 'weight'?"):
        registry.CalQL(wieght=1.0)
    with pytest.raises(UsageError, match="unknown field of TD3BC 'q_wieght'"):
        registry.ReBRAC(q_wieght=1.0)
    with pytest.raises(UsageError, match="CQL.weight: expected at least 0, found -1"):
        registry.CalQL(weight=-1.0)


def test_an_unknown_algorithm_is_refused():
    with pytest.raises(UsageError, match="unknown algorithm 'calqll'; did you mean 'calql'?"):
        registry.algorithm("calqll")
    with pytest.raises(UsageError, match="unknown algorithm 'iqll'; did you mean 'iql'?"):
        registry.from_json({"name": "iqll", "config": {}})


@pytest.mark.parametrize("name", [name for name in NAMES if registry.algorithm(name).view().actions])
def test_actions_of_the_wrong_kind_are_refused(name):
    algorithm = small(name)
    kind = registry.name_of(algorithm)
    if kind == "discrete_cql":
        with pytest.raises(UsageError, match=r"discrete_cql needs discrete actions, found float32\[2\]; use "):
            algorithm.init(jax.random.key(0), CONTINUOUS)
    elif kind not in ("bc", "gcivl", "hiql"):
        with pytest.raises(UsageError, match="needs continuous actions, found 3 choices; use discrete_cql"):
            algorithm.init(jax.random.key(0), DISCRETE)
    with pytest.raises(UsageError, match="learns from actions, and this data holds none"):
        algorithm.init(jax.random.key(0), dataclasses.replace(CONTINUOUS, action=None))

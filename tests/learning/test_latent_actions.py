"""Latent actions in a small maze: what was done is found without having seen it, and a few labels say what it is.

The maze shows rows and columns, so that an action changes the observation alike everywhere.
"""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

import headstart as hs
from headstart.data import transform
from headstart.data.dataset import Dataset
from headstart.envs import tabular
from headstart.errors import UsageError
from headstart.spec import ArraySpec, Spec

MAZE = tabular.gridworld(4, 4)
PLACES = np.stack(np.divmod(np.arange(16), 4), axis=1).astype(np.float32)
GOING = PLACES[:15]
"""All but the goal, the last one."""
SPEC = Spec((("", ArraySpec((2,))),), ArraySpec((), "int32", categories=4))
LAPO = hs.LAPO(
    latent_size=2, actor_widths=(32,), model_widths=(64,), actor_lr=3e-3, model_lr=3e-3, batch_size=64
)  # fmt: skip


@pytest.fixture(scope="module")
def best():
    """(S, A) which actions are optimal."""
    _, q = MAZE.optimal()
    return q >= q.max(1, keepdims=True) - 1e-9


@pytest.fixture(scope="module")
def walks(best) -> Dataset:
    """Walks of which half of the steps are random, with actions."""
    policy = 0.5 * best / best.sum(1, keepdims=True) + 0.5 * MAZE.uniform
    episodes = MAZE.sample_episodes(policy, 300, 30, np.random.default_rng(0))
    return Dataset.from_episodes([e | {"observations": e["observations"] @ PLACES} for e in episodes], SPEC)


@pytest.fixture(scope="module")
def passive(walks):
    return hs.pretrain(LAPO, transform.drop_actions(walks), steps=1000)


@pytest.fixture(scope="module")
def labelled(walks):
    """About one step in a hundred."""
    return transform.sample_steps(walks, 0.01)


@pytest.fixture(scope="module")
def decoded(passive, labelled):
    return hs.finetune(passive, data=labelled, algorithm=dataclasses.replace(LAPO, decode=True), steps=300)


def test_few_labels_tell_what_was_done_everywhere(walks, labelled, decoded):
    assert labelled.steps < 40
    found = decoded.with_actions(transform.drop_actions(walks))
    rows = walks.transitions
    # Of a step into a wall nothing can say which way it went.
    moved = (walks.observations[rows] != walks.observations[rows + 1]).any(1)
    right = (found.actions[rows] == walks.actions[rows])[moved].mean()
    assert right > 0.9, right
    assert found.spec.action == SPEC.action
    assert found.provenance.transforms[-1].startswith("actions read by lapo")


def test_the_decoded_policy_does_what_the_walks_do_most(best, decoded):
    assert best[np.arange(15), decoded.policy(GOING)].mean() > 0.9


def test_read_actions_serve_other_algorithms(best, walks, decoded):
    read = decoded.with_actions(transform.drop_actions(walks))
    clone = hs.pretrain(hs.BC(actor_widths=(32,), actor_lr=3e-3, batch_size=64), read, steps=500)
    assert best[np.arange(15), clone.policy(GOING)].mean() > 0.9


def test_before_it_is_decoded_it_has_no_policy_but_features(passive, tmp_path, labelled):
    assert not passive.acts
    with pytest.raises(UsageError, match="learned from observations alone, so it has no policy"):
        passive.policy(GOING)
    with pytest.raises(UsageError, match="lapo reads no actions from data; use a model of latent actions that was"):
        passive.with_actions(labelled)
    # Written and read with a self-test of its features.
    again = hs.Artifact.load(passive.save(tmp_path / "model"))
    assert again.digest == passive.digest
    # Its hidden layers start another algorithm's, seen here before they learn.
    clone = hs.finetune(
        passive,
        data=labelled,
        algorithm=hs.BC(actor_widths=(32,), actor_lr=0.0, batch_size=16),
        use="trunks",
        steps=1,
    )
    first = (artifact.state.nets[name].trunk.hidden[0].weight for artifact, name in (
        (clone, "actor"), (passive, "latent_actor")
    ))  # fmt: skip
    np.testing.assert_array_equal(*first)


def test_a_decoder_needs_latent_actions_that_were_learned(passive, labelled):
    """Over fresh ones it would learn to read noise."""
    decoder = dataclasses.replace(LAPO, decode=True)
    with pytest.raises(UsageError, match="does not train inverse and latent_actor; finetune a model that has"):
        hs.pretrain(decoder, labelled, steps=1)
    with pytest.raises(UsageError, match="does not train inverse and latent_actor; finetune a model that has"):
        hs.finetune(None, data=labelled, algorithm=decoder, steps=1)
    actor = {"latent_actor": "latent_actor"}
    with pytest.raises(UsageError, match="does not train inverse; finetune a model that has"):
        hs.finetune(passive, data=labelled, algorithm=decoder, components=actor, steps=1)


def test_decoding_keeps_what_was_learned_from_observations(passive, decoded, tmp_path):
    for name in ("inverse", "latent_actor"):
        same = jax.tree.map(lambda a, b: (a == b).all(), decoded.state.nets[name], passive.state.nets[name])
        assert jax.tree.all(same), name
    again = hs.Artifact.load(decoded.save(tmp_path / "model"))
    np.testing.assert_array_equal(again.policy(GOING), decoded.policy(GOING))

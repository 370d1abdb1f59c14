"""Q-functions that are tables, learned from all steps of the data at once by the losses of `headstart.losses`."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from headstart import losses, optim
from headstart.algorithm import View
from headstart.data.dataset import Dataset
from headstart.data.views import table
from headstart.envs.tabular import TabularMDP


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Steps:
    """What data says of a tabular problem.

    share: (S, A, S) part of the data's steps that went from a state by an action to a state; they sum to 1. reward:
    (S, A). goes_on: (S,) 0 in terminal states, else 1. reference: (S,) mean Monte-Carlo return of the data from each
    state, Cal-QL's V^mu; minus infinity where the data never was.
    """

    share: Any
    reward: Any
    goes_on: Any
    reference: Any

    @classmethod
    def of(cls, mdp: TabularMDP, data: Dataset) -> Steps:
        """data: one-hot observations and discrete actions."""
        columns = table(data, View(discount=mdp.discount, mc_return=True))
        rows = columns.rows
        states, following = (np.asarray(columns.observations[at]).argmax(-1) for at in (rows, rows + 1))
        counts = transitions(mdp, states, columns.actions[rows], following)
        visits, totals = counts.sum((1, 2)), np.zeros(mdp.states)
        np.add.at(totals, states, columns.mc_returns[rows])
        reference = np.where(visits > 0, totals / np.maximum(visits, 1.0), -np.inf)
        return cls(counts / counts.sum(), mdp.reward, (~mdp.terminal).astype(float), reference)

    def mixed(self, counts: np.ndarray) -> Steps:
        """Half of these, half of the steps counted in (S, A, S), as in batches of finetuning; the reference stays."""
        return dataclasses.replace(self, share=0.5 * (self.share + counts / counts.sum()))


def transitions(mdp: TabularMDP, states: Any, actions: Any, following: Any) -> np.ndarray:
    """(S, A, S) how often each step is among n steps (n,)."""
    counts = np.zeros(mdp.transition.shape)
    np.add.at(counts, (states, actions, following), 1.0)
    return counts


def counted(mdp: TabularMDP, episodes: list[dict[str, Any]]) -> np.ndarray:
    """(S, A, S) the steps of episodes as `sample_episodes` gives them."""
    visited = [episode["observations"].argmax(-1) for episode in episodes]
    states, following = (np.concatenate([path[part] for path in visited]) for part in (slice(-1), slice(1, None)))
    return transitions(mdp, states, np.concatenate([episode["actions"] for episode in episodes]), following)


@dataclasses.dataclass(frozen=True)
class Rule:
    """A way of learning. weight: of the conservative term (0: naive Q-learning). calibrated: Cal-QL. exploration: the
    policy's share of actions drawn at random; it acts and is backed up with them, as a stochastic actor is. lr: Adam's.
    """

    weight: float
    calibrated: bool
    exploration: float
    discount: float
    lr: float

    def policy(self, q: Any) -> Any:
        """(..., S, A) probabilities: the best action, but for the exploration."""
        actions = q.shape[-1]
        best = jax.nn.one_hot(q.argmax(-1), actions)
        return (1.0 - self.exploration) * best + self.exploration / actions

    def value(self, q: Any) -> Any:
        """(..., S) the policy's value under Q: what the learner believes."""
        return (self.policy(q) * q).sum(-1)

    def loss(self, q: Any, steps: Steps) -> Any:
        """() the critic's loss of `algos/cql.py` over all steps: squared Bellman error + weight * (logsumexp of Q over
        the actions, each raised to the reference if calibrated, less Q at the data's action)."""
        following = jnp.broadcast_to(self.value(q) * steps.goes_on, steps.share.shape)
        reward = jnp.broadcast_to(steps.reward[..., None], steps.share.shape)
        target = losses.value.bootstrap(reward, jnp.full(steps.share.shape, self.discount), following)
        error = losses.value.squared(jnp.broadcast_to(q[..., None], target.shape), target)
        bounded = losses.conservative.calibrated(q, steps.reference) if self.calibrated else q
        gap = losses.conservative.entropy(bounded)[:, None] - q
        return (steps.share * error).sum() + self.weight * (steps.share.sum(-1) * gap).sum()


@partial(jax.jit, static_argnames="rule")
def begin(rule: Rule, q: Any) -> tuple[Any, Any]:
    """Tables (seeds, S, A) and their optimiser's states."""
    return q, jax.vmap(optim.adam(rule.lr).init)(q)


@partial(jax.jit, static_argnames=("rule", "updates"))
def train(rule: Rule, learner: tuple[Any, Any], steps: Steps, updates: int) -> tuple[Any, Any]:
    """The learner after so many updates on steps with a leading axis of seeds."""
    optimizer = optim.adam(rule.lr)

    def one(learner, steps):
        def update(_, learner):
            q, opt_state = learner
            return optim.step(optimizer, jax.grad(rule.loss)(q, steps), opt_state, q)

        return jax.lax.fori_loop(0, updates, update, learner)

    return jax.vmap(one)(learner, steps)

"""Conservative values of tabular problems by dynamic programming: what CQL and Cal-QL promise, without a network."""

from __future__ import annotations

import dataclasses

import numpy as np

from headstart.data.dataset import Dataset
from headstart.envs.tabular import TabularMDP

TOLERANCE = 1e-8


def estimated(mdp: TabularMDP, data: Dataset) -> tuple[TabularMDP, np.ndarray]:
    """The problem as the data shows it, and how often it shows each state and action: (S, A).

    Transitions and rewards are the data's means; of actions that were never taken the true ones. data: one-hot
    observations; actions as integers, or within [-1, 1].
    """
    rows = data.transitions
    states, following = (np.asarray(data.observations[at]).argmax(-1) for at in (rows, rows + 1))
    actions = data.actions[rows] if data.spec.action.discrete else mdp.bin(data.actions[rows])
    counts, rewards = np.zeros(mdp.reward.shape), np.zeros(mdp.reward.shape)
    transitions = np.zeros(mdp.transition.shape)
    np.add.at(counts, (states, actions), 1.0)
    np.add.at(rewards, (states, actions), data.rewards[rows])
    np.add.at(transitions, (states, actions, following), 1.0)
    seen, least = counts > 0, np.maximum(counts, 1.0)
    return dataclasses.replace(
        mdp,
        transition=np.where(seen[..., None], transitions / least[..., None], mdp.transition),
        reward=np.where(seen, rewards / least, mdp.reward),
    ), counts


def behaviour(counts: np.ndarray) -> np.ndarray:
    """(S, A) probabilities of the policy that collected the data, each count raised by one: no action is impossible."""
    return (counts + 1.0) / (counts + 1.0).sum(1, keepdims=True)


def conservative_values(
    mdp: TabularMDP, policy: np.ndarray, prior: np.ndarray, weight: float, reference: np.ndarray | None = None
) -> np.ndarray:
    """V-hat (S,): values of a policy (S, A) by conservative evaluation, to within `TOLERANCE`.

    prior: (S, A) the behaviour policy. Without reference the fixed point of CQL's iteration (Kumar et al. 2020, eq. 2),
    Q = B Q - weight * (policy / prior - 1). With a reference value (S,) that of Cal-QL's (Nakamoto et al. 2023, eq.
    5.1): where Q would fall below the reference it is not pushed down, only up like all that the data holds, so Q
    stops at the reference if B Q + weight reaches it.
    """
    push = weight * policy / prior
    values = np.zeros(mdp.states)
    while True:
        raised = mdp.backup(values) + weight
        q = raised - push
        if reference is not None:
            q = np.minimum(raised, np.maximum(q, reference[:, None]))
        improved = np.where(mdp.terminal, 0.0, (policy * q).sum(1))
        left = np.abs(improved - values).max() * mdp.discount / (1.0 - mdp.discount)
        values = improved
        if left <= TOLERANCE:
            return values

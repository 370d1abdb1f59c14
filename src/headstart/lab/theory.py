"""CQL's and Cal-QL's promises about a fixed policy, with every quantity of the proofs computed."""

from __future__ import annotations

import dataclasses

import numpy as np

from headstart.data.dataset import Dataset
from headstart.diagnostics.exact import behaviour, conservative_values, estimated
from headstart.envs.tabular import TabularMDP


@dataclasses.dataclass(frozen=True)
class Bounds:
    """Weights alpha above which V-hat <= V^pi holds in every state (Kumar et al. 2020, theorem 3.2), for one data set.

    With the sampling error xi(s) = E_pi[(r-hat - r) + gamma (P-hat - P) V^pi], the penalty
    D(s) = E_pi[pi / behaviour - 1] and M = (I - gamma P-hat^pi)^-1, V-hat - V^pi = M (xi - alpha D).

    least: max of M xi / M D, at least 0: no smaller weight will do. sufficient: max of xi / D, the theorem's argument
    with the real error. probable: the same with xi bounded by Hoeffding's inequality, for those who do not know the
    truth; it holds with probability 1 - delta.
    """

    least: float
    sufficient: float
    probable: float


def bounds(mdp: TabularMDP, data: Dataset, policy: np.ndarray, delta: float = 0.05) -> Bounds:
    """For a policy (S, A) that takes no action which the data lacks, and differs from the behaviour in every state."""
    shown, counts = estimated(mdp, data)
    truth, _ = mdp.evaluate(policy)
    error = (policy * (shown.backup(truth) - mdp.backup(truth))).sum(1)
    penalty = (policy * (policy / behaviour(counts) - 1.0)).sum(1)
    going = ~mdp.terminal
    flow = np.einsum("sa,sat->st", policy, shown.transition)[np.ix_(going, going)]
    accumulated = np.linalg.inv(np.eye(going.sum()) - mdp.discount * flow)
    error, penalty = error[going], penalty[going]
    # The next state's value lies within a range; rewards are certain here.
    reach = mdp.discount * np.ptp(truth) * np.sqrt(np.log(mdp.reward.size / delta) / (2.0 * np.maximum(counts, 1.0)))
    return Bounds(
        least=max(0.0, float(((accumulated @ error) / (accumulated @ penalty)).max())),
        sufficient=max(0.0, float((error / penalty).max())),
        probable=float(((policy * reach).sum(1)[going] / penalty).max()),
    )


def by_weight(
    mdp: TabularMDP, data: Dataset, policy: np.ndarray, weights: np.ndarray, reference: np.ndarray | None = None
) -> np.ndarray:
    """(W, S) V-hat of a policy at each weight: CQL's, or with a reference (S,) Cal-QL's."""
    shown, counts = estimated(mdp, data)
    prior = behaviour(counts)
    return np.array([conservative_values(shown, policy, prior, float(weight), reference) for weight in weights])

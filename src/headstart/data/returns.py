"""Monte-Carlo returns-to-go."""

from __future__ import annotations

import numpy as np

from headstart.errors import UsageError


def pessimistic_tail(lowest_reward: float, discount: float) -> float:
    """min(0, r_min) / (1 - gamma): a lower bound of the value of any state, whatever follows.

    Where every reward is -1 until success this is what Cal-QL's code writes for episodes that fail throughout.

    Raises `UsageError` where there is no bound: rewards below zero that are not discounted.
    """
    if lowest_reward >= 0.0:
        return 0.0
    if discount >= 1.0:
        raise UsageError(
            f"rewards of {lowest_reward} without discount have no lower bound for what follows a cut-off; "
            "set discount below 1"
        )
    return lowest_reward / (1.0 - discount)


def returns_to_go(
    rewards: np.ndarray,
    terminations: np.ndarray,
    episode_start: np.ndarray,
    episode_end: np.ndarray,
    discount: float,
    tail: float,
) -> np.ndarray:
    """(R,) float32 discounted return from every row to its episode's end.

    All arguments are columns of a `Dataset`. An episode that terminated ends in 0; one that was cut off ends in
    `tail`, a lower bound of what would have followed, so that its returns are valid lower bounds too.

    >>> import numpy as np
    >>> ends = np.array([2, 2, 2])
    >>> cut_off = np.zeros(3, bool)
    >>> returns_to_go(np.array([-1.0, -1.0, 0.0]), cut_off, ends * 0, ends, 0.5, tail=-2.0).tolist()
    [-2.0, -2.0, -2.0]
    """
    rows = len(rewards)
    result = np.zeros(rows, np.float64)
    result[episode_end] = tail
    last_steps = np.unique(episode_end) - 1
    result[last_steps[terminations[last_steps]] + 1] = 0.0
    # Backwards over time, all episodes at once: the k-th step before the end of every episode that has one.
    order = np.flatnonzero(episode_end != np.arange(rows))
    remaining = episode_end[order] - order
    by_distance = order[np.argsort(remaining, kind="stable")]
    counts = np.bincount(remaining)
    position = 0
    for count in counts:
        part = by_distance[position : position + count]
        result[part] = rewards[part] + discount * result[part + 1]
        position += count
    return result.astype(np.float32)

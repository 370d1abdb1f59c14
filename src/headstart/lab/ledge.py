"""The lab's problem: a path along a ledge, and data of somebody who walked it and never stepped off."""

from __future__ import annotations

import numpy as np

from headstart.envs.tabular import TabularMDP

FORWARD, BACK, STEP_OFF = 0, 1, 2


def ledge(
    length: int = 12, idle: int = 3, price: float = 16.0, slip: float = 0.1, discount: float = 0.95
) -> TabularMDP:
    """A path of `length` states, then the goal, then the place below the ledge; the last two are terminal.

    Actions: forward, back (with probability `slip` the other of the two happens), step off, and `idle` ones that do
    nothing. Every step costs 1, stepping off costs `price` and ends the episode. Episodes start anywhere in the first
    half of the path. Nothing is worth less than -1 / (1 - discount); walking forward is best while price > -V*.
    """
    states, actions = length + 2, 3 + idle
    goal, below = length, length + 1
    transition, reward = np.zeros((states, actions, states)), np.full((states, actions), -1.0)
    for state in range(length):
        ahead, behind = state + 1, max(state - 1, 0)
        for action, to, otherwise in ((FORWARD, ahead, behind), (BACK, behind, ahead)):
            transition[state, action, to] += 1.0 - slip
            transition[state, action, otherwise] += slip
        transition[state, STEP_OFF, below] = 1.0
        transition[state, STEP_OFF + 1 :, state] = 1.0
    reward[:, STEP_OFF] = -price
    terminal = np.arange(states) >= goal
    start = np.where(np.arange(states) < length // 2, 1.0, 0.0)
    return TabularMDP(transition, np.where(terminal[:, None], 0.0, reward), terminal, start / start.sum(), discount)


def walker(mdp: TabularMDP, forward: float = 0.7) -> np.ndarray:
    """(S, A) who made the data: forward with that probability, else back; never anything else."""
    policy = np.zeros(mdp.reward.shape)
    policy[:, FORWARD], policy[:, BACK] = forward, 1.0 - forward
    return policy

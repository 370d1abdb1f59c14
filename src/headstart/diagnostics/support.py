"""Where the data is: how far states and actions lie from those that it holds."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from headstart.diagnostics.findings import Unsupported
from headstart.diagnostics.statistics import distances
from headstart.diagnostics.subject import Subject

NEIGHBOURS = 10
"""Nearest states of the data whose actions are compared."""
QUANTILE = 0.95
"""Of the data's own distances: what lies beyond counts as outside."""
LEAST = 0.05
"""Distance that never counts, in standard deviations of states and in half ranges of actions."""


class Support:
    """Half of the data's episodes as reference; the steps of the others tell which distances are usual.

    held: (h,) positions among the subject's states of those others; held_states: (h, f) themselves, scaled. own_states:
    (h,) their distances to the reference. state_radius: what 95% of these keep.

    Raises `Unsupported` where there is a single episode.
    """

    def __init__(self, subject: Subject):
        self.subject = subject
        features = subject.features(subject.observations)
        self._mean, self._std = features.mean(0), np.maximum(features.std(0), 1e-3)
        groups = subject.groups(subject.data, subject.rows)
        names = np.random.default_rng(subject.seed).permutation(np.unique(groups))
        if len(names) < 2:
            raise Unsupported("the data is a single episode, which leaves none to compare with")
        inside = np.isin(groups, names[: len(names) // 2])
        self.reference, self.held = np.flatnonzero(inside), np.flatnonzero(~inside)
        states = self.scaled(subject.observations)
        self._states, self.held_states = states[self.reference], states[self.held]
        self.own_states = self.state_distances(self.held_states)
        self.state_radius = max(LEAST, float(np.quantile(self.own_states, QUANTILE)))

    def scaled(self, observations: Any) -> np.ndarray:
        """(n, f) features of raw observations, standardised by the data."""
        return (self.subject.features(observations) - self._mean) / self._std

    def state_distances(self, states: np.ndarray) -> np.ndarray:
        """(n,) from scaled states to the nearest of the reference, in standard deviations a feature."""
        return distances(states, self._states).min(1)

    def action_distances(self, states: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """(n,) from actions to the nearest that the data took in the most similar states, in half ranges an element;
        of discrete actions 0 where it was taken there, else 1."""
        near = np.argsort(distances(states, self._states), axis=1)[:, :NEIGHBOURS]
        taken = self.subject.actions[self.reference][near]
        if self.subject.discrete:
            return (taken != actions[:, None]).all(1).astype(float)
        return np.sqrt(np.square(taken - actions[:, None]).mean(-1)).min(1)

    @functools.cached_property
    def own_actions(self) -> np.ndarray:
        """(h,) distances of the held steps' own actions."""
        return self.action_distances(self.held_states, self.subject.actions[self.held])

    @functools.cached_property
    def action_radius(self) -> float:
        """What 95% of `own_actions` keep."""
        return max(LEAST, float(np.quantile(self.own_actions, QUANTILE)))

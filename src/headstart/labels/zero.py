"""Zero rewards for data that nobody labelled."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from headstart import config
from headstart.data import transform
from headstart.data.dataset import Dataset
from headstart.errors import DataError, UsageError
from headstart.labels.labelled import Labelled


@dataclasses.dataclass(frozen=True)
class Zero:
    """Zero reward (or the lowest) for every step of unlabelled data (Yu et al. 2022, UDS, arXiv:2202.01741).

    Wrong wherever the task pays, and still of use: conservative methods learn from it how the world moves, and from a
    little labelled data (`labelled`, which is joined to it) what is wanted. Where rewards are negative until success,
    zero would be the best of all: take the lowest.
    """

    reward: Literal["zero", "minimum"] = "zero"
    """zero: 0. minimum: the lowest reward of the labelled data."""

    def __post_init__(self):
        config.settle(self)

    def label(self, data: Dataset, labelled: Dataset | None = None) -> Labelled:
        """labelled: data of the task with its rewards, which stays as it is and comes first.

        Raises `UsageError` where the lowest reward is asked for and there is no labelled data, or shapes differ;
        `DataError` where the labelled data holds no rewards.
        """
        if labelled is not None and labelled.rewards is None:
            raise DataError(f"{labelled.provenance.source}: the labelled data holds no rewards")
        if self.reward == "minimum" and labelled is None:
            raise UsageError("the lowest reward is that of labelled data; give some (labelled)")
        rewards = np.zeros(len(data), np.float32)
        warnings = []
        lowest = 0.0 if labelled is None else float(labelled.rewards[labelled.transitions].min())
        if labelled is None:
            warnings.append("every reward is zero now, which teaches nothing but beside data of the task (labelled)")
        if self.reward == "minimum":
            rewards[data.transitions] = lowest
        elif lowest < 0.0:
            warnings.append(
                f"the labelled data's rewards go down to {lowest:g}, so that zero is a good one; take the lowest "
                "(reward minimum)"
            )
        value = "zero" if self.reward == "zero" else f"the lowest of labelled data, {lowest:g}"
        found = data.replace(f"rewards by zero: {value} for every step (UDS)", rewards=rewards, successes=None)
        if labelled is not None:
            found = transform.concatenate([dataclasses.replace(labelled, successes=None), found])
        return Labelled(found, warnings=tuple(warnings))

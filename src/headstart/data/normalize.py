"""Between the units of data and environments and those that algorithms see."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from headstart.data.dataset import Dataset
from headstart.spec import Spec


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Normalizer:
    """observation -> (observation - mean) / std where statistics are kept; actions between bounds and [-1, 1].

    observation_mean, observation_std: like one observation, or None (observations stay as they are).
    action_center, action_scale: (d,), or None where actions are discrete or absent.
    """

    observation_mean: Any = None
    observation_std: Any = None
    action_center: Any = None
    action_scale: Any = None

    @classmethod
    def of(cls, spec: Spec, data: Dataset | None = None) -> Normalizer:
        """Action bounds from the spec; observation statistics from `data` where given.

        Bytes (pixels) are never standardised: their mean counts as 0, their deviation as 1. Standard deviations below
        1e-3 count as 1, so that features that never move in the data do not explode when they do.
        """
        center = scale = None
        if spec.action is not None and not spec.action.discrete:
            ones = np.ones(spec.action.shape, np.float32)
            low, high = -ones, ones
            if spec.action.low is not None:
                low, high = (np.asarray(b, np.float32).reshape(ones.shape) for b in (spec.action.low, spec.action.high))
            # A dimension that cannot move has no scale.
            center, scale = (high + low) / 2.0, np.where(high > low, (high - low) / 2.0, np.float32(1.0))
        if data is None:
            return cls(None, None, center, scale)
        mean = jax.tree.map(_mean, data.observations)
        return cls(mean, jax.tree.map(_std, data.observations, mean), center, scale)

    def with_actions(self, spec: Spec) -> Normalizer:
        """The same statistics of observations beside the bounds of a spec's actions."""
        bounds = Normalizer.of(spec)
        return dataclasses.replace(self, action_center=bounds.action_center, action_scale=bounds.action_scale)

    def extended(self, data: Dataset, weight: float) -> Normalizer:
        """Statistics of the old data and `data` together; weight: rows of the old data. Actions stay as they are."""
        if self.observation_mean is None:
            return self
        share = len(data) / (len(data) + weight)
        new = Normalizer.of(data.spec, data)

        def mean(old, new):
            return ((1.0 - share) * old + share * new).astype(np.float32)

        def std(old_mean, old_std, new_mean, new_std):
            within = (1.0 - share) * np.square(old_std) + share * np.square(new_std)
            return np.sqrt(within + share * (1.0 - share) * np.square(new_mean - old_mean)).astype(np.float32)

        return dataclasses.replace(
            self,
            observation_mean=jax.tree.map(mean, self.observation_mean, new.observation_mean),
            observation_std=jax.tree.map(
                std, self.observation_mean, self.observation_std, new.observation_mean, new.observation_std
            ),
        )

    def observation(self, observation: Any) -> Any:
        """What algorithms see of a batch of observations."""
        if self.observation_mean is None:
            return observation
        # Times the inverse: XLA turns a division by a broadcast array into that, and NumPy must round alike.
        return jax.tree.map(
            lambda x, mean, std: x if x.dtype == np.uint8 else (x - mean) * (1.0 / std),
            observation, self.observation_mean, self.observation_std,
        )  # fmt: skip

    def action(self, action: Any) -> Any:
        """Continuous actions to [-1, 1], cut at the bounds; discrete ones as they are."""
        if self.action_center is None:
            return action
        clip = np.clip if isinstance(action, np.ndarray) else jnp.clip
        return clip((action - self.action_center) * (1.0 / self.action_scale), -1.0, 1.0)

    def raw_action(self, action: Any) -> Any:
        """The inverse of `action`."""
        return action if self.action_center is None else action * self.action_scale + self.action_center


def _slices(column: np.ndarray):
    """The column a slice at a time as float64, so that data on disk need not fit in memory."""
    for start in range(0, len(column), 1 << 16):
        yield np.asarray(column[start : start + (1 << 16)], np.float64)


def _mean(column: np.ndarray) -> np.ndarray:
    if column.dtype == np.uint8:
        return np.zeros(column.shape[1:], np.float32)
    return (sum(part.sum(0) for part in _slices(column)) / len(column)).astype(np.float32)


def _std(column: np.ndarray, mean: np.ndarray) -> np.ndarray:
    if column.dtype == np.uint8:
        return np.ones(column.shape[1:], np.float32)
    variance = sum(np.square(part - mean).sum(0) for part in _slices(column)) / len(column)
    std = np.sqrt(variance).astype(np.float32)
    return np.where(std < 1e-3, 1.0, std).astype(np.float32)

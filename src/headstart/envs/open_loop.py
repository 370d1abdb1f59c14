"""Chunks of actions: decided on at once, executed one after the other without looking in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from headstart.envs.lanes import Lanes


class OpenLoop:
    """An actor that asks for actions, or for chunks of h actions that it executes before it asks again.

    ask: lanes (and whatever else the call was given) -> raw actions (count, *shape), or chunks (count, h, *shape).
    A chunk begins with the episode and again every h decisions, so `Lanes.elapsed` tells where in its chunk a lane is;
    what `ask` gives for lanes in the middle of one is ignored.
    chunks: (count, h, *shape) those under way, all that it remembers; None where actions come one by one.
    """

    def __init__(self, ask: Callable[..., Any]):
        self._ask = ask
        self.chunks: np.ndarray | None = None

    def __call__(self, lanes: Lanes, *more: Any) -> np.ndarray:
        length = 1 if self.chunks is None else self.chunks.shape[1]
        begins = lanes.elapsed % length == 0
        if begins[lanes.running].any():
            actions = np.asarray(self._ask(lanes, *more))
            if actions.ndim != 2 + len(lanes.action_space.shape):
                return actions
            kept = actions if self.chunks is None else self.chunks
            self.chunks = np.where(begins.reshape(-1, *[1] * (actions.ndim - 1)), actions, kept)
        return self.chunks[np.arange(len(lanes)), lanes.elapsed % self.chunks.shape[1]]

"""The contract that every algorithm keeps."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from headstart.batch import Batch
    from headstart.spec import Spec
    from headstart.state import State

Metrics = dict[str, Any]
"""Metric name -> () float array; averaged over the updates between two log steps."""


@dataclasses.dataclass(frozen=True)
class View:
    """What the batches of an algorithm must hold.

    batch_size: rows. discount: gamma per step. n_step: steps summed in `reward`. actions, rewards: whether the
    data must hold them. mc_return, next_action: whether these fields are filled.
    """

    batch_size: int = 256
    discount: float = 0.99
    n_step: int = 1
    actions: bool = True
    rewards: bool = True
    mc_return: bool = False
    next_action: bool = False


class Algorithm(Protocol):
    """A frozen, hashable dataclass of hyperparameters with four pure methods.

    The dataclass is the configuration: static under `jit`, JSON on disk, flags on the command line.
    """

    def view(self) -> View:
        """What its batches must hold."""

    def init(self, key: Any, spec: Spec) -> State:
        """Fresh state. Raises `UsageError` where the algorithm does not fit the spec."""

    def update(self, state: State, batch: Batch, key: Any) -> tuple[State, Metrics]:
        """One gradient step, traceable, without side effects."""

    def policy(self, state: State) -> Any:
        """A pytree that is called as `policy(observation, key=None, context=None) -> action`.

        observation has a leading batch axis; actions are in [-1, 1], or int32. key None: the most likely action.
        """

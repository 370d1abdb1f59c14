"""The state of training: a pytree whose leaves are all arrays."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
    """Everything an algorithm learns; no PRNG key, no static data.

    nets:      component name -> module (`actor`, `critic`, `value`, `temperature`, `multiplier`, ...).
    targets:   component name -> slowly moving copy, of those components that have one.
    opt_state: component name -> optimiser state, of the trained components.
    step:      () int32, number of updates done.
    """

    nets: dict[str, Any]
    targets: dict[str, Any]
    opt_state: dict[str, Any]
    step: Any

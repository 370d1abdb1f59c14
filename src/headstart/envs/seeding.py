"""Randomness that follows from seeds alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np


@contextlib.contextmanager
def global_random(bits: np.random.BitGenerator) -> Iterator[None]:
    """NumPy's global generator draws from `bits` inside the block, and from its own stream again afterwards.

    Some libraries draw start states, goals and plans from `np.random`, where environments that are stepped side by
    side would share one stream. Swapping the generator costs half a microsecond.
    """
    own = np.random.get_bit_generator()
    np.random.set_bit_generator(bits)
    try:
        yield
    finally:
        np.random.set_bit_generator(own)

"""What tests of every kind share."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def quick_compilation():
    """Compile with few optimisations, for tests of many small programs that run only a few times."""
    import jax

    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)

"""What tests of every kind share."""

from __future__ import annotations

from pathlib import Path

import pytest

MAPPINGS = Path("/proc/self/maps")


@pytest.fixture(autouse=True)
def room_for_programs():
    """Forget compiled programs when there are many: each takes several memory mappings, of which Linux grants a process
    65,530, and XLA crashes when they are used up."""
    yield
    if MAPPINGS.exists() and MAPPINGS.read_bytes().count(b"\n") > 30_000:
        import jax

        jax.clear_caches()


@pytest.fixture(scope="module")
def quick_compilation():
    """Compile with few optimisations, for tests of many small programs that run only a few times."""
    import jax

    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)

"""Heavy libraries, imported when first used.

Algorithms are dataclasses whose fields are also command-line flags and JSON: reading those must not cost the
second that JAX takes to import. Modules that only *define* things take their heavy names from here:

    from headstart.lazy import jax, jnp
"""

from __future__ import annotations

import importlib
from types import ModuleType


class _LazyModule(ModuleType):
    def __getattr__(self, name: str):
        module = importlib.import_module(self.__name__)
        value = getattr(module, name)
        # From now on attributes are found without this function.
        self.__dict__.update(module.__dict__)
        return value


def lazy(name: str) -> ModuleType:
    """The module `name`, imported at the first attribute access."""
    return _LazyModule(name)


jax = lazy("jax")
jnp = lazy("jax.numpy")
optax = lazy("optax")
nets = lazy("headstart.nets")
losses = lazy("headstart.losses")
optim = lazy("headstart.optim")
state = lazy("headstart.state")

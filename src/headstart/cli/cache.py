"""Compiled programs are kept between commands: the second run of a setting starts in seconds."""

from __future__ import annotations

import os
import warnings
from pathlib import Path


def keep_compiled_programs() -> None:
    """Tell JAX, before it is imported, to keep what it compiles in the user's cache folder, where that can be written.

    JAX_COMPILATION_CACHE_DIR names another folder; empty, it switches this off.
    """
    # A disk that fills up, or a file of another version, costs time and nothing else.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache", UserWarning)
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "headstart" / "jax"
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ and _writable(folder):
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)

"""The command line in the tests' own process, in an empty folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path_factory):
    """Nothing of the user's is written to; scripts/test names a folder that keeps what is compiled. Commands of other
    processes run this checkout."""
    import headstart

    monkeypatch.setenv("PYTHONPATH", str(Path(headstart.__file__).parents[1]))
    folder = tmp_path_factory.getbasetemp() / "jax"
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", os.environ.get("JAX_COMPILATION_CACHE_DIR", str(folder)))


@pytest.fixture(scope="session")
def walks():
    """Random walks on a chain with goals, without rewards."""
    from headstart.data.dataset import Dataset
    from headstart.envs.collect import collect
    from headstart.envs.controllers import Scripted

    env = "headstart/chain?n=4&continuous=1&steps=15&goals=1"
    episodes = collect(Scripted("random"), env, episodes=60, seed=0)
    return Dataset.from_episodes([{name: walk[name] for name in ("observations", "actions")} for walk in episodes])


@pytest.fixture
def headstart(tmp_path, monkeypatch, capsys):
    """headstart("data", "inspect", ...) -> (exit code, standard output, standard error)."""
    from headstart.cli.main import main

    monkeypatch.chdir(tmp_path)

    def run(*args: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(argument) for argument in args])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run

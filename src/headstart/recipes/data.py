"""Data that recipes make themselves: collected by a scripted controller at first use, and kept in the run's folder."""

from __future__ import annotations

from pathlib import Path

from headstart import api
from headstart.data import sources
from headstart.data.dataset import Dataset
from headstart.envs.collect import collect, to_dataset
from headstart.envs.controllers import Scripted
from headstart.recipes.compare import say


def collected(
    folder: Path,
    env: str,
    controller: str,
    episodes: int,
    *,
    noise: float = 0.0,
    seed: int = 0,
    lanes: int = 10,
    only_successes: bool = False,
) -> Dataset:
    """Episodes of a scripted controller; those that the folder holds already, or new ones, which are kept there.

    noise, seed, lanes, only_successes: see `headstart.envs.collect.collect`.
    """
    if not folder.exists():
        say(f"collecting {episodes} episodes for {folder.name}")
        found = collect(
            Scripted(controller), env, episodes=episodes, seed=seed, noise=noise, lanes=lanes,
            only_successes=only_successes,
        )  # fmt: skip
        how = f"controller {controller}" + (f", noise {noise:g}" if noise else "")
        sources.write(to_dataset(found, env, (how,)), f"arrays:{folder}")
    return api.load(f"arrays:{folder}")

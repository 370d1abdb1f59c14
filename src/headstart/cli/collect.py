"""`headstart data collect`: new data from a scripted controller or a trained policy."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from headstart.errors import UsageError


def collect(
    env: str,
    out: str,
    controller: str | None = None,
    artifact: Path | None = None,
    episodes: int = 100,
    noise: float = 0.0,
    only_successes: bool = False,
    tries: int | None = None,
    greedy: bool = False,
    seed: int = 0,
    lanes: int = 8,
    overwrite: bool = False,
) -> None:
    """Roll out a controller or an artifact's policy and write a Minari data set.

    Args:
        env: Environment, "ID" or "ID?key=value&...": sparse=1 (reward -1 until success, which ends the episode),
            repeat=K (the same action K times), steps=N (time limit), and arguments of the environment.
        out: Where to write: a Minari ID such as maze/random-v0, or a folder.
        controller: Who acts: random, ogbench-maze, ogbench-plan, or your own as module:attribute. Arguments follow a
            question mark: "ogbench-maze?task=0.3".
        artifact: Who acts instead: an artifact's or run's folder; its policy is sampled.
        episodes: How many episodes to write.
        noise: Standard deviation of Gaussian noise on actions, relative to half their range; for discrete actions the
            probability of a random one. Actions are written as executed.
        only_successes: Write only episodes that solve the task.
        tries: With --only-successes, episodes to play at most (default: ten for each one wanted, at least 100).
        greedy: With --artifact, take the most likely action instead of sampling.
        seed: Seed of the first episode; the others count on from it.
        lanes: Environments side by side.
        overwrite: Replace a Minari data set that is there already.
    """
    from headstart.data import minari_format
    from headstart.envs.collect import collect as roll_out
    from headstart.envs.collect import to_dataset

    locator = out.removeprefix("minari:")
    # Looked at before the work, not after it.
    if (place := minari_format.path(locator)).exists() and not overwrite:
        raise UsageError(f"{place} exists; choose another --out or give --overwrite")
    if (controller is None) == (artifact is None):
        raise UsageError("give either --controller NAME or --artifact FOLDER")
    act, low = _controller(controller) if controller else _policy(artifact, env, None if greedy else seed)
    with _progress(episodes) as progress:
        found = roll_out(
            act, env, episodes=episodes, seed=seed, noise=noise, lanes=lanes, only_successes=only_successes,
            tries=tries, progress=progress, low=low,
        )  # fmt: skip
    who = f"controller {controller}" if controller else f"policy of {artifact}, {'greedy' if greedy else 'sampled'}"
    how = (f"{who}, noise {noise:g}, seeds from {seed}", *(["only successes"] if only_successes else []))
    data = to_dataset(found, env, how)
    folder = minari_format.write(data, locator, overwrite, algorithm=who)
    solved = f" ({sum(bool(e['successes'].any()) for e in found):,} solved)" if "successes" in found[0] else ""
    print(f"{data.episodes:,} episodes{solved}, {data.steps:,} steps written to {folder}")
    print(f"next: headstart data inspect {shlex.quote(f'minari:{locator}')}")


def _controller(name: str) -> tuple[Any, None]:
    from headstart.envs.controllers import Scripted

    return Scripted(name), None


def _policy(folder: Path, env: str, seed: int | None) -> tuple[Callable[[Any], Any], Any]:
    """The artifact's policy for the environment, sampled where a seed is given, and what carries out the skills that it
    decides on."""
    from headstart.artifact import Artifact
    from headstart.envs import factory
    from headstart.envs.collect import sampling

    artifact = Artifact.load(folder)
    artifact.env_spec.require(factory.spec(env), str(folder), env)
    return artifact.chunk if seed is None else sampling(artifact.chunk, seed), artifact.skills


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """A bar of the episodes kept so far; nothing where the output is not a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("collecting", total=total)
        yield lambda kept: bar.update(task, completed=kept)

"""Collecting episodes with a policy or a scripted controller."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from headstart.data.dataset import Dataset, Provenance
from headstart.envs import factory
from headstart.envs.controllers import Scripted
from headstart.envs.lanes import Lanes, play
from headstart.envs.open_loop import OpenLoop
from headstart.envs.skills import Held, LowLevel
from headstart.errors import DataError, UsageError


def collect(
    act: Callable[[Any], np.ndarray] | Scripted,
    env: str,
    *,
    episodes: int,
    seed: int,
    noise: float = 0.0,
    lanes: int = 1,
    only_successes: bool = False,
    tries: int | None = None,
    progress: Callable[[int], None] | None = None,
    low: LowLevel | None = None,
) -> list[dict[str, Any]]:
    """Episodes for `Dataset.from_episodes`, in order of their seeds, which are `seed`, `seed + 1`, ...

    act:    observations (lanes, *shape) -> raw environment actions (lanes, *shape) or chunks of h actions
            (lanes, h, *shape), which are executed before it is asked again; or a `Scripted` controller.
    noise:  standard deviation of Gaussian noise added to actions, in units of half the range between their bounds;
            for discrete actions the probability of a uniformly random one. Actions are kept as executed: after
            noise and clipping to the bounds.
    lanes:  episodes played side by side. An episode depends on its seed alone where `act` treats rows alike and
            draws nothing itself.
    only_successes: keep only episodes that solved the task, the first `episodes` of them.
    tries:  with `only_successes`, episodes to play at most (default: ten for each one wanted, at least 100).
    progress: called after every episode with the number of those kept so far.
    low: what carries act's decisions out where these are skills, (lanes, 1, k).

    Raises `UsageError` for unknown environments, where noise needs bounds that are not there, or the environment does
    not tell success; `DataError` where `tries` episodes hold too few successes; `TrainingError` for actions that are
    not finite.
    """
    if episodes < 1 or noise < 0:
        raise UsageError(f"expected at least one episode and no negative noise, found {episodes} and {noise}")
    limit = (tries or max(10 * episodes, 100)) if only_successes else episodes
    kept: dict[int, dict[str, Any]] = {}

    def queue() -> Iterator[int]:
        # Seeds are handed out in order, so the first successes are the same however many lanes there are.
        for i in range(limit):
            if len(kept) < episodes or not only_successes:
                yield seed + i

    with Lanes(env, min(lanes, episodes)) as opened:
        if isinstance(act, Scripted):
            actor = act
        elif low is None:
            actor = OpenLoop(lambda opened: act(opened.observations))
        else:
            actor = Held(lambda opened: act(opened.observations)[:, 0], low)
        actor = _Executed(actor, opened, noise)
        played = 0
        for episode in play(opened, actor, [queue()], record=True):
            played += 1
            if only_successes and episode.success is None:
                raise UsageError(f"{env} does not tell success (no such key in its step info); collect all episodes")
            if episode.success or not only_successes:
                kept[episode.seed] = episode.record
            if progress:
                progress(len(kept))
    if len(kept) < episodes:
        raise DataError(
            f"{env}: {len(kept)} of {played} episodes succeeded, {episodes} were asked for; "
            "allow more tries, use a better policy or less noise, or keep the failures"
        )
    return [kept[key] for key in sorted(kept)[:episodes]]


def sampling(policy: Callable[..., Any], seed: int) -> Callable[[Any], np.ndarray]:
    """An `act` that samples from `policy(observations, key=key)`, with a new key every step.

    The same seed gives the same actions as long as the number of lanes is the same.
    """
    import jax

    steps, first = itertools.count(), jax.random.key(seed)
    return lambda observations: np.asarray(policy(observations, key=jax.random.fold_in(first, next(steps))))


def to_dataset(episodes: list[dict[str, Any]], env: str, how: tuple[str, ...]) -> Dataset:
    """Collected episodes as data with the environment's spec; `how` says by what they were collected."""
    provenance = Provenance(source=f"collected in {env}", environment=env, transforms=how)
    return Dataset.from_episodes(episodes, factory.spec(env), provenance)


class _Executed:
    """An actor whose actions are disturbed and clipped as the environment will execute them."""

    def __init__(self, actor: Callable[[Lanes], np.ndarray], lanes: Lanes, noise: float):
        self._actor, self._noise = actor, noise
        self._discrete = hasattr(lanes.action_space, "n")
        if not self._discrete:
            self._low, self._high = lanes.action_space.low, lanes.action_space.high
            if noise and not (np.isfinite(self._low).all() and np.isfinite(self._high).all()):
                raise UsageError(f"{lanes.name}: noise is relative to the bounds of actions, and there are none")
        self._rngs: dict[int, np.random.Generator] = {}

    def __call__(self, lanes: Lanes) -> np.ndarray:
        space = lanes.action_space
        actions = np.array(self._actor(lanes))
        if actions.shape != (len(lanes), *space.shape):
            raise UsageError(
                f"{lanes.name}: the policy's actions have shape {actions.shape}, expected {(len(lanes), *space.shape)}"
            )
        for lane in np.flatnonzero(lanes.running):
            if lanes.elapsed[lane] == 0:
                self._rngs[lane] = np.random.default_rng([lanes.seeds[lane], 0])
            rng = self._rngs[lane]
            if self._discrete:
                if rng.uniform() < self._noise:
                    actions[lane] = rng.integers(space.n)
                continue
            if self._noise:
                actions[lane] += self._noise * (self._high - self._low) / 2.0 * rng.standard_normal(space.shape)
            actions[lane] = np.clip(actions[lane], self._low, self._high)
        return actions if self._discrete else actions.astype(space.dtype)

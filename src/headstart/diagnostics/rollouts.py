"""Episodes of the policy, as long as the discount lets them count."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from headstart.data.dataset import Dataset
from headstart.data.returns import returns_to_go
from headstart.envs.collect import to_dataset
from headstart.envs.lanes import Actor, Lanes, play
from headstart.envs.names import parse

SEED = 3_000_000
"""Of the first episode: apart from those of training and evaluation."""
LANES = 10
REST = 0.05
"""Share of the discount that is left when returns are cut."""
LONGEST = 1000


def horizon(discount: float) -> int:
    """Decisions H after which what follows counts for `REST` at most (but no more than `LONGEST`)."""
    return LONGEST if discount >= 1.0 else min(LONGEST, math.ceil(math.log(REST) / math.log(max(discount, 1e-6))))


def lasting(env: str, decisions: int) -> str:
    """The environment with that time limit in place of its own: values know no time limit."""
    parse(env)
    name, _, query = env.partition("?")
    kept = [item for item in query.split("&") if item and not item.startswith("steps=")]
    return f"{name}?{'&'.join([*kept, f'steps={decisions}'])}"


Record = dict[str, Any]
"""An episode for `Dataset.from_episodes`, and the environment's `seed`."""


@dataclasses.dataclass(frozen=True, eq=False)
class Experience:
    """Episodes of one member's policy.

    data: with rewards as the algorithm learns from them. seeds: (E,) of the episodes. rows: (n,) rows of the first H
    decisions whose return is complete but for `REST` of the discount. returns: (R,) discounted returns-to-go, with the
    pessimistic tail where an episode was cut off.
    """

    data: Dataset
    seeds: np.ndarray
    rows: np.ndarray
    returns: np.ndarray


def episodes_of(actor: Actor, env: str, members: int, episodes: int, seed: int, discount: float) -> list[list[Record]]:
    """Episodes of every member's policy, twice the horizon long at most, in the order of their seeds.

    actor: for lanes that the members share evenly.
    """
    width = max(1, min(LANES, episodes))
    found: list[list[Record]] = [[] for _ in range(members)]
    with Lanes(lasting(env, 2 * horizon(discount)), members * width) as lanes:
        first = SEED + seed
        queues = [iter(range(first, first + episodes)) for _ in range(members)]
        for played in play(lanes, actor, queues, record=True):
            found[played.lane // width].append(played.record | {"seed": played.seed})
    return [sorted(records, key=lambda record: record["seed"]) for records in found]


def experience(
    records: list[Record], env: str, transform: Callable[[Dataset], Dataset], discount: float, tail: float
) -> Experience:
    """Episodes of one member. transform: of rewards. tail: value of what follows a cut-off, a lower bound."""
    data = transform(to_dataset(records, env, ("the diagnosed policy",)))
    returns = returns_to_go(data.rewards, data.terminations, data.episode_start, data.episode_end, discount, tail)
    steps, ahead = data.transitions, horizon(discount)
    complete = data.terminations[data.episode_end[steps] - 1] | (data.episode_end[steps] - steps >= ahead)
    rows = steps[complete & (steps - data.episode_start[steps] < ahead)]
    return Experience(data, np.array([record["seed"] for record in records]), rows, returns)

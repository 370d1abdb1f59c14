"""Episodes of the policy, as long as the discount lets them count, and what other first actions would have led to."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from headstart.artifact import Artifact
from headstart.data.columns import map_arrays
from headstart.data.dataset import Dataset
from headstart.data.returns import returns_to_go
from headstart.diagnostics.findings import Unsupported
from headstart.envs.collect import to_dataset
from headstart.envs.lanes import Lanes, play
from headstart.envs.names import parse
from headstart.train import acting
from headstart.train.evaluate import side_by_side

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


def episodes_of(artifact: Artifact, env: str, episodes: int, seed: int, sample: bool) -> list[list[dict[str, Any]]]:
    """Records (`Dataset.from_episodes`, and `seed`) of every member's policy, twice the horizon long at most."""
    members, width = artifact.members, max(1, min(LANES, episodes))
    draw = acting.drawn_keys(seed, members) if sample else lambda: None
    actor = side_by_side(lambda observations: artifact.act(observations, keys=draw()), members)
    found: list[list[dict[str, Any]]] = [[] for _ in range(members)]
    decisions = 2 * horizon(artifact.algorithm.view().discount)
    with Lanes(lasting(env, decisions), members * width) as lanes:
        first = SEED + seed
        queues = [iter(range(first, first + episodes)) for _ in range(members)]
        for played in play(lanes, actor, queues, record=True):
            found[played.lane // width].append(played.record | {"seed": played.seed})
    return [sorted(records, key=lambda record: record["seed"]) for records in found]


def experience(records: list[dict[str, Any]], env: str, transform: Any, discount: float, tail: float) -> Experience:
    """transform: `Dataset -> Dataset`, of rewards. tail: value of what follows a cut-off, a lower bound."""
    data = transform(to_dataset(records, env, ("the diagnosed policy",)))
    returns = returns_to_go(data.rewards, data.terminations, data.episode_start, data.episode_end, discount, tail)
    steps, ahead = data.transitions, horizon(discount)
    complete = data.terminations[data.episode_end[steps] - 1] | (data.episode_end[steps] - steps >= ahead)
    rows = steps[complete & (steps - data.episode_start[steps] < ahead)]
    return Experience(data, np.array([record["seed"] for record in records]), rows, returns)


def returns_after(
    artifact: Artifact, env: str, past: list[Experience], rows: np.ndarray, actions: np.ndarray,
    reward: Any, tail: float, seed: int, sample: bool,
) -> np.ndarray:  # fmt: skip
    """(S, m) discounted returns of taking `actions` at rows of the past, and following the policy from then on.

    rows: (S, m) of each member's experience. actions: (S, m, ...) raw. reward: function of a raw reward. States are
    brought back by replaying an episode's actions from its seed.

    Raises `Unsupported` where an environment does not come back that way.
    """
    discount = artifact.algorithm.view().discount
    members, count = rows.shape
    ahead = horizon(discount)
    draw = acting.drawn_keys(seed + 1, members) if sample else lambda: None
    actor = side_by_side(lambda observations: artifact.act(observations, keys=draw()), members)
    with Lanes(lasting(env, 2 * ahead), members * count) as lanes:
        for lane, row in enumerate(rows.ravel()):
            _bring_back(lanes, lane, past[lane // count], int(row))
        total, factor = np.zeros(len(lanes)), np.ones(len(lanes))
        terminated = np.zeros(len(lanes), bool)
        chosen = actions.reshape(members * count, *actions.shape[2:])
        for _ in range(ahead):
            for lane, gained, ended, _ in lanes.step(chosen):
                total[lane] += factor[lane] * reward(gained)
                factor[lane] *= discount
                terminated[lane] = ended
            if not lanes.running.any():
                break
            chosen = actor(lanes)
    return (total + np.where(terminated, 0.0, factor * tail)).reshape(members, count)


def _bring_back(lanes: Lanes, lane: int, past: Experience, row: int) -> None:
    """Reset a lane to the episode of `row`, and step to it."""
    data = past.data
    start = int(data.episode_start[row])
    lanes.reset(lane, int(past.seeds[np.searchsorted(data.starts, start)]))
    for before in range(start, row):
        lanes.step_lane(lane, data.actions[before])
    recorded = map_arrays(lambda column: column[row], data.observations)
    found = lanes.observation(lane)
    pairs = [(recorded[name], found[name]) for name in found] if isinstance(found, dict) else [(recorded, found)]
    if not all(np.allclose(a, b, atol=1e-5) for a, b in pairs):
        raise Unsupported(f"{lanes.name} does not come back to a state when its actions are replayed from the seed")

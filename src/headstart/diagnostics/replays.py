"""What other actions would have led to: states are brought back by replaying an episode's actions from its seed."""

from __future__ import annotations

import numpy as np

from headstart.data.columns import map_arrays, named_arrays
from headstart.diagnostics.findings import Unsupported
from headstart.diagnostics.rollouts import Experience, horizon, lasting
from headstart.diagnostics.subject import Subject
from headstart.envs.lanes import Lanes


def returns_after(subject: Subject, rows: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """(S, m) discounted returns of taking `actions`, and following each member's policy from then on.

    rows: (S, m) of the members' experience. actions: (S, m, ...) in [-1, 1], or integers. Where the horizon cuts an
    episode off, the least that can follow counts.

    Raises `Unsupported` where an environment does not come back to its states.
    """
    members, count = rows.shape
    ahead = horizon(subject.discount)
    actor = subject.actor()
    with Lanes(lasting(subject.env, 2 * ahead), members * count) as lanes:
        for lane, row in enumerate(rows.ravel()):
            _bring_back(lanes, lane, subject.experience[lane // count], int(row))
        total, factor = np.zeros(len(lanes)), np.ones(len(lanes))
        terminated = np.zeros(len(lanes), bool)
        chosen = subject.artifact.normalizer.raw_action(actions)
        chosen = chosen.reshape(members * count, *chosen.shape[2:])
        for _ in range(ahead):
            for lane, reward, ended, _ in lanes.step(chosen):
                total[lane] += factor[lane] * subject.reward(reward)
                factor[lane] *= subject.discount
                terminated[lane] = ended
            if not lanes.running.any():
                break
            chosen = actor(lanes)
    return (total + np.where(terminated, 0.0, factor * subject.tail)).reshape(members, count)


def _bring_back(lanes: Lanes, lane: int, past: Experience, row: int) -> None:
    """Reset a lane to the episode of `row`, and step to it."""
    data = past.data
    start = int(data.episode_start[row])
    lanes.reset(lane, int(past.seeds[np.searchsorted(data.starts, start)]))
    for before in range(start, row):
        lanes.step_lane(lane, data.actions[before])
    recorded = named_arrays(map_arrays(lambda column: column[row], data.observations))
    found = dict(named_arrays(lanes.observation(lane)))
    if not all(np.allclose(found[name], column, atol=1e-5) for name, column in recorded):
        raise Unsupported(f"{lanes.name} does not come back to a state when its actions are replayed from the seed")

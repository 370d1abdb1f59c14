"""Reference returns of D4RL (Fu et al. 2020, arXiv:2004.07219; d4rl/infos.py), by which scores are normalised."""

from __future__ import annotations

from headstart.envs.names import parse

LOCOMOTION = {
    "HalfCheetah": (-280.178953, 12135.0),
    "Hopper": (-20.272305, 3234.3),
    "Walker2d": (1.629008, 4592.3),
    "Ant": (-325.6, 3879.7),
}

REFERENCES = {f"{name}-v{version}": pair for name, pair in LOCOMOTION.items() for version in (2, 3, 4)} | {
    # Gymnasium-Robotics' rewards differ from D4RL's by the sign of a small distance: less than a point of the score.
    "AdroitHandDoor-v1": (-56.512833, 2880.5693087298737),
    "AdroitHandHammer-v1": (-274.856578, 12794.134825156867),
    "AdroitHandRelocate-v1": (-6.425911, 4233.877797728884),
}
"""Environment -> returns of a random policy and of an expert.

Absent where D4RL's task is another: AdroitHandPen lasts twice as long here, the mazes and the kitchen have other
rewards.
"""


def reference(env: str) -> tuple[float, float] | None:
    """Returns of a random policy and of an expert; None where there are none, as for options that change the return."""
    name, arguments = parse(env)
    return None if arguments else REFERENCES.get(name)

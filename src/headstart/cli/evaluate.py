"""`headstart evaluate`: play episodes with an artifact's policy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from headstart.cli import outcome, parse
from headstart.errors import UsageError


def evaluate(
    artifact: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="ARTIFACT")],
    env: str | None = None,
    episodes: int = 100,
    seed: int = 0,
    sample: bool = False,
    json: Path | None = None,
) -> None:
    """Play episodes with the policy of every training seed, and print their mean returns with 95% intervals.

    Args:
        artifact: Folder of an artifact or of the run that made it.
        env: Environment, "ID" or "ID?key=value&..."; by default the one it was trained or evaluated in.
        episodes: Episodes of each training seed.
        seed: Seed of the first episode; the others count on from it.
        sample: Draw actions instead of taking the most likely ones.
        json: Also write every episode to this new file.
    """
    # Looked at before the work, not after it.
    if json is not None and (json.exists() or not json.parent.is_dir()):
        raise UsageError(f"{json} exists or its folder does not; choose another file")
    from headstart import api

    evaluation = api.evaluate(artifact, env=env, episodes=episodes, seed=seed, sample=sample)
    outcome.show(evaluation)
    if json is not None:
        from json import dumps

        json.write_text(dumps(evaluation.to_json(), indent=2) + "\n")


def main(args: list[str]) -> None:
    parse.call(evaluate, args, "headstart evaluate")

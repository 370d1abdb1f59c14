"""`headstart evaluate`: play episodes with an artifact's policy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from headstart.cli import outcome, parse
from headstart.cli import prompt as prompts
from headstart.errors import UsageError


def evaluate(
    artifact: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="ARTIFACT")],
    env: str | None = None,
    episodes: int = 100,
    seed: int = 0,
    sample: bool = False,
    json: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None,
    video: Annotated[Path | None, tyro.conf.arg(metavar="FILE.mp4")] = None,
    prompt: Literal["goal"] | None = None,
    prompt_rewards: Annotated[Path | None, tyro.conf.arg(metavar="FILE.npz")] = None,
    task: str | None = None,
) -> None:
    """Play episodes with the policy of every training seed, and print their mean returns with 95% intervals; the
    success rate and D4RL's normalised score where the task has them.

    Args:
        artifact: Folder of an artifact or of the run that made it.
        env: Environment, "ID" or "ID?key=value&..."; by default the one it was trained or evaluated in.
        episodes: Episodes of each training seed.
        seed: Seed of the first episode; the others count on from it.
        sample: Draw actions instead of taking the most likely ones.
        json: Write every episode to this new file as well, as one JSON object.
        video: Show the best, the median and the worst episode in this new file (extra video).
        prompt: Tell a model of skills what to do: goal, the one that the environment sets.
        task: Of a model that acts on tasks, the one to act on; by default the one it was trained for last.
        prompt_rewards: Tell it by examples in this file: observations (n, ...) and the rewards (n,) of being there.
    """
    # Looked at before the work, not after it.
    if json is not None and json.exists():
        raise UsageError(f"{json} exists; choose another file for --json")
    if json is not None and not json.absolute().parent.is_dir():
        raise UsageError(f"{json.parent}, the folder of --json, does not exist; make it or choose another")
    from headstart import api

    model = prompts.load(artifact, prompt, prompt_rewards)
    evaluation = api.evaluate(model, env=env, episodes=episodes, seed=seed, sample=sample, video=video, task=task)
    outcome.show(evaluation, f", by {'sampled' if sample else 'the likeliest'} actions")
    if video is not None:
        print(f"video: {video}")
    if json is not None:
        from json import dumps

        json.write_text(dumps(evaluation.to_json(), indent=2) + "\n")


def main(args: list[str]) -> None:
    parse.call(evaluate, args, "headstart evaluate")

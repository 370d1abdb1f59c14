"""`headstart diagnose`: what an artifact's values and actions are worth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from headstart.cli import parse
from headstart.errors import UsageError


def diagnose(
    artifact: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="ARTIFACT")],
    data: str,
    env: str | None = None,
    out: Path | None = None,
    online: str | None = None,
    position: tuple[int, int] | None = None,
    sample: bool = False,
    states: int = 2000,
    episodes: int = 20,
    seed: int = 0,
    overwrite: bool = False,
) -> None:
    """Look at what a model has learned beside data, and beside what really happens in an environment: calibration,
    conservatism, shift, adversarial actions, finetuning, the landscape of values. Writes diagnose.json and figures.

    Args:
        artifact: Folder of an artifact or of the run that made it; a run also tells how finetuning went.
        data: Where the data is, as for pretraining; episodes that it was not trained on tell more.
        env: Environment, "ID" or "ID?key=value&...", in which the policy acts; without it only the data counts.
        out: Folder for diagnose.json and figures; by default `diagnose` in the folder of the run.
        online: Where data is that was collected while it was finetuned, in order.
        position: Which two numbers of an observation are a position, counted from 0, for the landscape of values.
        sample: The policy draws its actions instead of taking the most likely ones.
        states: How many states of the data are looked at, at most.
        episodes: How many episodes each training seed plays in the environment.
        seed: Of all that is drawn.
        overwrite: Replace the findings that are in the folder.
    """
    from headstart.diagnostics.findings import require_free

    # Looked at before the work, not after it.
    if out is None:
        if not (artifact / "config.json").exists():
            raise UsageError(f"{artifact} is not the folder of a run; say where the findings go (--out)")
        out = artifact / "diagnose"
    require_free(out, overwrite)
    from headstart.diagnostics.diagnose import diagnose

    found = diagnose(
        artifact, data, env, online=online, position=position, states=states, episodes=episodes, sample=sample,
        seed=seed,
    )  # fmt: skip
    print(found.describe())
    print(f"findings and figures: {found.save(out, overwrite)}")


def main(args: list[str]) -> None:
    parse.call(diagnose, args, "headstart diagnose")

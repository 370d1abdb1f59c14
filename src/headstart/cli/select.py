"""`headstart select`: which of several models is the better one, without an environment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from headstart.cli import parse
from headstart.errors import UsageError


def select(
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...")],
    data: str,
    by: str = "fqe",
    each_seed: bool = False,
    steps: int = 5_000,
    discount: float | None = None,
    states: int = 20_000,
    seed: int = 0,
    json: Path | None = None,
) -> None:
    """Rank artifacts by what data says of them, without an environment, and say how sure that is.

    Args:
        runs: Folders of artifacts, or of the runs that made them; at least two candidates.
        data: Where the data is, as for pretraining; best are episodes that none of them learned from.
        by: fqe (fitted Q evaluation), value (its own Q at initial states), td_error, soft_opc (needs successes and
            failures) or behaviour (likeness to the data's actions).
        each_seed: Rank every training seed by itself instead of the mean over an artifact's seeds.
        steps: Gradient steps of fitted Q evaluation, for each training seed.
        discount: Of fitted Q evaluation; by default that of the artifacts.
        states: How many states of the data the other criteria look at, at most.
        seed: Of all that is drawn.
        json: Also write the ranking to this new file.
    """
    # Looked at before the work, not after it.
    if json is not None and (json.exists() or not json.parent.is_dir()):
        raise UsageError(f"{json} exists or its folder does not; choose another file")
    from headstart.selection.select import select

    found = select(runs, data, by=by, each_seed=each_seed, steps=steps, discount=discount, states=states, seed=seed)
    print(found.describe())
    if json is not None:
        from json import dumps

        json.write_text(dumps(found.to_json(), indent=2) + "\n")


def main(args: list[str]) -> None:
    parse.call(select, args, "headstart select")

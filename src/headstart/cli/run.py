"""`headstart run`: named, complete experiments."""

# No `from __future__ import annotations`: the types below are made while the program runs.
import importlib
from pathlib import Path

from headstart.cli import parse
from headstart.recipes import RECIPES


def main(args: list[str]) -> None:
    listed = bool(args) and args[0] in parse.HELP
    about = {name: parse.first_line(recipe(name)) if listed else "" for name in RECIPES}
    name, rest = parse.choose(args, "headstart run", "recipe", about)
    from tyro.conf import OmitArgPrefixes as Flat

    kind = recipe(name)

    def run(*, out: Path, resume: bool = False, sink: tuple[str, ...] = (), settings: Flat[kind]) -> None:
        """Run a named, complete experiment.

        Args:
            out: Folder for everything that the experiment writes; what is there is never overwritten.
            resume: Go on with the experiment in --out, started with the same settings, where it stopped.
            sink: Where the numbers go besides the runs' files: tensorboard, wandb, mlflow (extras of these names).
        """
        settings.run(out, resume, sink)

    parse.call(run, rest, f"headstart run {name}")


def recipe(name: str) -> type:
    """The class of a recipe."""
    module, _, attribute = RECIPES[name].partition(":")
    return getattr(importlib.import_module(module), attribute)

"""`headstart lab`: small exact studies of why things happen."""

# No `from __future__ import annotations`: the types below are made while the program runs.
import importlib
from pathlib import Path

from headstart.cli import parse
from headstart.lab import LABS


def main(args: list[str]) -> None:
    listed = bool(args) and args[0] in parse.HELP
    about = {name: parse.first_line(lab(name)) if listed else "" for name in LABS}
    name, rest = parse.choose(args, "headstart lab", "study", about)
    from tyro.conf import OmitArgPrefixes as Flat

    kind = lab(name)

    def study(*, out: Path | None = None, settings: Flat[kind]) -> None:
        """Run a small exact study and print what it found.

        Args:
            out: Folder for its figure and numbers; files of these names are replaced. None: nothing is written.
        """
        settings.run(out)

    parse.call(study, rest, f"headstart lab {name}")


def lab(name: str) -> type:
    """The class of a study."""
    module, _, attribute = LABS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)

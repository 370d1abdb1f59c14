"""`headstart`: the verbs, and how failures are told."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import textwrap
from collections.abc import Sequence

from headstart.cli import parse
from headstart.cli.cache import keep_compiled_programs
from headstart.errors import HeadstartError

VERBS = {
    "advise": "Look at data and recommend recipes, with commands and what they cost here",
    "run": "Run a named, complete experiment: data, training, table and picture",
    "pretrain": "Train an algorithm on data that does not grow",
    "finetune": "Adapt an artifact to a task: online in an environment, on data, or both",
    "evaluate": "Play episodes with an artifact's policy",
    "diagnose": "Look at what an artifact's values and actions are worth",
    "select": "Rank artifacts by what data says of them, without an environment",
    "watch": "Show curves of runs in the terminal while they go on",
    "report": "Show what runs did: one page of curves, tables, diagnostics and settings",
    "lab": "Run a small exact study of why things happen: values that mislead, finetuning that dips",
    "data": "Inspect, convert and collect data",
    "list": "Name what there is: algorithms, recipes, formats, controllers, environments",
}
"""Each is a module beside this one with `main(args)`, imported when it is asked for."""

HELP = f"""usage: headstart VERB [OPTIONS]

Pretrain on a fixed pile of experience, then finetune to a good agent with little more of it.

{parse.listing(VERBS)}

  --help     Explain; also after a verb: headstart pretrain calql --help
  --version  Print the version
  --debug    With any verb: show where an error comes from

  headstart pretrain calql --data minari:D4RL/door/human-v2 --steps 20000 --out runs/door
  headstart finetune runs/door --env AdroitHandDoor-v1 --steps 50000 --out runs/door-online
  headstart evaluate runs/door-online --env AdroitHandDoor-v1 --episodes 100"""


def main(args: Sequence[str] | None = None) -> int:
    """Run a command line (without the program's name) and return its exit code: 0, 1 for failures, 2 for mistakes in
    what was asked for, 128 and its number after a signal that asked to stop (Ctrl-C: 130, SIGTERM: 143)."""
    own_process = args is None
    args = list(sys.argv[1:] if own_process else args)
    debug = "--debug" in args
    if own_process and not debug:
        # Threads of libraries that outlive a failed write would complain at length after it has been told.
        sys.unraisablehook = lambda _: None
    args = [argument for argument in args if argument != "--debug"]
    try:
        _dispatch(args)
        sys.stdout.flush()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except BrokenPipeError:
        # Whoever read the output has left; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (HeadstartError, OSError, KeyboardInterrupt) as error:
        if debug:
            raise
        return _tell(error)
    return 0


def _dispatch(args: list[str]) -> None:
    if not args or args[0] in parse.HELP:
        print(HELP)
    elif args[0] == "--version":
        from headstart import __version__

        print(f"headstart {__version__}")
    else:
        keep_compiled_programs()
        verb, rest = parse.choose(args, "headstart", "verb", VERBS)
        importlib.import_module(f"headstart.cli.{verb}").main(rest)


def _tell(error: BaseException) -> int:
    """Print what went wrong to standard error; the exit code."""
    if isinstance(error, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return 130
    if isinstance(error, HeadstartError):
        text, code = str(error), error.exit_code
    else:
        place = f"{error.filename}: " if error.filename else ""
        text, code = f"{place}{error.strerror or error}", 1
    # A run that was asked to stop did not fail.
    text = text if code > 128 else f"error: {text}"
    if sys.stderr.isatty():
        width = min(120, shutil.get_terminal_size().columns)
        text = textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)
    print(text, file=sys.stderr)
    return code

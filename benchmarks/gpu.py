"""Everything that is to be measured on a machine with a GPU, in parts of less than ten minutes each.

    python benchmarks/gpu.py list                          # the parts, in the order in which they matter
    python benchmarks/gpu.py seeds --out gpu               # one of them
    python benchmarks/gpu.py all --out gpu --tiny          # whether all parts run at all, on any machine

Results lie in the folder: JSON, tables as `PART.md`, pictures, and the runs of the door. A part that needs longer stops
after `--minutes`, keeps what it has and goes on when it is asked for again; it says so and exits with 130.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
HEADSTART = (sys.executable, "-c", "import sys; from headstart.cli.main import main; sys.exit(main())")
GRACE = 60.0
"""Seconds that a part has for its last checkpoint."""


@dataclasses.dataclass(frozen=True)
class Part:
    """What it shows; its command, to which `--out` or `--docs` are added; and what is added with `--tiny`."""

    shows: str
    command: tuple[str, ...]
    tiny: tuple[str, ...] = ()


def script(name: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, str(HERE / name), *arguments)


def parts(out: Path, tiny: bool, demonstrations: str | None) -> dict[str, Part]:
    """Name -> part, the most telling first."""
    growth = ("--out", str(out / "growth.json"), "--docs", str(out))
    small = ("--tiny", "--seconds", "0.2")
    found = {
        "seeds": Part(
            "1 to 32 training seeds in one program",
            script("growth.py", "--studies", "seeds", "--seeds", "1", "2", "4", "8", "16", "32", *growth), small,
        ),
        "speed": Part(
            "gradient steps a second of every task, and launch",
            script("speed.py", "--repeats", "2", "--seconds", "5", "--out", str(out / "speed.json")),
            ("--tasks", "iql-256", "--repeats", "1", "--seconds", "0.2"),
        ),
        "width": Part(
            "networks from 128 to 2048 wide, in float32 and bfloat16, as a share of the measured peak",
            script("growth.py", "--studies", "width", "precision", *growth), small,
        ),
        "data": Part(
            "data from 10 thousand to 10 million transitions on the device",
            script("growth.py", "--studies", "data", *growth), small,
        ),
        "shape": Part(
            "ensembles of 2 to 10 critics, batches of 64 to 4096",
            script("growth.py", "--studies", "ensemble", "batch", *growth), small,
        ),
    }  # fmt: skip
    for method in ("calql", "iql", "cql"):
        found[f"door-{method}"] = Part(
            f"the published protocol of adroit-door for {method}, 4 seeds in one program",
            (*HEADSTART, *_door(out / f"door-{method}", method, tiny, demonstrations)),
        )
    return found


def _door(out: Path, method: str, tiny: bool, demonstrations: str | None) -> tuple[str, ...]:
    """The command line of the recipe: begun, or going on. The runs of the methods share nothing but the settings."""
    if tiny:
        # The same machinery where no demonstrations are needed and data are made in a second.
        methods = ("--methods", method) if method != "iql" else ()
        sizes = ("--seeds", "1", "--episodes", "10", "--offline-steps", "20", "--online-steps", "200")
        recipe = ("quickstart", *methods, *sizes, "--eval-episodes", "1")
    else:
        recipe = ("adroit-door", "--methods", method, "--seeds", "4", "--online-steps", "300000")
        recipe += () if demonstrations is None else ("--demonstrations", demonstrations)
    going_on = ("--resume",) if (out / "recipe.json").exists() else ()
    return ("run", *recipe, "--out", str(out), *going_on)


def run(name: str, part: Part, out: Path, minutes: float, tiny: bool) -> int:
    """Run a part and keep what it prints in `out / NAME.md`; its exit code, 130 where it was stopped to go on later."""
    command = part.command + (part.tiny if tiny else ())
    print(f"{name}: {part.shows}", file=sys.stderr, flush=True)
    with (out / f"{name}.md").open("w") as file:
        process = subprocess.Popen(command, stdout=file, start_new_session=True)
        try:
            code = process.wait(60.0 * minutes)
        except subprocess.TimeoutExpired:
            # With the processes that it started itself.
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
            print(f"{name}: stopped after {minutes:g} minutes; give the same command again to go on", file=sys.stderr)
            return 130
    print((out / f"{name}.md").read_text())
    return code


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", help="list, all, or the name of a part")
    parser.add_argument("--out", type=Path, default=Path("gpu"))
    parser.add_argument("--minutes", type=float, default=8.5, help="of a part")
    parser.add_argument("--tiny", action="store_true", help="to see that it works, on any machine")
    parser.add_argument("--demonstrations", help="source of the door's demonstrations, where not the recipe's")
    arguments = parser.parse_args()
    known = parts(arguments.out, arguments.tiny, arguments.demonstrations)
    if arguments.part == "list":
        print("\n".join(f"{name}: {part.shows}" for name, part in known.items()))
        return 0
    if arguments.part not in (*known, "all"):
        parser.error(f"there is no part {arguments.part!r}; known: all, {', '.join(known)}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    names = list(known) if arguments.part == "all" else [arguments.part]
    codes = [run(name, known[name], arguments.out, arguments.minutes, arguments.tiny) for name in names]
    return next((code for code in codes if code), 0)


if __name__ == "__main__":
    sys.exit(main())

"""How long a person waits: import, help, and launch to the first gradient step, compiled anew or before.

    python benchmarks/launch.py --repeats 3

Every measurement is a process of its own. `first step`: `headstart pretrain` on random data with the shapes of Adroit
door, from its start to its first line in metrics.jsonl, which is written after one gradient step; cold: with an empty
compilation cache; kept: with the cache that the run before filled. Medians (and ranges) of wall-clock seconds; `cpu`:
seconds of processor time, which tell more on a busy machine.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from workers import arrays

COMMAND = (sys.executable, "-c", "import sys; from headstart.cli.main import main; sys.exit(main())")
ALGORITHMS = {
    "calql, official networks": ("calql", "--actor-widths", "512", "512", "--critic-widths", "512", "512", "512"),
    "iql": ("iql",),
    "bc": ("bc",),
}


def clocked(command: tuple[str, ...], cache: Path, until: Path | None = None) -> tuple[float, float]:
    """Wall-clock seconds of a process, until it ends or until `until` holds a line; and its processor seconds."""
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    seconds = None
    while process.poll() is None:
        if seconds is None and until is not None and until.exists() and until.stat().st_size:
            seconds = time.perf_counter() - begun
        time.sleep(0.01)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{process.stderr.read()[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds if seconds is not None else time.perf_counter() - begun, cpu


def measure(folder: Path, repeats: int) -> dict[str, list[tuple[float, float]]]:
    """What was timed -> (wall-clock, processor) seconds of every repetition."""
    observations, actions, rewards, ends = arrays()
    data = folder / "data.npz"
    np.savez(data, observations=observations, actions=actions, rewards=rewards, timeouts=ends)
    found: dict[str, list[tuple[float, float]]] = {}
    cache = folder / "unused"
    for i in range(repeats):
        found.setdefault("import headstart", []).append(clocked((sys.executable, "-c", "import headstart"), cache))
        found.setdefault("headstart --help", []).append(clocked((*COMMAND, "--help"), cache))
        for label, (name, *settings) in ALGORITHMS.items():
            for kind in ("cold", "kept"):
                out = folder / f"{name}-{kind}-{i}"
                command = (
                    *COMMAND, "pretrain", name, *settings, "--data", f"arrays:{data}", "--steps", "1", "--out", str(out)
                )  # fmt: skip
                spent = clocked(command, folder / f"cache-{name}-{i}", out / "metrics.jsonl")
                found.setdefault(f"first step, {label}, {kind}", []).append(spent)
    return found


def table(found: Mapping[str, list[tuple[float, float]]]) -> str:
    """Markdown."""
    lines = ["| what | seconds | cpu |", "|---|---|---|"]
    for what, spent in found.items():
        wall, cpu = ([each[i] for each in spent] for i in (0, 1))
        lines.append(f"| {what} | {statistics.median(wall):.2f} ({min(wall):.2f}-{max(wall):.2f}) | "
                     f"{statistics.median(cpu):.2f} |")  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(table(measure(Path(folder), arguments.repeats)))


if __name__ == "__main__":
    main()

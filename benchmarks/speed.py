"""Gradient steps a second, ours beside a peer and beside the limit of the machine, interleaved in one run.

    python benchmarks/speed.py --repeats 3 --seconds 10 --out speed.json

Every measurement is a process of its own (`workers.py`), ours and the peer's in turn, so that a noisy machine treats
all alike. A peer that is not installed is left out (`pip install 'headstart[bench]'`). Columns: `ratio` is ours to the
peer's, which always does the published arithmetic in float32; `limit` is ours to what the published arithmetic,
without repetitions, allows at the machine's measured rate of float32 matrix products: fast tasks may pass 100%.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from workers import TASKS

PEER = "d3rlpy"

Runs = dict[str, dict[str, list[dict[str, float]]]]
"""Task -> library -> its measurements; the machine's peak stands as task "peak"."""


def measure(library: str, task: str, seconds: float) -> dict[str, float] | None:
    """One measurement in a process of its own; None where the library is not installed."""
    command = [sys.executable, str(Path(__file__).with_name("workers.py")), library, task, str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        if f"No module named '{library}'" in done.stderr:
            return None
        raise SystemExit(f"{library} {task} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def run(tasks: list[str], repeats: int, seconds: float) -> Runs:
    """All measurements: in every round the machine's peak, then each problem, the peer after our ways to do it."""
    problems = {
        TASKS[task].problem: [each for each in tasks if TASKS[each].problem == TASKS[task].problem] for task in tasks
    }
    runs: Runs = {}
    for _ in range(repeats):
        turns = [("peak", "peak", "float32")]
        for problem, ways in problems.items():
            turns += [(task, "headstart", task) for task in ways] + [(problem, PEER, problem)]
        for task, library, argument in turns:
            if (found := measure(library, argument, seconds)) is not None:
                runs.setdefault(task, {}).setdefault(library, []).append(found)
            print(f"{library} {argument}: {found and found['rate']}", file=sys.stderr, flush=True)
    return runs


def median(runs: Runs, task: str, library: str, what: str = "rate") -> float | None:
    """None where nothing was measured."""
    found = [each[what] for each in runs.get(task, {}).get(library, []) if what in each]
    return statistics.median(found) if found else None


def ratios(runs: Runs) -> dict[str, float]:
    """Our tasks -> our steps for one of the peer's on the same problem; without those that the peer does not have."""
    found = {
        task: (median(runs, task, "headstart"), median(runs, TASKS[task].problem, PEER))
        for task in runs
        if task in TASKS
    }
    return {task: ours / theirs for task, (ours, theirs) in found.items() if ours and theirs}


def table(runs: Runs) -> str:
    """Markdown: medians (and ranges)."""

    def spread(task: str, library: str, what: str) -> str:
        values = [each[what] for each in runs.get(task, {}).get(library, [])]
        if not values:
            return "-"
        return f"{statistics.median(values):.3g} ({min(values):.3g}-{max(values):.3g})"

    lines = [
        f"| task | headstart steps/s | {PEER} steps/s | ratio | limit | GFLOP a step | launch s | memory GB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    peak, against = median(runs, "peak", "peak", "gflops"), ratios(runs)
    for task in filter(runs.__contains__, TASKS):
        problem = TASKS[task].problem
        rate, published = median(runs, task, "headstart"), median(runs, problem, "headstart", "gflop")
        if rate is None:
            continue
        cells = [
            task, spread(task, "headstart", "rate"), spread(problem, PEER, "rate"),
            f"{against[task]:.2f}" if task in against else "-",
            f"{100.0 * rate * published / peak:.0f}%" if published and peak else "-",
            f"{median(runs, task, 'headstart', 'gflop'):.3g}",
            spread(task, "headstart", "launch"), f"{median(runs, task, 'headstart', 'memory_gb'):.2f}",
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    if peak:
        lines += ["", f"Float32 matrix products on this machine: {peak:.0f} GFLOP/s."]
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """The hardware, and the versions of what was measured on it."""
    cpu = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    flags: list[str] = []
    if information.exists():
        fields = dict(line.split(":", 1) for line in information.read_text().splitlines() if ":" in line)
        fields = {name.strip(): value.strip() for name, value in fields.items()}
        cpu = fields.get("model name", cpu)
        flags = [flag for flag in fields.get("flags", "").split() if flag.startswith(("avx512", "amx", "avx2"))]
    versions = {"python": platform.python_version()}
    for package in ("headstart", "jax", "jaxlib", "numpy", PEER, "torch"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "absent"
    return {"cpu": cpu, "cores": os.cpu_count(), "flags": flags, "system": platform.platform(), "versions": versions}


def read(file: Path) -> Mapping[str, Any]:
    """What `--out` wrote. Exits with a message where the file is something else."""
    try:
        content = json.loads(file.read_text())
        return {"machine": content["machine"], "runs": content["runs"]}
    except (OSError, ValueError, KeyError) as error:
        raise SystemExit(f"{file}: not a file that speed.py --out wrote ({error!r})") from error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    runs = run(arguments.tasks, arguments.repeats, arguments.seconds)
    print(table(runs))
    if arguments.out:
        settings = {"repeats": arguments.repeats, "seconds": arguments.seconds}
        content = {"machine": machine(), "settings": settings, "runs": runs}
        arguments.out.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()

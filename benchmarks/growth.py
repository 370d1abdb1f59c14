"""How the cost of a gradient step grows: with the data, the networks, the ensemble, the batch, the number of seeds.

    python benchmarks/growth.py --out growth.json --docs docs/results      # the page growth.md, a picture of each study
    python benchmarks/growth.py --studies seeds --seeds 1 2 4 8 16 32 --out gpu.json   # on an accelerator

Shapes of Adroit door (`workers.py`). Every point is a process of its own, so that its memory can be told: on CPUs the
peak of the process while it trains, on an accelerator that of its memory. Points that are in the file already are not
measured again, so a part that was stopped goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from speed import machine
from workers import TRANSITIONS, Training, dataset, peak, timed

from headstart import plotting
from headstart.algos.registry import algorithm
from headstart.report.scores import markdown


@dataclasses.dataclass(frozen=True)
class Point:
    """One measurement. width: of two hidden layers in all networks; 0: Cal-QL's official ones (actor 512x2, critics
    512x3). critics: 0 stands for the algorithm's own number."""

    algorithm: str = "iql"
    transitions: int = TRANSITIONS
    width: int = 256
    critics: int = 0
    batch: int = 256
    seeds: int = 1
    precision: str = "float32"


@dataclasses.dataclass(frozen=True)
class Study:
    """What grows: the field of `Point`, what it is called, its values on a CPU, and the points that grow."""

    field: str
    label: str
    values: tuple[int, ...]
    lines: tuple[Point, ...]

    def points(self, values: tuple[int, ...]) -> list[Point]:
        return [dataclasses.replace(line, **{self.field: value}) for value in values for line in self.lines]

    def of(self, line: Point, measured: Measured) -> list[tuple[int, dict[str, float]]]:
        """The values of a line's points that were measured, with the numbers, in order; 0 is none of its own."""
        values = ((getattr(point, self.field), point, numbers) for point, numbers in measured)
        found = [
            (n, numbers) for n, point, numbers in values if n and dataclasses.replace(line, **{self.field: n}) == point
        ]
        return sorted(found, key=lambda pair: pair[0])


Measured = list[tuple[Point, dict[str, float]]]


PRECISIONS = ("float32", "bfloat16")
IQL, CALQL, OFFICIAL = Point(), Point("calql"), Point("calql", width=0)

STUDIES = {
    "data": Study("transitions", "transitions", (10_000, 100_000, 1_000_000, 10_000_000), (IQL, OFFICIAL)),
    "width": Study("width", "width of the hidden layers", (128, 256, 512, 1024, 2048), (IQL, CALQL)),
    "ensemble": Study("critics", "critics", (2, 3, 5, 10), (IQL, CALQL)),
    "batch": Study("batch", "batch size", (64, 256, 1024, 4096), (IQL, CALQL)),
    "seeds": Study("seeds", "seeds in one program", (1, 2, 4, 8), (IQL,)),
    "precision": Study("width", "width of the hidden layers", (256, 512, 1024, 2048), tuple(
        dataclasses.replace(line, precision="bfloat16") for line in (IQL, CALQL)
    )),
}  # fmt: skip
"""`precision`: the widths once more with bfloat16 products, to be read beside `width`."""


def measure(point: Point, seconds: float) -> dict[str, float]:
    """Gradient steps a second (of all seeds together), GFLOP of a step of one seed, and gigabytes."""
    import jax

    official = {"actor_widths": (512, 512), "critic_widths": (512, 512, 512)}
    widths = {"actor_widths": (point.width,) * 2, "critic_widths": (point.width,) * 2} if point.width else official
    fields = widths | {"batch_size": point.batch} | ({"critics": point.critics} if point.critics else {})
    data = dataset(point.transitions)
    _forget_peak()
    training = Training(algorithm(point.algorithm, **fields), data, point.seeds, point.precision)
    found = timed(training.step, seconds)
    stats = jax.local_devices()[0].memory_stats()
    memory = stats["peak_bytes_in_use"] / 1e9 if stats and "peak_bytes_in_use" in stats else _peak_gigabytes()
    return {
        "rate": point.seeds * found["rate"], "gflop": training.gflop(), "memory_gb": memory,
        "data_gb": training.data_bytes / 1e9,
    }  # fmt: skip


STATUS = Path("/proc/self/status")


def _forget_peak() -> None:
    """Count the peak of memory from now on: data that is being made takes more than data that is there."""
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")


def _peak_gigabytes() -> float:
    """Peak of the process's resident memory; NaN where the system does not tell."""
    if not STATUS.exists():
        return float("nan")
    fields = dict(line.split(":", 1) for line in STATUS.read_text().splitlines() if ":" in line)
    return int(fields["VmHWM"].split()[0]) * 1024 / 1e9


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """All points that are asked for; the file is written after each."""
    known = json.loads(arguments.out.read_text()) if arguments.out.exists() else {"points": []}
    peaks = {precision: _process(precision, arguments.seconds)["gflops"] for precision in PRECISIONS}
    content = {"machine": machine() | {"device": _device()}, "peaks": peaks, "points": known["points"]}
    done = [point for point, _ in measured(content)]
    for name in arguments.studies:
        study = STUDIES[name]
        values = tuple(arguments.seeds) if name == "seeds" and arguments.seeds else study.values
        points = study.points(values)[:1] if arguments.tiny else study.points(values)
        for point in points:
            if point.transitions > arguments.most_transitions or point in done:
                continue
            what = dataclasses.asdict(point)
            found = _process(json.dumps(what), arguments.seconds)
            print(f"{name}: {what}: {found['rate']:.3g} steps/s", file=sys.stderr)
            content["points"].append({"point": what, "found": found})
            done.append(point)
            arguments.out.write_text(json.dumps(content, indent=2) + "\n")
    return content


def _device() -> str:
    """What JAX computes on, asked in a process of its own: one that holds an accelerator leaves none to others."""
    code = "import jax; print(jax.devices()[0].device_kind)"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def measured(content: dict[str, Any]) -> Measured:
    """The points of a file that `run` wrote."""
    return [(Point(**entry["point"]), entry["found"]) for entry in content["points"]]


def _process(what: str, seconds: float) -> dict[str, float]:
    command = [sys.executable, __file__, "--point", what, "--seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        # A point may be too large for the machine; the others are measured all the same.
        print(f"{what} failed: {done.stderr[-2000:]}", file=sys.stderr)
        return dict.fromkeys(("rate", "gflop", "memory_gb", "data_gb"), float("nan"))
    return json.loads(done.stdout.strip().splitlines()[-1])


def table(study: Study, points: Measured, peaks: dict[str, float]) -> str:
    """Markdown. peaks: GFLOP/s that the machine reached in each precision."""
    headers = [
        study.label,
        "algorithm",
        "steps/s",
        "ms a step",
        "GFLOP a step",
        "share of peak",
        "memory GB",
        "data GB",
    ]
    rows = [
        [
            f"{value:,}", title(line), f"{found['rate']:.3g}", f"{1e3 / found['rate']:.3g}", f"{found['gflop']:.3g}",
            f"{100.0 * found['rate'] * found['gflop'] / peaks[line.precision]:.0f}%", f"{found['memory_gb']:.2f}",
            f"{found['data_gb']:.3f}",
        ]
        for line in study.lines
        for value, found in study.of(line, points)
    ]  # fmt: skip
    return markdown(headers, rows)


def page(content: dict[str, Any], names: list[str]) -> str:
    """Markdown: what was measured on which machine, and for every study that has points its table and picture."""
    hardware, points = content["machine"], measured(content)
    versions = ", ".join(f"{name} {version}" for name, version in hardware["versions"].items() if version != "absent")
    peaks = ", ".join(f"{content['peaks'][precision]:,.0f} in {precision}" for precision in PRECISIONS)
    parts = [
        "# Growth: what a gradient step costs\n\n    python benchmarks/growth.py --out growth.json --docs docs/results",
        f"Shapes of Adroit door (observation 39, action 28); batch 256 and networks 256x2 where they do not grow. "
        f"{hardware['device']}, {hardware['cpu']}, {hardware['cores']} cores; {versions}. Products of "
        f"matrices reach {peaks} (GFLOP/s): that is the peak; products of other shapes may be faster, and a share may "
        "then exceed 100%. `steps/s` counts the gradient steps of all seeds; `memory` is the process's, data included, "
        "beside that of the `data` alone.",
    ]
    for name in names:
        study = STUDIES[name]
        if any(study.of(line, points) for line in study.lines):
            parts.append(f"## {name.capitalize()}\n\n{table(study, points, content['peaks'])}")
            parts.append(f"![Milliseconds a gradient step against {study.label}](growth-{name}.png)")
    return "\n\n".join(parts) + "\n"


def title(line: Point) -> str:
    name = f"{line.algorithm}, official networks" if line.width == 0 else line.algorithm
    return name if line.precision == "float32" else f"{name}, {line.precision}"


def picture(study: Study, points: Measured, out: Path) -> None:
    """Milliseconds of a step against what grows, a line an algorithm, both axes logarithmic."""
    figure = plotting.blank(5.0, 3.6)
    axis = figure.subplots()
    for colour, line in zip(plotting.COLOURS, study.lines, strict=False):
        if found := study.of(line, points):
            times = [1e3 / numbers["rate"] for _, numbers in found]
            axis.plot([value for value, _ in found], times, "o-", color=colour, label=title(line))
    axis.set(xscale="log", yscale="log", xlabel=study.label, ylabel="milliseconds a gradient step")
    shown = sorted({value for line in study.lines for value, _ in study.of(line, points)})
    axis.set_xticks(shown, [f"{value:,}" for value in shown])
    axis.set_xticks([], minor=True)
    axis.legend(frameon=False, fontsize=9)
    plotting.quiet(axis)
    plotting.save(figure, out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", nargs="*", default=list(STUDIES), choices=list(STUDIES))
    parser.add_argument("--seeds", nargs="*", type=int, help="numbers of seeds (default: 1 2 4 8)")
    parser.add_argument("--most-transitions", type=int, default=10_000_000)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--tiny", action="store_true", help="one point of each study, to see that it works")
    parser.add_argument("--out", type=Path, default=Path("growth.json"))
    parser.add_argument("--docs", type=Path, help="folder for the pictures growth-STUDY.png")
    parser.add_argument("--point", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.point in PRECISIONS:
        print(json.dumps(peak(arguments.point, arguments.seconds)))
        return
    if arguments.point:
        print(json.dumps(measure(Point(**json.loads(arguments.point)), arguments.seconds)))
        return
    content = run(arguments)
    print(page(content, arguments.studies))
    if arguments.docs is not None:
        for name in arguments.studies:
            picture(STUDIES[name], measured(content), arguments.docs / f"growth-{name}.png")
        # What the file holds of other studies belongs to the page too.
        (arguments.docs / "growth.md").write_text(page(content, list(STUDIES)))


if __name__ == "__main__":
    main()

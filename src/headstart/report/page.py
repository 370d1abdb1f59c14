"""The report: one HTML page that needs nothing else, every figure as PNG and SVG, and the table for a paper."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import operator
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.errors import UsageError
from headstart.plotting import save
from headstart.report import details, results, runs, svg, videos
from headstart.report.drawings import INK, NARROW, WIDE, Drawing, ink
from headstart.report.tables import Table, key, show
from headstart.train.scores import Score

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE, FIGURES = "index.html", "figures"
GENERATOR = '<meta name="generator" content="headstart'
"""By this an older report is known."""


@dataclasses.dataclass(frozen=True)
class Report:
    """page: path of the HTML. notes: what is missing on it, a line each."""

    page: Path
    notes: tuple[str, ...]


def write(
    paths: Sequence[str | Path],
    out: str | Path,
    *,
    title: str = "",
    score: Score | None = None,
    video: bool = False,
    overwrite: bool = False,
) -> Report:
    """Write the report of the runs at and below `paths` into the folder `out`.

    title: heading (default: the environments). score: what counts; by default success where every episode tells it,
    else the return. video: where a run has no videos, play its last evaluation again and record the best, the median
    and the worst episode, into the run's folder. overwrite: replace the report that is there.

    Raises `UsageError` where there are no runs or `out` holds something, `DataError` for damaged files.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        if not overwrite:
            raise UsageError(
                f"{out} exists and is not empty; choose another folder, or replace the report (--overwrite)"
            )
        if not (out / PAGE).is_file() or GENERATOR not in (out / PAGE).read_text(encoding="utf-8"):
            raise UsageError(f"{out} holds no report (no {PAGE} of headstart) and is left alone")
    context = contents(paths, title, score, video)
    figures = {drawing.name: _drawn(drawing) for drawing in context["drawings"]}
    page = render(context, figures)
    out.mkdir(parents=True, exist_ok=True)
    # Of an older report: it may have had other figures. What else is there stays.
    shutil.rmtree(out / FIGURES, ignore_errors=True)
    for name, sizes in figures.items():
        save(next(iter(sizes.values())), out / FIGURES / f"{name}.png")
    for name, text in context["files"].items():
        (out / name).write_text(text, encoding="utf-8")
    (out / PAGE).write_text(page, encoding="utf-8")
    return Report(out / PAGE, tuple(context["notes"]))


def contents(
    paths: Sequence[str | Path], title: str = "", score: Score | None = None, video: bool = False
) -> dict[str, Any]:
    """All that the template shows. Takes the options of `write`."""
    found = runs.find(paths)
    methods = runs.methods(found)
    notes = _notes(methods) + (videos.record(methods) if video else [])
    labels = list(dict.fromkeys(method.label for method in methods))
    envs = list(dict.fromkeys(method.task for method in methods if method.task is not None))
    tasks = [results.Task.read(env, [m for m in methods if m.task == env], score) for env in envs]
    tables = [task.table() for task in tasks]
    curves = [task.drawing(f"curves-{i}", labels) for i, task in enumerate(tasks, 1)]
    comparisons = results.comparisons(tasks, labels)
    training = []
    for i, env in enumerate([*envs, None], 1):
        if members := [method for method in methods if method.task == env]:
            training.append((env or "without evaluations", results.training(members, f"training-{i}", labels)))
    diagnoses = details.diagnoses(methods)
    last = [chain[-1] for method in methods for chain in method.chains]
    return {
        "title": title or ", ".join(dict.fromkeys(task.name for task in tasks)) or "Runs without evaluations",
        "labels": labels, "tasks": list(zip(tasks, curves, tables, strict=True)),
        "comparisons": comparisons, "training": training,
        "drawings": [*curves, *(drawing for _, part in (*comparisons, *training) for drawing in part)],
        "diagnoses": diagnoses, "overview": details.overview(diagnoses), "videos": videos.shown(methods),
        "data_cards": details.data_cards(methods, found), "differences": details.differences(methods),
        "settings": [(run.folder, details.settings(run)) for run in found],
        "lineages": [(run, details.lineage(run)) for run in last if run.manifest],
        "notes": notes, "files": _files(tasks, tables),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "version": _version(),
    }  # fmt: skip


def render(context: dict[str, Any], figures: Mapping[str, Mapping[str, Figure]]) -> str:
    """The page. figures: name -> {size: figure}."""
    import jinja2
    from markupsafe import Markup

    def picture(drawing: Drawing) -> Markup:
        """One a size; style sheets hide those that are not for the screen, from readers too."""
        return Markup("").join(
            Markup('<div class="{} figure">{}</div>').format(
                size, Markup(svg.inline(figure, f"{drawing.name}-{size}", drawing.title, drawing.description, INK))
            )
            for size, figure in figures[drawing.name].items()
        )

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("headstart.report"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.tests["contains"] = operator.contains
    environment.filters |= {"picture": picture, "show": show, "key": key}
    return environment.get_template("report.html").render(**context)


def _drawn(drawing: Drawing) -> dict[str, Figure]:
    """The figure for every size of screen that it needs, the widest first."""
    sizes = {"any": NARROW} if drawing.narrow else {"wide": WIDE, "narrow": NARROW}
    with ink():
        return {size: drawing.draw(width) for size, width in sizes.items()}


def _notes(methods: Sequence[runs.Method]) -> list[str]:
    notes = []
    for method in methods:
        if method.task is None:
            notes.append(f"{method.label}: no evaluation episodes, so no scores; give its run an environment (--env)")
        elif len(method.seeds) == 1:
            notes.append(f"{method.label}: one training seed, so nothing tells how far other seeds would lie from it")
        for run in method.runs:
            if run.manifest is None:
                notes.append(f"{run.folder}: not complete, there is no artifact yet")
            inspected = details.inspection(run)
            if inspected is not None and inspected.get("sha256") not in {data["sha256"] for data in run.data}:
                notes.append(f"{run.folder}: inspect.json tells of other data than the run learned from")
            if run.episodes and run.env != method.task:
                notes.append(f"{run.folder}: evaluated in {run.env}, not in {method.task}; its scores are left out")
    return list(dict.fromkeys(notes))


def _files(tasks: Sequence[results.Task], found: Sequence[Table]) -> dict[str, str]:
    """File name -> the results of all tasks as Markdown, LaTeX and CSV."""
    if not tasks:
        return {}
    table = found[0]
    if len(tasks) > 1:
        table = Table.joined("task", dict(zip([task.env for task in tasks], found, strict=True)))
    return {"results.md": table.markdown(), "results.tex": table.latex(), "results.csv": table.csv()}


def _version() -> str:
    try:
        return importlib.metadata.version("headstart")
    except importlib.metadata.PackageNotFoundError:
        return "source"

"""`headstart data`: look at data sets and convert them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from headstart.cli import label, parse
from headstart.cli.collect import collect

if TYPE_CHECKING:
    from headstart.data.dataset import Dataset
    from headstart.data.inspect import Inspection, Quantiles


def inspect(source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")], json: bool = False) -> None:
    """Show what a data set holds, whether it is sound, and what it can be used for.

    Args:
        source: Where the data is: minari:ID_OR_FOLDER, d4rl:FILE.hdf5, ogbench:NAME_OR_FILE.npz, arrays:FILE.npz or
            arrays:FOLDER.
        json: Print one JSON object instead of tables.
    """
    from headstart.data import sources
    from headstart.data.inspect import inspect

    data = sources.load(source)
    inspection = inspect(data, sources.disk_size(source))
    offline, online = _algorithms(data, inspection)
    if json:
        from json import dumps

        print(dumps(inspection.to_json() | {"algorithms": offline, "online_algorithms": online}, indent=2))
    else:
        _show(inspection, offline, online)


def convert(
    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")],
    target: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TARGET")],
    overwrite: bool = False,
    without: tuple[str, ...] = (),
    task: str | None = None,
    task_vectors: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None,
    actions_by: Annotated[Path | None, tyro.conf.arg(metavar="ARTIFACT")] = None,
) -> None:
    """Write any data set as a Minari data set or as a folder of memory-mapped arrays.

    Args:
        source: Where the data is, as for `headstart data inspect`; tasks:FILE.json: several, each of a task.
        target: minari:ID, minari:FOLDER or arrays:FOLDER.
        overwrite: Replace a data set of that format that is there already.
        without: Arrays of the observations to leave out, such as desired_goal.
        task: Name of the task that all of the data is of.
        task_vectors: File with a vector for each task, such as a sentence embedding: an .npz with one array a name, or
            JSON. Without, tasks are one-hot.
        actions_by: A decoded model of latent actions, the artifact's or its run's folder: actions are those that it
            reads from the observations.
    """
    from headstart.data import sources, transform
    from headstart.data.tasks import read_vectors

    data = sources.load(source)
    if without:
        data = transform.without(data, without)
    table = None if task_vectors is None else read_vectors(task_vectors)
    if task is not None:
        data = transform.of_task(data, task, table)
    elif table is not None:
        data = transform.with_task_vectors(data, table)
    if actions_by is not None:
        from headstart.artifact import Artifact

        data = Artifact.load(actions_by).with_actions(data)
    folder = sources.write(data, target, overwrite)
    print(f"{data.episodes:,} episodes, {data.steps:,} steps written to {folder}")


def share(
    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")],
    target: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TARGET")],
    rewards: Annotated[Path | None, tyro.conf.arg(metavar="FILE.npz")] = None,
    unlabelled: float | None = None,
    overwrite: bool = False,
) -> None:
    """Write data of several tasks with all of it relabelled for each of them, K times as much for K tasks.

    Args:
        source: Where the data is, as for `headstart data inspect`; its rows name their tasks.
        target: minari:ID, minari:FOLDER or arrays:FOLDER.
        rewards: For tasks whose rewards are known: an array of that name with the reward of every step of the data, and
            one called NAME/ends with whether the step ends the task.
        unlabelled: Reward of other steps; by default the lowest that the task's own data has.
        overwrite: Replace a data set of that format that is there already.
    """
    from headstart.data import sources
    from headstart.data.share import read_rewards, share

    data = share(sources.load(source), None if rewards is None else read_rewards(rewards), unlabelled)
    folder = sources.write(data, target, overwrite)
    print(f"{data.episodes:,} episodes, {data.steps:,} steps written to {folder}: {data.provenance.transforms[-1]}")


VERBS = {"inspect": inspect, "convert": convert, "share": share, "collect": collect, "label": label.main}


def main(args: list[str]) -> None:
    about = {name: parse.first_line(verb) for name, verb in VERBS.items()}
    name, rest = parse.choose(args, "headstart data", "verb", about)
    if name == "label":
        # Its settings are those of the method that it is given.
        label.main(rest)
    else:
        parse.call(VERBS[name], rest, f"headstart data {name}")


def _algorithms(data: Dataset, inspection: Inspection) -> tuple[list[str], list[str]]:
    """The algorithms that this data fits: those that can be set up for its spec and find every column sound. First what
    learns from it alone, then what needs it beside an environment."""
    sound = {column.name.partition("/")[0]: True for column in inspection.columns}
    sound |= {column.name.partition("/")[0]: False for column in inspection.columns if column.nonfinite_rows}
    if not sound["observations"]:
        return [], []
    import jax

    from headstart.algos.registry import ALGORITHMS, ONLINE
    from headstart.errors import UsageError

    names = []
    for name, make in ALGORITHMS.items():
        view = make().view()
        needs = [column for column, needed in (("actions", view.actions), ("rewards", view.rewards)) if needed]
        if not all(sound.get(column) for column in needs):
            continue
        try:
            spec = view.with_context(data.spec)
            jax.eval_shape(lambda key, make=make, spec=spec: make().init(key, spec), jax.random.key(0))
        except UsageError:
            continue
        names.append(name)
    return sorted(set(names) - set(ONLINE)), sorted(set(names) & set(ONLINE))


def _show(found: Inspection, offline: list[str], online: list[str]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    about = ", ".join(filter(None, (found.version, found.environment)))
    console.print(f"[bold]{escape(found.source)}[/bold]" + (f" ({escape(about)})" if about else ""), soft_wrap=True)
    for line in found.transforms:
        console.print(f"  {escape(line)}", soft_wrap=True)
    facts = Table.grid(padding=(0, 2))
    facts.add_row("episodes", f"{found.episodes:,}, {_share(found.cut_off)} cut off rather than terminated")
    facts.add_row("steps", f"{found.steps:,}, {_some(found.duplicate_steps)} repeat an earlier one")
    if found.success_rate is not None:
        facts.add_row("success", f"{_share(found.success_rate)} of the episodes")
    if found.tasks is not None:
        facts.add_row("tasks", ", ".join(f"{escape(name)} ({count:,} steps)" for name, count in found.tasks.items()))
    if found.actions_out_of_bounds is not None:
        beyond = f", {_some(found.actions_beyond_one)} beyond ±1" if found.actions_beyond_one is not None else ""
        facts.add_row("actions", f"{_some(found.actions_out_of_bounds)} out of bounds{beyond}")
    disk = f", {_bytes(found.disk_bytes)} on disk" if found.disk_bytes is not None else ""
    facts.add_row("size", f"{_bytes(found.memory_bytes)} in memory{disk}")
    facts.add_row("sha256", found.sha256)
    console.print(facts)

    console.print()
    columns = Table("column", "type", box=None, pad_edge=False)
    for title in ("lowest", "highest", "constant", "NaN or inf"):
        columns.add_column(title, justify="right")
    for column in found.columns:
        low, high = ("-" if bound is None else f"{bound:.5g}" for bound in (column.low, column.high))
        bad = f"{_some(column.nonfinite_rows)} rows" if column.nonfinite_rows else "none"
        columns.add_row(escape(column.name), escape(column.kind), low, high, f"{column.constant}", bad)
    console.print(columns)

    console.print()
    spreads = Table("spread", box=None, pad_edge=False)
    for title in ("lowest", "25%", "median", "75%", "highest", "mean"):
        spreads.add_column(title, justify="right")
    for name, spread in (("episode length", found.lengths), ("reward", found.rewards), ("return", found.returns)):
        if spread is not None:
            spreads.add_row(name, *_numbers(spread))
    console.print(spreads)

    console.print()
    uses = Table.grid(padding=(0, 2))
    for use in found.uses:
        uses.add_row(use.name, "[green]yes[/green]" if use.possible else "[red]no[/red]", escape(use.reason))
    uses.add_row("algorithms", "", ", ".join(offline) or "none")
    if online:
        uses.add_row("with finetune --env", "", ", ".join(online))
    console.print(uses)


def _numbers(spread: Quantiles) -> list[str]:
    values = (spread.minimum, spread.q25, spread.median, spread.q75, spread.maximum, spread.mean)
    return [f"{value:.5g}" for value in values]


def _some(count: int) -> str:
    return f"{count:,}" if count else "none"


def _share(share: float) -> str:
    return f"{share:.1%}".replace(".0%", "%")


def _bytes(count: int) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"

"""`headstart advise`: what to do with data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import tyro

from headstart.cli import parse

if TYPE_CHECKING:
    from headstart.advice.advise import Advice


def advise(
    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")],
    env: str | None = None,
    json: bool = False,
) -> None:
    """Look at data and recommend two or three recipes: reasons, commands, what they cost here, and what to avoid.

    Args:
        source: Where the data is, as for `headstart data inspect`.
        env: Environment in which to evaluate and go on, "ID" or "ID?key=value&..."; none: on the data alone.
        json: Print one JSON object instead.
    """
    from headstart.advice.advise import advise

    found = advise(source, env)
    if json:
        from json import dumps

        print(dumps(found.to_json(), indent=2))
    else:
        _show(found)


def main(args: list[str]) -> None:
    parse.call(advise, args, "headstart advise")


def _show(found: Advice) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    console.print(f"[bold]{escape(found.source)}[/bold]", soft_wrap=True)
    for line in found.seen:
        console.print(f"  {escape(line)}", soft_wrap=True)
    for place, part in enumerate(found.recommended, 1):
        console.print(f"\n[bold green]{place}. {escape(part.title)}[/bold green]", soft_wrap=True)
        for reason in part.reasons:
            console.print(f"  {escape(reason)}", soft_wrap=True)
        for command in part.commands:
            console.print(f"    {escape(command)}", soft_wrap=True, style="cyan")
        if part.cost is not None:
            console.print(f"  {escape(part.cost.describe())}", soft_wrap=True)
    if found.against:
        console.print("\n[bold red]against[/bold red]")
        table = Table.grid(padding=(0, 2))
        for part in found.against:
            table.add_row(f"  {escape(part.what)}", escape(part.reason))
        console.print(table)
    console.print(f"\ncosts: {escape(found.basis)}")

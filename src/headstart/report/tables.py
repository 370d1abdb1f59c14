"""Tables: one set of rows for the page, and for a paper as Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Mapping
from typing import Any

from headstart.report.scores import Score, markdown, text


@dataclasses.dataclass(frozen=True)
class Scored:
    """A score as a cell: (mean, low, high), or None where there is none."""

    value: tuple[float, float, float] | None
    score: Score

    def __str__(self) -> str:
        return text(self.value, self.score)


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of cells: text, numbers, or `Scored`."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    @classmethod
    def joined(cls, column: str, tables: Mapping[str, Table]) -> Table:
        """One table below the other, with a first column for their names; None where a table lacks a column."""
        columns = list(dict.fromkeys(name for table in tables.values() for name in table.columns))
        rows = [
            (name, *(dict(zip(table.columns, row, strict=True)).get(part) for part in columns))
            for name, table in tables.items()
            for row in table.rows
        ]
        return cls((column, *columns), tuple(rows))

    def markdown(self) -> str:
        rows = [[show(cell).replace("|", "\\|") for cell in row] for row in self.rows]
        return markdown(self.columns, rows) + "\n"

    def latex(self) -> str:
        """With the rules of the package booktabs."""
        lines = [" & ".join(_tex(show(cell)) for cell in row) + r" \\" for row in self.rows]
        head = " & ".join(map(_tex, self.columns)) + r" \\"
        return "\n".join(
            (rf"\begin{{tabular}}{{{'l' * len(self.columns)}}}", r"\toprule", head, r"\midrule", *lines, r"\bottomrule",
             r"\end{tabular}", "")
        )  # fmt: skip

    def csv(self) -> str:
        """Numbers in full; a score has three columns."""
        scored = [any(isinstance(row[i], Scored) for row in self.rows) for i in range(len(self.columns))]
        head = [
            part
            for column, wide in zip(self.columns, scored, strict=True)
            for part in ((column, f"{column} low", f"{column} high") if wide else (column,))
        ]
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(head)
        for row in self.rows:
            cells = []
            for cell, wide in zip(row, scored, strict=True):
                if wide:
                    known = cell is not None and cell.value is not None
                    cells += [repr(part) for part in cell.value] if known else ["", "", ""]
                else:
                    cells.append(cell)
            writer.writerow(cells)
        return buffer.getvalue()


def show(cell: Any) -> str:
    """A cell as text; whole numbers with thousands apart, others with four digits."""
    if isinstance(cell, bool | None):
        return {True: "yes", False: "no", None: "-"}[cell]
    if isinstance(cell, int):
        return f"{cell:,}"
    if isinstance(cell, float):
        return f"{cell:.4g}"
    return str(cell)


def key(cell: Any) -> float | str:
    """What a table is sorted by: a number where the cell is one."""
    if isinstance(cell, Scored):
        return "" if cell.value is None else cell.value[0]
    return cell if isinstance(cell, int | float) and not isinstance(cell, bool) else show(cell)


_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


def _tex(words: str) -> str:
    return "".join(_TEX.get(letter, letter) for letter in words)

"""Tables for people: rich on a terminal, aligned plain text elsewhere, Markdown for the docs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table as RichTable


@dataclass(frozen=True)
class Table:
    """Texts in columns; the first `left` columns are aligned left, the others right; `dim` rows are pale."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1
    dim: frozenset[int] = frozenset()

    def plain(self) -> list[str]:
        """Aligned lines, the header first."""
        lines = [self.columns, *self.rows]
        widths = [max(len(line[index]) for line in lines) for index in range(len(self.columns))]
        align = [str.ljust if index < self.left else str.rjust for index in range(len(widths))]
        return [
            "  ".join(put(text, width) for put, text, width in zip(align, line, widths, strict=True)) for line in lines
        ]

    def markdown(self) -> list[str]:
        """Lines of a table in Markdown."""
        return [f"| {' | '.join(line)} |" for line in (self.columns, ["---"] * len(self.columns), *self.rows)]

    def print(self, console: Console, notes: Iterable[str] = ()) -> None:
        """Write the table, then the notes."""
        if console.is_terminal:
            table = RichTable(*self.columns, box=box.SIMPLE_HEAD, pad_edge=False)
            for column in table.columns:
                column.no_wrap = True
            for column in table.columns[self.left :]:
                column.justify = "right"
            for index, row in enumerate(self.rows):
                table.add_row(*row, style="dim" if index in self.dim else None)
            console.print(table, crop=False, overflow="ignore", no_wrap=True)
        for line in [*([] if console.is_terminal else self.plain()), *notes]:
            console.print(line, markup=False, highlight=False, soft_wrap=True)

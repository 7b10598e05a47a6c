"""Tables for people: rich on a terminal, aligned plain text elsewhere, Markdown for the docs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table as RichTable

SHORTEST, GAP = 12, 2  # characters: of a name that is folded, and between two columns


@dataclass(frozen=True)
class Table:
    """Texts in columns; `dim` rows are pale.

    The first `left` columns are names, aligned left: a narrow terminal folds them. The others are numbers, aligned
    right and never cut.
    """

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

    def _narrowest(self) -> int:
        """Characters that the whole numbers and the shortest names take."""
        lines = [self.columns, *self.rows]
        numbers = sum(max(len(line[index]) for line in lines) + GAP for index in range(self.left, len(self.columns)))
        return numbers + self.left * (SHORTEST + GAP)

    def print(self, console: Console, notes: Iterable[str] = ()) -> None:
        """Write the table, then the notes."""
        if console.is_terminal:
            table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
            for title in self.columns[: self.left]:
                table.add_column(title, overflow="fold")
            for title in self.columns[self.left :]:
                table.add_column(title, justify="right", no_wrap=True)
            for index, row in enumerate(self.rows):
                table.add_row(*row, style="dim" if index in self.dim else None)
            if self._narrowest() > console.width:
                table.width = self._narrowest()
            console.print(table, crop=False)
        for line in [*([] if console.is_terminal else self.plain()), *notes]:
            console.print(line, markup=False, highlight=False, soft_wrap=True)

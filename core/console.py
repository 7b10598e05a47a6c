"""Talking to the person at the terminal: rich on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")
PLAIN_PERIOD_S = 10.0

console = Console(file=sys.stderr, highlight=False, soft_wrap=True)


def say(message: str) -> None:
    """One line of progress, on stderr so that `--json` output stays clean."""
    console.print(message, markup=False)


def track(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Iterate with progress: a bar on a terminal, elsewhere a line every ten seconds."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            yield from progress.track(items, total=total, description=what)
        return
    last = time.monotonic()
    for done, item in enumerate(items):
        if time.monotonic() - last > PLAIN_PERIOD_S:
            say(f"{what}: {done}/{total if total is not None else '?'}")
            last = time.monotonic()
        yield item

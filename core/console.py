"""Messages and progress: library code logs them; a command shows them, rich on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

T = TypeVar("T")
LOGGER = "pidnet_int8"
PLAIN_PERIOD_S = 10.0

console = Console(stderr=True, highlight=False, soft_wrap=True)
logger = logging.getLogger(LOGGER)


def say(message: str) -> None:
    """Log one line of progress, at level INFO."""
    logger.info("%s", message)


def warn(message: str) -> None:
    """Log one line that a user should see even under `--quiet`."""
    logger.warning("warning: %s", message)


def detail(message: str) -> None:
    """Log one line that only `--verbose` shows."""
    logger.debug("%s", message)


def show_messages(level: int = logging.INFO) -> None:
    """Print logged messages on stderr, so that `--json` output stays clean. Commands call this, libraries do not."""
    if not any(isinstance(handler, _Printer) for handler in logger.handlers):
        logger.addHandler(_Printer())
    logger.setLevel(level)
    logger.propagate = False


class _Printer(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        console.print(record.getMessage(), markup=False)


def track(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Iterate with progress and the time left: a bar on a terminal, elsewhere a line every ten seconds."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    if console.is_terminal and logger.handlers and logger.isEnabledFor(logging.INFO):
        with bar() as progress:
            yield from progress.track(items, total=total, description=what)
        return
    started = last = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if now - last > PLAIN_PERIOD_S:
            say(f"{what}: {progress_line(done, total, now - started)}")
            last = now
        yield item


class _TimeLeft(ProgressColumn):
    """The time left as everywhere else, such as `3 min 20 s left`."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        return Text("" if task.time_remaining is None else f"{duration(task.time_remaining)} left")


def bar() -> Progress:
    """A progress bar that vanishes when it is done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _TimeLeft())
    return Progress(*columns, console=console, transient=True)


def progress_line(done: int, total: int | None, elapsed_s: float) -> str:
    """The number of steps done and, if `total` is known, the time left at the speed so far."""
    if total is None or not done:
        return f"{done}/{'?' if total is None else total}"
    return f"{done}/{total}, {duration(elapsed_s / done * max(total - done, 0))} left"


def duration(seconds: float) -> str:
    """Two units at most: "40 s", "3 min 20 s", "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def tail(name: str, limit: int) -> str:
    """`name`, or its end where it is longer than `limit` characters: module paths differ most at the end."""
    return name if len(name) <= limit else f"…{name[1 - limit :]}"

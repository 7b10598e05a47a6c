"""The position of a command among its stages: `stage 4/12 apply openvino: placement changed`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from core.console import detail, say

SHOWN_REASONS = 2
LONGEST_REASON = 60  # characters; of a longer one only the key is said
_FOLLOWS = ("options.placement", "options.meaning")  # of an engine: they follow from the graph
_HASH = re.compile(r"[0-9a-f]{16}")


class Course:
    """The stages of a command in their order; it says in one line which of them are up to date."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = list(dict.fromkeys(names))
        self._current: list[str] = []
        self._passed: set[str] = set()

    def starts(self, name: str, reasons: Sequence[str] = ()) -> None:
        """Say that a stage runs, and why it runs again."""
        self.fold()
        self._passed.add(name)
        why = brief(reasons)
        say(f"{self._numbered([name])}{name}{': ' if why else ''}{why}")
        if reasons:
            detail(f"  {name}: {'; '.join(reasons)}")

    def is_current(self, name: str, note: str = "") -> None:
        """Remember that a stage is up to date."""
        if name in self._names and name not in self._passed:
            self._passed.add(name)
            self._current.append(name)
            if note:
                say(f"{name}: {note}")
        else:
            detail(f"{name}: up to date{note and ', '}{note}")

    def fold(self) -> None:
        """Say which stages were up to date since the last line."""
        if self._current:
            say(f"{self._numbered(self._current)}up to date: {', '.join(self._current)}")
            self._current = []

    def _numbered(self, names: Sequence[str]) -> str:
        """`stage 3/12 `, `stages 1-3/12 `; an indent for a step of a stage."""
        if names[0] not in self._names:
            return "  " if self._names else ""
        first, last = (self._names.index(name) + 1 for name in (names[0], names[-1]))
        which = f"stage {first}" if first == last else f"stages {first}-{last}"
        return f"{which}/{len(self._names)} "


_course = Course()


def current() -> Course:
    """The course of the running command; one that counts nothing where no command has set any."""
    return _course


@contextmanager
def course(names: Iterable[str]) -> Iterator[None]:
    """Within the block the stages `names` are counted; a course inside another one changes nothing."""
    global _course
    if _course._names:
        yield
        return
    _course = Course(names)
    try:
        yield
    finally:
        _course.fold()
        _course = Course()


def brief(reasons: Sequence[str]) -> str:
    """The reasons of a stage that runs again in few words; nothing for one that runs for the first time."""
    settings, files, follow = list[str](), list[str](), list[str]()
    for reason in reasons:
        key, separator, _ = reason.partition(": ")
        if key == "code":
            settings.append("the code changed")
        elif separator:
            short = f"{key} changed" if len(reason) > LONGEST_REASON or _HASH.search(reason) else reason
            (follow if key.startswith(_FOLLOWS) else settings).append(short)
        elif not reason.endswith("not made yet"):
            files.append(reason)
    shown = settings or files or follow  # the first of these explains the others
    more = len(shown) - SHOWN_REASONS
    return "; ".join(shown[:SHOWN_REASONS]) + (f"; and {more} more" if more > 0 else "")

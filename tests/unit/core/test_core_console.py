"""core/console.py: lines of progress where there is no terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from core import console as module
from core.console import duration, progress_line, track


def test_time_left_follows_the_speed_so_far() -> None:
    assert progress_line(20, 80, 30.0) == "20/80, 1 min 30 s left"
    assert progress_line(80, 80, 30.0) == "80/80, 0 s left"
    assert progress_line(0, 80, 30.0) == "0/80", "no speed is known yet"
    assert progress_line(7, None, 30.0) == "7/?", "nobody knows where the end is"


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7530, "2 h 5 min")]
)
def test_durations_are_told_in_two_units(seconds: float, told: str) -> None:
    assert duration(seconds) == told


def test_a_line_every_ten_seconds_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, written = iter(range(0, 1000, 6)), io.StringIO()
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(module, "console", Console(file=written, soft_wrap=True))
    assert list(track(range(5), "probing")) == [0, 1, 2, 3, 4]
    assert written.getvalue().splitlines() == ["probing: 1/5, 48 s left", "probing: 3/5, 16 s left"]

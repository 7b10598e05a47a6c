"""Tables on a terminal of 80 columns: names fold, numbers stay whole; `doctor` is in colour."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from core.cli.text_table import Table
from deploy.apps import doctor, report
from deploy.apps.roofline import Estimate
from deploy.bundle.types import Bundle
from deploy.pipeline import BuildOutcome

LONG = "a_module_with_a_long_name." * 5


@pytest.fixture
def terminal(monkeypatch):
    """A console as of a colour terminal; its text is what the reader sees."""
    console = Console(file=StringIO(), force_terminal=True, width=80, soft_wrap=True, highlight=False)
    monkeypatch.setattr(report, "_out", console)
    return console


def text_of(console):
    return console.file.getvalue()


def test_estimates(terminal, capsys):
    report.print_estimates([Estimate(LONG, "int8", 12345.6, ()), Estimate("L4", "fp16", 98765.4, ())])
    shown = text_of(terminal)
    assert "12345.6" in shown and "98765.4" in shown and "8.000" in shown and "…" not in shown
    assert "not measured" in capsys.readouterr().out.lower()


def test_outcomes(terminal, monkeypatch):
    monkeypatch.setattr(Bundle, "size_bytes", 123_456_789)
    bundle = Bundle(Path("engines") / LONG / "openvino-int8", "openvino", "int8", {})
    report.print_outcomes([BuildOutcome("openvino", "int8", bundle, "ok")])
    shown = text_of(terminal)
    assert "123.5 MB" in shown and "OpenVINO int8" in shown and "…" not in shown


def test_the_tables_of_the_benchmarks(terminal):
    Table(("engine", "ms", "change"), [(LONG, "12345.67", "−0.12 [−0.30, +0.05]")]).print(terminal)
    assert "12345.67" in text_of(terminal) and "−0.12 [−0.30, +0.05]" in text_of(terminal)
    assert "…" not in text_of(terminal)


def test_numbers_that_need_more_than_the_terminal_has_are_whole(terminal):
    numbers = [str(10**9 + index) for index in range(12)]
    Table(["engine", *map(str, range(12))], [["x", *numbers]]).print(terminal)
    assert all(number in text_of(terminal) for number in numbers)


def test_doctor_shows_states_in_colour(monkeypatch, terminal):
    monkeypatch.setattr(doctor, "Console", lambda **_: terminal)
    found = (
        doctor.Finding("tool", "ffmpeg", "optional", LONG, "fix it"),
        doctor.Finding("tool", "x", "missing", "", "y"),
    )
    doctor.print_diagnosis(doctor.Diagnosis(found, ("OpenVINO int8",), ("OpenVINO int8",)))
    shown = text_of(terminal)
    assert "\x1b[31mmissing" in shown and "\x1b[2moptional" in shown and "\x1b[31mNot ready" in shown
    assert "…" not in shown

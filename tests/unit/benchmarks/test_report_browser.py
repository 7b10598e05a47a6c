"""The report in a real browser: every chart is drawn, nothing is written to the console, nothing is loaded."""

import dataclasses
import os
import re
import shutil
import subprocess

import pytest

from benchmarks.record.details import Layer
from benchmarks.report.page import render
from core.artifacts import sha256_file
from core.paths import RunPaths
from qat.sensitivity.report.results import write_results
from tests.sensitivity.report.findings import findings
from tests.unit.benchmarks.fakes import FakeBackend, FakeSession, built
from tests.unit.benchmarks.test_report import found_in

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--no-first-run", "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr"),
    *("--virtual-time-budget=20000", "--dump-dom"),
)

pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="no chromium and no google-chrome on the PATH"),
    pytest.mark.slow,
]


@pytest.fixture
def measured(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = RunPaths("squares")
    paths.dir.mkdir(parents=True)
    paths.fp32_checkpoint.write_bytes(b"weights")
    analysis = dataclasses.replace(findings(), weights_sha256=sha256_file(paths.fp32_checkpoint))
    write_results(analysis, paths.dir / "best.sensitivity")
    engines = {"fp32": FakeSession(clock=(40.0,)), "int8": FakeSession(clock=(10.0,), wrong_columns=1)}
    outcomes = [built(tmp_path, "fake", precision) for precision in engines]
    layers = (Layer(name="conv", kind="Conv", precision="int8", ms=2.0),)
    return found_in(FakeBackend("fake", engines), outcomes).model_copy(update={"layers": {"fake int8": layers}})


def opened(page: str, folder) -> tuple[str, list[str]]:
    """The page's DOM after its scripts ran, and what they wrote to the console."""
    file = folder / "page.html"
    file.write_text(page, encoding="utf-8")
    command = [BROWSER, *FLAGS, f"--user-data-dir={folder / 'profile'}", file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, "HOME": str(folder)})
    assert done.returncode == 0, done.stderr
    return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


def test_every_chart_is_drawn_without_an_error(measured, tmp_path):
    page = render(measured)
    dom, console = opened(page, tmp_path)
    assert console == []
    places = re.findall(r'data-figure="([^"]*)"', page)
    assert len(places) == 4
    drawn = re.findall(r'class="chart js-plotly-plot" data-figure="([^"]*)"', dom)
    assert drawn == places
    assert "var(--int8)" not in "".join(re.findall(r"<svg.*?</svg>", dom, re.DOTALL)), "colours are resolved"


def test_a_broken_script_would_be_noticed(measured, tmp_path):
    page = render(measured).replace("Plotly.react(", "Plotly.draw(")
    _, console = opened(page, tmp_path)
    assert len(console) == 1 and "Plotly.draw is not a function" in console[0]

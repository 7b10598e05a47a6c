"""benchmarks/report/sensitivity.py: the report shows the analysis of its own weights, and of no others."""

import dataclasses
import os
import re

import pytest

from benchmarks.report import charts
from benchmarks.report.page import render
from benchmarks.report.sensitivity import of_run
from core.files.artifacts import sha256_file
from core.files.paths import RunPaths
from qat.sensitivity.report.results import write_results
from tests.sensitivity.report.findings import findings
from tests.unit.benchmarks.fakes import FakeBackend, FakeSession, built
from tests.unit.benchmarks.report.test_report import found_in, rows_in


@pytest.fixture
def weights(tmp_path, monkeypatch) -> str:
    """SHA-256 of the run's FP32 checkpoint."""
    monkeypatch.chdir(tmp_path)
    paths = RunPaths("squares")
    paths.dir.mkdir(parents=True)
    paths.fp32_checkpoint.write_bytes(b"weights")
    return sha256_file(paths.fp32_checkpoint)


def analysed(name: str, weights_sha256: str | None, **changes):
    """The folder of an analysis, as sensitivity_analysis.py leaves it."""
    folder = RunPaths(name).dir / "best.sensitivity"
    write_results(dataclasses.replace(findings(), weights_sha256=weights_sha256, **changes), folder)
    return folder


def test_analysis_of_other_weights_or_of_another_version_is_not_ours(weights):
    assert of_run("squares") is None
    analysed("other", "ab" * 32)
    analysed("unknown", None)
    (analysed("old", weights) / "results.json").write_text('{"schema": 0}')
    assert of_run("squares") is None


def test_newest_analysis_of_the_weights_wins(weights):
    os.utime(analysed("first", weights, command="first") / "results.json", (1, 1))
    analysed("second", weights, command="second")
    assert of_run("squares").command == "second"


def test_bars_are_sorted_with_their_intervals_and_the_float_set_stands_out(weights):
    analysed("squares", weights)
    found = of_run("squares")
    kept = found.groups[0].model_copy(update={"name": "less", "float": False})
    kept = kept.model_copy(update={"exact": kept.exact.model_copy(update={"value": 0.1, "low": 0.05, "high": 0.12})})
    first, second = charts.damages(found.model_copy(update={"groups": (kept, *found.groups)})).rows
    assert (first.name, second.name) == ("body.0", "less"), "unmeasured groups have no bar"
    assert (first.kind, first.value, second.kind) == ("float", 0.3, "int8")
    assert second.text == "0.1 [0.05, 0.12]" and (second.low, second.high) == (0.05, 0.12)


def test_a_group_tells_how_many_layers_it_has(weights):
    analysed("squares", weights)
    found = of_run("squares")
    joined = found.groups[0].model_copy(update={"name": "0", "layers": ("0", "cat", "mix")})
    (bar,) = charts.damages(found.model_copy(update={"groups": (joined,)})).rows
    assert bar.name == "0 +2" and bar.hover.startswith("0, cat, mix; ")


def test_nothing_measured_is_no_chart(weights):
    analysed("squares", weights)
    found = of_run("squares")
    assert charts.damages(found.model_copy(update={"groups": found.groups[1:]})) is None


def test_report_shows_the_chosen_set_and_the_verdict(weights, tmp_path):
    engines = {"fp32": FakeSession(clock=(40.0,)), "int8": FakeSession(clock=(10.0,))}
    outcomes = [built(tmp_path, "fake", precision) for precision in engines]
    found = found_in(FakeBackend("fake", engines), outcomes)
    assert "Sensitivity" not in render(found)
    analysed("squares", weights)
    page = render(found)
    assert rows_in(page)[-1] == ("body.0", "0.3 [0.25, 0.35]")
    text = re.sub(r"\s+", " ", page)
    assert "Chosen to stay float: body.0." in text and "the tolerance 0.1 was met" in text
    assert "rise of the loss over FP32" in text and "placement.skip: [body.0]" in text

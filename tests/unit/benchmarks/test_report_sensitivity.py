"""benchmarks/report/sensitivity.py: the report shows the analysis of its own weights, and of no others."""

import dataclasses
import os
import re

import pytest

from benchmarks.report import charts
from benchmarks.report.page import render
from benchmarks.report.sensitivity import of_run
from core.artifacts import sha256_file
from core.paths import RunPaths
from qat.sensitivity.report.results import write_results
from tests.sensitivity.report.findings import findings
from tests.unit.benchmarks.fakes import FakeBackend, FakeSession, built
from tests.unit.benchmarks.test_report import figures_in, found_in, without_library


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
    figure = charts.damages(found.model_copy(update={"groups": (kept, *found.groups)}))
    assert figure["layout"]["yaxis"]["categoryarray"] == ["body.0", "less"], "unmeasured groups have no bar"
    stays, int8 = figure["data"]
    assert (stays["name"], stays["y"], stays["x"]) == ("stays float", ["body.0"], [0.3])
    assert int8["y"] == ["less"]
    assert int8["error_x"]["array"] == [pytest.approx(0.02)] and int8["error_x"]["arrayminus"] == [pytest.approx(0.05)]


def test_a_group_tells_how_many_layers_it_has_and_a_long_name_keeps_its_end(weights):
    analysed("squares", weights)
    found = of_run("squares")
    long = "backbone.stages.2.blocks.11.attention.projection"
    joined = found.groups[0].model_copy(update={"name": "0", "layers": ("0", "cat", "mix")})
    far = joined.model_copy(update={"name": long, "layers": (long,)})
    axis = charts.damages(found.model_copy(update={"groups": (joined, far)}))["layout"]["yaxis"]
    assert axis["tickvals"] == ["0 +2", long] and axis["type"] == "category"
    assert axis["ticktext"] == ["0 +2", "…es.2.blocks.11.attention.projection"]


def test_nothing_measured_is_no_chart(weights):
    analysed("squares", weights)
    found = of_run("squares")
    assert charts.damages(found.model_copy(update={"groups": found.groups[1:]})) is None


def test_report_shows_the_chosen_set_and_the_verdict(weights, tmp_path):
    engines = {"fp32": FakeSession(clock=(40.0,)), "int8": FakeSession(clock=(10.0,))}
    outcomes = [built(tmp_path, "fake", precision) for precision in engines]
    found = found_in(FakeBackend("fake", engines), outcomes)
    assert "Sensitivity" not in without_library(render(found))
    analysed("squares", weights)
    page = render(found)
    assert 'data-figure="sensitivity"' in page and "sensitivity" in figures_in(page)
    text = re.sub(r"\s+", " ", without_library(page))
    assert "Chosen to stay float: body.0." in text and "the tolerance 0.1 was met" in text
    assert "rise of the loss over FP32" in text and "placement.skip: [body.0]" in text

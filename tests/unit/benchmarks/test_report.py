"""benchmarks/report/ and measure/example_images.py: one page that holds everything and loads nothing."""

import json
import re

import cv2
import numpy as np
import pytest

from benchmarks.measure.engines import Candidate, measure
from benchmarks.measure.environment import describe
from benchmarks.measure.example_images import write_png
from benchmarks.measure.validation import Validation, spread
from benchmarks.record.details import Layer, NamedColor, Placed
from benchmarks.record.files import CostCurves, Results
from benchmarks.record.rows import Point, Row
from benchmarks.report import charts
from benchmarks.report.__main__ import main
from benchmarks.report.page import render, time_by_kind
from core.paths import RunPaths
from deploy.checks.layer_snr import LayerSnr
from deploy.pipeline import BuildOutcome
from deploy.plan.plan import SkippedNode
from deploy.targets import title_of
from qat.tasks.masks import CHANGED, GAINED, LOST, difference
from tests.unit.benchmarks.fakes import BENCH, CLASSES, SEGMENTATION, FakeBackend, FakeSession, Squares, built, prepare

CONFIG = {
    "task": "segmentation",
    "bench": BENCH.model_dump(mode="json"),
    "model": {"name": "pidnet_s"},
    "qat": {"epochs": 2},
    "data": {"name": "squares", "width_px": 24, "height_px": 16},
}


def found_in(backend, outcomes) -> Results:
    """Results of a run called squares, below the working directory."""
    folder = RunPaths("squares").results
    simulated = np.stack([Squares()[index].label for index in range(5)])
    validation = Validation(Squares(), prepare, CLASSES, SEGMENTATION, simulated, [])
    candidates = [Candidate(outcome) for outcome in outcomes]
    rows, examples = measure(candidates, {"fake": backend}, validation, BENCH, folder / "accuracy.json", folder)
    return Results(
        run="squares",
        created="2030-01-01T00:00:00+00:00",
        command="python benchmarks/run.py --config 'a b.yaml'",
        config=CONFIG,
        environment=describe(),
        artifacts={"runs/squares/fp32.onnx": "ab" * 32},
        classes=tuple(NamedColor(name=n, color=c) for n, c in zip(Squares.class_names, Squares.colors, strict=True)),
        val_images=5,
        rows=tuple(rows),
        examples=examples,
    )


@pytest.fixture
def found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    engines = {"fp32": FakeSession(clock=(40.0,)), "int8": FakeSession(clock=(10.0,), wrong_columns=1)}
    outcomes = [
        built(tmp_path, "fake", "fp32"),
        built(tmp_path, "fake", "int8"),
        BuildOutcome("tensorrt", "int8", None, "unavailable", "no driver <here>; fix: get one"),
    ]
    return found_in(FakeBackend("fake", engines), outcomes)


def without_library(page: str) -> str:
    """The page less the one copy of plotly.js."""
    assert page.count('<script id="plotly">') == 1
    return re.sub('<script id="plotly">.*?</script>', "", page, flags=re.DOTALL)


def figures_in(page: str) -> dict:
    return json.loads(re.search(r"^const figures = (.*);$", page, re.MULTILINE)[1])


def test_page_loads_nothing_from_anywhere(found):
    page = without_library(render(found))
    resources = re.findall(r"""(?:src|href|srcset|action|data)\s*=\s*["']([^"']*)""", page)
    assert resources and all(each.startswith("data:image/webp;base64,") for each in resources)
    assert "@import" not in page and "url(" not in page


def test_every_row_is_there_with_its_numbers_or_its_reason(found):
    page = render(found)
    assert re.findall('data-engine="([^"]*)"', page) == ["fake fp32", "fake int8", f"{title_of('tensorrt')} int8"]
    assert "4.00×<br><small>[4.00, 4.00]</small>" in page
    assert "no driver &lt;here&gt;; fix: get one" in page, "reasons are escaped"


def test_pictures_are_inside(found):
    page = without_library(render(found))
    assert page.count("data:image/webp;base64,") == 5 * BENCH.strip_images
    assert all(item.name in page for item in found.examples.items)


def test_commands_and_hashes_are_there(found):
    page = render(found)
    assert "python benchmarks/run.py --config &#39;a b.yaml&#39;" in page
    assert "python -m benchmarks.report squares" in page
    assert "ab" * 32 in page


def test_every_chart_has_a_place_and_every_place_a_chart(found):
    page = render(found)
    assert set(re.findall('data-figure="([^"]*)"', page)) == set(figures_in(page)) == {"scatter", "change-fake int8"}
    assert {trace["name"] for trace in figures_in(page)["scatter"]["data"] if trace["mode"] == "markers"} == {
        "fake fp32",
        "fake int8",
    }
    bars = figures_in(page)["change-fake int8"]["data"][0]
    assert tuple(bars["y"]) == Squares.class_names
    assert bars["text"][2] == "n/a", "the class that never occurs"
    assert bars["text"][0].startswith("−") and bars["x"][0] < 0


def test_layers_and_placement_are_shown_with_reasons(found):
    layers = (Layer(name="conv", kind="Conv", precision="int8", ms=2.0),)
    layers += (Layer(name="up</script>", kind="Interpolate", precision="fp32", ms=1.0),)
    skips = (SkippedNode(node="/up/Resize", rule="resize", why="interpolates"),)
    placed = Placed(activations={"weighted-ops": 3}, weights=2, skips=skips)
    page = render(found.model_copy(update={"layers": {"fake int8": layers}, "placement": {"openvino": placed}}))
    assert [trace["name"] for trace in figures_in(page)["layers"]["data"]] == ["int8", "fp32"]
    assert "up&lt;/script&gt;" in page and "up</script>" not in page
    assert "interpolates" in page and "/up/Resize" in page and "weighted-ops 3" in page


def test_layers_far_from_fp32_are_shown(found):
    noise = {"fake int8": (LayerSnr("/stem/Conv", "out", 7.04),)}
    page = render(found.model_copy(update={"noise": noise}))
    assert "<td>/stem/Conv</td><td>7.0</td>" in page


def test_layers_are_summed_by_kind_and_precision():
    costs = [("a", "Conv", "int8", 1.0), ("b", "Conv", "fp32", 1.5), ("c", "Conv", "int8", 2.0)]
    layers = [Layer(name=n, kind=k, precision=p, ms=ms) for n, k, p, ms in costs]
    assert time_by_kind(layers) == [("Conv", "int8", 2, 3.0), ("Conv", "fp32", 1, 1.5)]


def point(batch: int, ms: float, **changes) -> Point:
    latency = {"p50": ms, "p90": ms, "p99": ms, "mean": ms, "cv": 0.0}
    shape = {"backend": "fake", "precision": "int8", "batch": batch, "height_px": 16, "width_px": 24}
    return Point.model_validate({**shape, "status": "ok", "latency_ms": latency, **changes})


def test_cost_curves_are_per_image_and_leave_out_what_failed():
    figure = charts.curves([point(1, 10), point(4, 20), point(8, 0, status="failed", latency_ms=None)], "batch")
    assert figure["data"][0]["x"] == [1, 4] and figure["data"][0]["y"] == [10, 5]
    assert charts.curves([point(1, 0, status="failed", latency_ms=None)], "batch") is None


def test_a_sweep_of_other_weights_is_told(found):
    now = {"at_s": 0, "load_1min": 0, "cpu_mhz": None, "gpu_mhz": None, "process_threads": 1}
    now |= {"own_cpu_s": 0, "busy_cpu_s": None}
    content = {"run": "squares", "created": "", "command": "sweep it", "config": CONFIG, "qdq_sha256": "ab" * 32}
    content["environment"] = describe()
    content |= {"batches": [point(1, 10)], "sizes": [], "conditions": {"before": now, "after": now, "others_cpus": 0}}
    (curves := CostCurves.model_validate(content)).save()
    page = render(found)
    assert "batches" in figures_in(page) and "sizes" not in figures_in(page)
    assert "with other weights" not in page and "sweep it" in page
    curves.model_copy(update={"qdq_sha256": "cd" * 32}).save()
    assert "with other weights" in render(found)


def test_page_without_any_measured_engine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcomes = [BuildOutcome("fake", "int8", None, "failed", "boom")]
    page = render(found_in(FakeBackend("fake", {}), outcomes))
    assert "No INT8 engine could be measured" in page and "boom" in page
    assert "<script" not in page and "<img" not in page


def test_page_with_float_engines_only(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    backend = FakeBackend("fake", {"fp32": FakeSession()})
    page = render(found_in(backend, [built(tmp_path, "fake", "fp32")]))
    assert "No INT8 engine could be measured" in page and set(figures_in(page)) == {"scatter"}


def test_command_renders_a_run_again(found, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = RunPaths("squares").results
    found.model_copy(update={"examples": None}).save()
    monkeypatch.setattr("sys.argv", ["report", "squares"])
    assert main() == 0
    assert "fake int8" in (folder / "report.html").read_text(encoding="utf-8")


def test_command_says_when_there_are_no_results(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["report", "nothing"])
    assert main() == 2
    assert "no benchmark results" in capsys.readouterr().err


def test_difference_tells_loss_from_gain():
    label, fp32, int8 = (np.array([row], np.uint8) for row in ([0, 0, 0, 1, 255], [0, 0, 1, 0, 0], [0, 1, 0, 2, 1]))
    picture = difference(np.zeros((1, 5, 3), np.uint8), label, fp32, int8)[0]
    assert [tuple(pixel) for pixel in picture[1:]] == [LOST, GAINED, CHANGED, CHANGED]
    assert len(set(picture[0].tolist())) == 1, "an unchanged pixel is grey"


@pytest.mark.parametrize(("total", "count", "indices"), [(101, 4, [12, 37, 63, 88]), (2, 4, [0, 1]), (5, 1, [2])])
def test_spread(total, count, indices):
    assert spread(total, count) == indices


def test_wide_masks_are_shrunk_without_new_colours(tmp_path):
    mask = np.zeros((100, 1000, 3), np.uint8)
    mask[:, ::2] = (10, 200, 30)
    write_png(tmp_path / "mask.png", mask, smooth=False)
    stored = cv2.cvtColor(cv2.imread(str(tmp_path / "mask.png")), cv2.COLOR_BGR2RGB)
    assert stored.shape == (48, 480, 3)
    assert {tuple(color) for color in stored.reshape(-1, 3).tolist()} <= {(0, 0, 0), (10, 200, 30)}


def test_scatter_does_not_blow_up_noise():
    rows = [
        Row.model_validate(
            {
                **{"backend": "fake", "precision": precision, "status": "ok", "score": miou},
                "latency_ms": {"p50": ms, "p90": ms, "p99": ms, "mean": ms, "cv": 0.0},
            }
        )
        for precision, ms, miou in (("fp32", 40, 70.0), ("int8", 10, 70.1))
    ]
    low, high = charts.scatter(rows)["layout"]["yaxis"]["range"]
    assert high - low == charts.MIN_SPAN and low < 70 < high

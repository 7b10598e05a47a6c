"""benchmarks/report.py, strip.py, svg.py: one page that holds everything and loads nothing."""

import re
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from benchmarks import svg
from benchmarks.environment import describe
from benchmarks.measure import Validation, measure
from benchmarks.report import main, render
from benchmarks.results import NamedColor, Results, save
from benchmarks.strip import CHANGED, GAINED, LOST, difference, spread, write_png
from core.paths import RunPaths
from tests.unit.bench_fakes import BENCH, CLASSES, FakeBackend, FakeOutcome, FakeSession, Squares, built, prepare

CONFIG = {
    "bench": BENCH.model_dump(mode="json"),
    "model": {"name": "pidnet_s"},
    "data": {"name": "squares", "width_px": 24, "height_px": 16},
}


def found_in(folder, backend, outcomes) -> Results:
    simulated = np.stack([Squares()[index].label for index in range(5)])
    validation = Validation(Squares(), prepare, CLASSES, simulated, [])
    rows, strip = measure(outcomes, {"fake": backend}, validation, BENCH, folder)
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
        strip=strip,
    )


@pytest.fixture
def found(tmp_path):
    engines = {"fp32": FakeSession(clock=(40.0,)), "int8": FakeSession(clock=(10.0,), wrong_columns=1)}
    outcomes = [
        built(tmp_path, "fake", "fp32"),
        built(tmp_path, "fake", "int8"),
        FakeOutcome("trt", "int8", None, "unavailable", "no driver <here>; fix: get one"),
    ]
    return found_in(tmp_path, FakeBackend("fake", engines), outcomes)


def test_page_loads_nothing_from_anywhere(found, tmp_path):
    page = render(found, tmp_path)
    resources = re.findall(r"""(?:src|href|srcset|action|data)\s*=\s*["']([^"']*)""", page)
    assert resources and all(each.startswith("data:image/png;base64,") for each in resources)
    assert "<script" not in page and "@import" not in page and "url(" not in page


def test_every_row_is_there_with_its_numbers_or_its_reason(found, tmp_path):
    page = render(found, tmp_path)
    assert re.findall('data-engine="([^"]*)"', page) == ["fake fp32", "fake int8", "trt int8"]
    assert "4.00× [4.00, 4.00]" in page
    assert "no driver &lt;here&gt;; fix: get one" in page, "reasons are escaped"


def test_pictures_are_inside(found, tmp_path):
    page = render(found, tmp_path)
    assert page.count("data:image/png;base64,") == 5 * BENCH.strip_images
    assert all(item.name in page for item in found.strip.items)


def test_commands_and_hashes_are_there(found, tmp_path):
    page = render(found, tmp_path)
    assert "python benchmarks/run.py --config &#39;a b.yaml&#39;" in page
    assert "python -m benchmarks.report squares" in page
    assert "ab" * 32 in page


def test_charts_are_well_formed_and_name_every_engine(found, tmp_path):
    scatter, bars = (ElementTree.fromstring(text) for text in re.findall("<svg.*?</svg>", render(found, tmp_path)))
    assert {"fake fp32", "fake int8"} <= set(scatter.itertext())
    assert set(Squares.class_names) <= set(bars.itertext())
    assert "n/a" in set(bars.itertext()), "the class that never occurs"


def test_page_without_any_measured_engine(tmp_path):
    outcomes = [FakeOutcome("fake", "int8", None, "failed", "boom")]
    page = render(found_in(tmp_path, FakeBackend("fake", {}), outcomes), tmp_path)
    assert "No INT8 engine could be measured" in page and "boom" in page
    assert "<svg" not in page and "<img" not in page


def test_page_with_float_engines_only(tmp_path):
    backend = FakeBackend("fake", {"fp32": FakeSession()})
    page = render(found_in(tmp_path, backend, [built(tmp_path, "fake", "fp32")]), tmp_path)
    assert "No INT8 engine could be measured" in page and page.count("<svg") == 1


def test_command_renders_a_run_again(found, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = RunPaths("squares").results
    save(found.model_copy(update={"strip": None}), folder)
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
    assert [tuple(pixel) for pixel in picture[1:]] == [LOST.color, GAINED.color, CHANGED.color, CHANGED.color]
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


@pytest.mark.parametrize(
    ("low", "high", "ticks"), [(0, 10, [0, 2, 4, 6, 8, 10]), (-1, 1, [-1, -0.5, 0, 0.5, 1]), (69.1, 72.2, [70, 71, 72])]
)
def test_ticks_are_round(low, high, ticks):
    assert svg.Axis(low, high, 0, 100).ticks(5) == pytest.approx(ticks)


def test_labels_of_close_points_do_not_cover_each_other():
    points = [svg.Point(x, 70, "fp32", f"engine{x}") for x in (40, 40.5, 41, 41.5)]
    chart = ElementTree.fromstring(svg.scatter(points, "ms", "%", 3))
    names = [text for text in chart.iter("text") if text.get("class") == "name"]
    boxes = [svg._text_box(float(t.get("x")), float(t.get("y")), t.get("text-anchor"), t.text) for t in names]
    assert len(boxes) == 4
    assert not any(svg._overlap(a, b) for i, a in enumerate(boxes) for b in boxes[:i])

"""benchmarks/report/ and measure/example_images.py: one page that holds everything and loads nothing."""

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
from core.cli.naming import command
from core.files.paths import RunPaths
from core.interval import signed
from core.page.plot import WIDTHS
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


def rows_in(page: str) -> list[tuple[str, str]]:
    """Names and numbers of all bars, in their order."""
    return re.findall(r'class="name">(.*?)</span>.*?class="value">(.*?)</span>', page)


def test_page_loads_nothing_from_anywhere(found):
    page = render(found)
    resources = re.findall(r"""(?:src|href|srcset|action)\s*=\s*["']([^"']*)""", page)
    assert resources and all(each.startswith("data:image/webp;base64,") for each in resources)
    assert "@import" not in page and "url(" not in page and "http" not in page and "fetch(" not in page


def test_every_picture_and_chart_has_a_text_for_those_who_do_not_see_it(found):
    page = render(found)
    alternatives = re.findall(r'<img [^>]*alt="([^"]*)"', page)
    assert len(alternatives) == page.count("<img") and all(": " in text or ", " in text for text in alternatives)
    drawings = re.findall(r'<svg [^>]*role="img" aria-label="([^"]*)"', page)
    assert len(drawings) == page.count("<svg") == len(WIDTHS)
    assert all("fake INT8: 10.00 ms" in text for text in drawings)
    assert page.count('class="bars"') == len(re.findall(r'class="bars" role="group" aria-label="[^"]+"', page)) == 1


def test_what_a_reader_types_or_opens_can_be_copied(found):
    page = render(found)
    copied = dict(re.findall(r'data-copy="([^"]*)">(.*?)</', page))
    assert copied["Engine"] == "engines/squares/fake-fp32" and copied["Report"].endswith("squares/report.html")
    assert copied["Next"].startswith(f"{command('run', 'engines/squares/fake-fp32')} ")


def test_the_top_has_the_interval_and_the_worst_class(found):
    cards = render(found).partition('<div class="cards">')[2].partition("<section>")[0]
    base, best = found.rows[0], found.rows[1]
    assert "<b>4.00×</b>\n    <em>[4.00, 4.00]</em>" in cards
    assert f"<em>[{signed(best.delta_score.low)}, {signed(best.delta_score.high)}]</em>" in cards
    loss, worst = min((best.per_class[name] - base.per_class[name], name) for name in ("road", "car"))
    assert f"<b>{signed(loss)}</b>\n    <em>{worst}</em>" in cards


def test_every_row_is_there_with_its_numbers_or_its_reason(found):
    page = render(found)
    assert re.findall('data-engine="([^"]*)"', page) == ["fake fp32", "fake int8"]
    assert f"<li>{title_of('tensorrt')} int8: unavailable: " in page and page.count("no driver") == 1
    assert "4.00×<small>[4.00, 4.00]</small>" in page
    assert "no driver &lt;here&gt;; fix: get one" in page, "reasons are escaped"


def test_pictures_are_inside(found):
    page = render(found)
    assert page.count("data:image/webp;base64,") == 5 * BENCH.strip_images
    assert all(item.name in page for item in found.examples.items)


def test_commands_and_hashes_are_there(found):
    page = render(found)
    assert "python benchmarks/run.py --config &#39;a b.yaml&#39;" in page
    assert "python -m benchmarks.report squares" in page
    assert "ab" * 32 in page


def test_every_measured_engine_is_a_point_and_every_class_a_bar(found):
    plot = charts.scatter(found.rows)
    assert [(mark.x, mark.label, mark.kind) for mark in plot.marks] == [
        (10.0, "fake INT8", "int8"),
        (40.0, "fake FP32", "fp32"),
    ]
    assert [line.points for line in plot.lines] == [((40.0, plot.marks[1].y), (10.0, plot.marks[0].y))]
    bars = charts.changes(found.rows)["fake int8"].rows
    assert tuple(bar.name for bar in bars) == Squares.class_names
    assert bars[2].text == "n/a", "the class that never occurs"
    assert bars[0].text.startswith("−") and bars[0].value < 0 and bars[0].kind == "loss"
    assert rows_in(render(found)) == [(bar.name, bar.text) for bar in bars]


def test_layers_and_placement_are_shown_with_reasons(found):
    layers = (Layer(name="fused_7", kind="Conv", precision="int8", ms=3.0, modules=("stem.0", "stem.1")),)
    layers += (Layer(name="up</script>", kind="Interpolate", precision="fp32", ms=1.0),)
    skips = (SkippedNode(node="/up/Resize", rule="resize", why="interpolates"),)
    placed = Placed(activations={"weighted-ops": 3}, weights=2, skips=skips)
    page = render(found.model_copy(update={"layers": {"fake int8": layers}, "placement": {"openvino": placed}}))
    assert rows_in(page)[-2:] == [("stem.0 +1", "75.0 % INT8"), ("up&lt;/script&gt; (Interpolate)", "25.0 % FP32")]
    assert "up&lt;/script&gt;" in page and "up</script>" not in page
    assert "interpolates" in page and "/up/Resize" in page and "weighted-ops 3" in page


def test_the_table_of_layers_can_be_sorted(found):
    layers = (Layer(name="conv", kind="Conv", precision="int8", ms=2.0),)
    page = render(found.model_copy(update={"layers": {"fake int8": layers}}))
    tables = re.findall(r"<table data-sort>.*?</table>", page, re.DOTALL)
    (table,) = [each for each in tables if "engine layer" in each]
    assert '<th aria-sort="descending">share, %</th>' in table
    assert table.count("<th") - 1 == table.count("<td"), "the head's own tag begins alike; a cell for each title"
    assert page.index("function sortBy(") > page.index("data-sort")


def test_layers_far_from_fp32_are_shown(found):
    noise = {"fake int8": (LayerSnr("/stem/Conv", "out", 7.04),)}
    page = render(found.model_copy(update={"noise": noise}))
    assert '<td class="words">/stem/Conv</td><td>7.0</td>' in page


def test_layers_are_summed_by_kind_and_precision():
    costs = [("a", "Conv", "int8", 1.0), ("b", "Conv", "fp32", 1.5), ("c", "Conv", "int8", 2.0)]
    layers = [Layer(name=n, kind=k, precision=p, ms=ms) for n, k, p, ms in costs]
    assert [(*row[:3], round(row[3], 2)) for row in time_by_kind(layers)] == [
        ("Conv", "int8", 2, 66.67),
        ("Conv", "fp32", 1, 33.33),
    ]


def point(batch: int, ms: float, **changes) -> Point:
    latency = {"p50": ms, "p90": ms, "p99": ms, "mean": ms, "cv": 0.0}
    shape = {"backend": "fake", "precision": "int8", "batch": batch, "height_px": 16, "width_px": 24}
    return Point.model_validate({**shape, "status": "ok", "latency_ms": latency, **changes})


def test_cost_curves_are_per_image_and_leave_out_what_failed():
    figure = charts.curves([point(1, 10), point(4, 20), point(8, 0, status="failed", latency_ms=None)], "batch")
    assert [line.points for line in figure.lines] == [[(1, 10), (4, 5)]]
    assert [mark.label for mark in figure.marks] == ["", "fake INT8"], "a line is named at its end"
    assert charts.curves([point(1, 0, status="failed", latency_ms=None)], "batch") is None


def test_a_sweep_of_other_weights_is_told(found):
    now = {"at_s": 0, "load_1min": 0, "cpu_mhz": None, "gpu_mhz": None, "process_threads": 1}
    now |= {"own_cpu_s": 0, "busy_cpu_s": None}
    content = {"run": "squares", "created": "", "command": "sweep it", "config": CONFIG, "qdq_sha256": "ab" * 32}
    content["environment"] = describe()
    content |= {"batches": [point(1, 10)], "sizes": [], "conditions": {"before": now, "after": now, "others_cpus": 0}}
    (curves := CostCurves.model_validate(content)).save()
    page = render(found)
    assert "Batch size at 24 × 16 px" in page and "Resolution, one image" not in page
    assert "with other weights" not in page and "sweep it" in page
    curves.model_copy(update={"qdq_sha256": "cd" * 32}).save()
    assert "with other weights" in render(found)


def test_page_without_any_measured_engine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcomes = [BuildOutcome("fake", "int8", None, "failed", "boom")]
    page = render(found_in(FakeBackend("fake", {}), outcomes))
    assert "No INT8 engine could be measured" in page and "boom" in page
    assert "<svg" not in page and "<img" not in page and 'class="verdict no"' in page


def test_page_with_float_engines_only(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    backend = FakeBackend("fake", {"fp32": FakeSession()})
    page = render(found_in(backend, [built(tmp_path, "fake", "fp32")]))
    assert "No INT8 engine could be measured" in page and 'class="bars"' not in page
    assert page.count("<svg") == len(WIDTHS)


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
    axis = charts.scatter(rows).y
    assert axis.high - axis.low == charts.MIN_SPAN and axis.low < 70 < axis.high

"""benchmarks/record/verdict.py: the engine to ship, first and last in the output."""

import pytest

from benchmarks.measure.environment import describe
from benchmarks.record.files import Results
from benchmarks.record.rows import Latency, Row
from benchmarks.record.verdict import DEMO, headline, next_steps, verdict
from core.interval import Interval


def row(precision: str, ms: float, delta: Interval | None = None, backend: str = "openvino", **more) -> Row:
    latency = Latency(p50=ms, p90=ms, p99=ms, mean=ms, cv=0.0)
    speed = Interval(46 / ms, 46 / ms, 46 / ms)
    shown = {"speedup_vs_fp32": speed, "delta_score": delta or Interval(0, 0, 0), "score": 60.0, **more}
    return Row(backend=backend, precision=precision, status="ok", latency_ms=latency, **shown)


FP32 = row("fp32", 46, per_class={"car": 80.0, "pole": 20.0, "sky": None})
BF16 = row("bf16", 9.2)
GAIN = Interval(0.28, 0.21, 0.36)
FAST = {"fastest_float": "bf16", "speedup_vs_float": Interval(1.27, 1.2, 1.3), "convs_int8": 75, "convs_total": 75}


def found(*rows: Row, data: str = "camvid") -> Results:
    config = {"data": {"name": data}, "bench": {"gate_drop_points": 1.0}}
    counts = {"artifacts": {}, "classes": (), "val_images": 5}
    return Results(run="squares", command="", config=config, environment=describe(), rows=rows, **counts)


def test_the_fastest_engine_within_the_limit_is_to_be_shipped():
    int8 = row("int8", 7.25, GAIN, **FAST)
    told = verdict(found(FP32, BF16, int8))
    assert told.ship == int8
    assert told.headline == (
        "Ship OpenVINO INT8: 6.34× FP32, 1.27× BF16; mIoU no worse (+0.28 [+0.21, +0.36]); 75/75 convolutions in INT8"
    )
    assert told.checks == ()


@pytest.mark.parametrize(
    ("points", "words"),
    [
        (GAIN, "no worse (+0.28"),
        (Interval(0.1, -0.2, 0.3), "the same within its interval (+0.10"),
        (Interval(-0.4, -0.6, -0.2), "lower (−0.40"),
    ],
)
def test_accuracy_is_lower_only_where_the_whole_interval_is(points, words):
    assert f"mIoU {words}" in headline(row("int8", 7, points))


def test_a_loss_above_the_limit_leaves_the_float_engine():
    told = verdict(found(FP32, BF16, row("int8", 7, Interval(-2.1, -2.5, -1.7))))
    assert told.ship == BF16
    assert told.checks == ("OpenVINO INT8 loses 2.10 points of mIoU, limit 1",)


def test_a_slower_int8_engine_is_not_to_be_shipped():
    told = verdict(found(FP32, BF16, row("int8", 12.0)))
    assert told.ship == BF16
    assert told.checks == ("OpenVINO INT8 is slower than OpenVINO BF16",)


def test_classes_that_lose_a_point_are_named_worst_first():
    int8 = row("int8", 7, GAIN, per_class={"car": 78.5, "pole": 18.0, "sky": None})
    assert verdict(found(FP32, int8)).checks == ("check pole −2.00, car −1.50 points of IoU",)


def test_a_demo_says_so():
    assert verdict(found(FP32, data="streets")).checks == (DEMO,)


def test_without_a_measured_engine_nothing_is_to_be_shipped():
    absent = Row(backend="openvino", precision="int8", status="unavailable", reason="no package")
    told = verdict(found(absent))
    assert told.ship is None
    assert next_steps(found(absent), told.ship)[-1].endswith(" doctor")


def test_the_next_step_names_the_engine():
    int8 = row("int8", 7, GAIN)
    engine, report, command = next_steps(found(FP32, int8), int8)
    assert engine.endswith("openvino-int8") and report.endswith("report.html")
    assert "engines/squares/openvino-int8 " in command

"""benchmarks/traffic.py: INT8 engines that move more bytes than half precision are named."""

from dataclasses import replace

from benchmarks.record.rows import Row
from benchmarks.record.traffic import cautions, missed
from deploy.targets.layer_work import EngineWork

LESS = EngineWork(75, 0, 3, 2, 40_000_000, 4_000_000_000)
MORE = EngineWork(0, 75, 67, 0, 60_000_000, 4_000_000_000)


def rows(int8: EngineWork | None, half: EngineWork | None, status: str = "unavailable") -> list[Row]:
    return [
        Row(backend="tensorrt", precision="fp32", status=status, work=replace(LESS, bytes_moved=1)),
        Row(backend="tensorrt", precision="fp16", status=status, work=half),
        Row(backend="tensorrt", precision="int8", status=status, work=int8),
        Row(backend="openvino", precision="int8", status="ok", work=MORE),
    ]


def test_more_bytes_than_half_precision_are_a_caution_though_nothing_ran():
    (said,) = cautions(rows(MORE, LESS))
    assert said.startswith("TensorRT int8: INT8 moves more bytes than fp16: 60.0 MB per inference, fp16 40.0 MB")
    assert cautions(rows(LESS, MORE)) == []
    assert cautions(rows(None, LESS)) == cautions(rows(MORE, None)) == []


def test_gate_names_the_ratio():
    assert missed(rows(MORE, LESS), 1.2) == ["TensorRT int8 moves 1.50 times the bytes of fp16, limit 1.2"]
    assert missed(rows(MORE, LESS), 1.6) == missed(rows(MORE, LESS), None) == []
    assert missed(rows(replace(MORE, bytes_moved=None), LESS), 1.2) == []


def test_results_keep_the_counts():
    (row, *_) = rows(MORE, LESS)
    assert Row.model_validate(row.model_dump(mode="json")) == row

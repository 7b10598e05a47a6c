"""The verdict names the engine to ship: INT8 only where it is the fastest."""

import pytest

from core.interval import Interval
from deploy.apps.quantize.compare import Row
from deploy.apps.quantize.result import Result
from deploy.checks.fidelity import Fidelity

CLOSE = (Fidelity("y", "classes", 0.98, None, 20.0, 0.999),)


def row(backend, precision, ms):
    speedup = Interval(2.0, 1.9, 2.1) if precision == "int8" else None
    return Row(f"{backend} {precision}", backend, precision, "ok", ms=ms, speedup=speedup, fidelity=CLOSE)


@pytest.mark.parametrize(
    ("times", "begins"),
    [
        ({("openvino", "fp32"): 10, ("openvino", "int8"): 4, ("onnxruntime", "int8"): 6}, "Ship openvino int8: 2.00×"),
        ({("onnxruntime", "fp32"): 5, ("onnxruntime", "int8"): 6}, "Ship onnxruntime fp32: 5.00 ms, where"),
        ({("openvino", "bf16"): 3, ("openvino", "int8"): 4}, "Ship openvino bf16: 3.00 ms, where"),
        ({("openvino", "fp32"): 3}, "No INT8 engine could be timed here"),
    ],
)  # fmt: skip
def test_verdict(times, begins):
    result = Result("net.onnx", {}, [row(*name, ms) for name, ms in times.items()])
    assert result.verdict().startswith(begins), result.verdict()
    assert "98.00 % of decisions" in result.verdict() or not any(name[1] == "int8" for name in times)

"""The largest products of uint8 and int8, of which two overflow 16 bits, are correct on any CPU."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import deploy.targets
from deploy.bundle.types import BuildOptions
from deploy.targets import get_backend, target_for

CHANNELS = 64


@pytest.fixture
def largest(tmp_path):
    """Q/DQ, a convolution whose products are all 255 · 127, and Q/DQ again, so that it has an integer kernel."""
    weight = np.full((CHANNELS, CHANNELS, 1, 1), 127, np.int8)
    values = {
        "step": np.float32(1 / 255),
        "zero": np.uint8(0),
        "weight": weight,
        "weight_step": np.full(CHANNELS, 1 / 127, np.float32),
        "weight_zero": np.zeros(CHANNELS, np.int8),
        "sum_step": np.float32(CHANNELS / 255),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "step", "zero"], ["x_q"]),
        helper.make_node("DequantizeLinear", ["x_q", "step", "zero"], ["x_d"]),
        helper.make_node("DequantizeLinear", ["weight", "weight_step", "weight_zero"], ["weight_d"], axis=0),
        helper.make_node("Conv", ["x_d", "weight_d"], ["sum"]),
        helper.make_node("QuantizeLinear", ["sum", "sum_step", "zero"], ["sum_q"]),
        helper.make_node("DequantizeLinear", ["sum_q", "sum_step", "zero"], ["y"]),
    ]
    shape = [1, CHANNELS, 4, 4]
    graph = helper.make_graph(
        nodes,
        "largest",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )
    path = tmp_path / "largest.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)
    return path


def test_onnx_runtime_adds_uint8_products_exactly(largest, tmp_path):
    backend = get_backend("onnxruntime")
    bundle = backend.build(largest, tmp_path / "engine", BuildOptions("int8"))
    with backend.open(bundle) as session:
        result = session.run({"x": np.ones((1, CHANNELS, 4, 4), np.float32)})["y"]
    assert np.allclose(result, CHANNELS)
    assert [layer.precision for layer in backend.layers(bundle) if "Conv" in layer.kind] == ["int8"]


def test_only_openvino_fits_weights_where_products_overflow(monkeypatch):
    monkeypatch.setattr(deploy.targets, "multiplies_uint8", lambda: False)
    assert (target_for("openvino").sums, target_for("onnxruntime").sums) == ("int16", "int32")
    monkeypatch.setattr(deploy.targets, "multiplies_uint8", lambda: True)
    assert target_for("openvino").sums == "int32"

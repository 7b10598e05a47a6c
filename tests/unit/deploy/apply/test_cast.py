import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from deploy.apply.fp16 import cast_float_part, to_fp16
from deploy.graph import onnx_graph
from qat.export import export_onnx
from qat.tracing import fx_graph
from tests.nets.exported import image, reference
from tests.nets.residual import residual_net

EXAMPLE = torch.zeros(1, 3, 32, 32)


@pytest.fixture
def graphs(tmp_path):
    source, target = tmp_path / "fp32.onnx", tmp_path / "fp16.onnx"
    export_onnx(fx_graph.trace(residual_net(), EXAMPLE), EXAMPLE, source, 18)
    to_fp16(source, target)
    return source, target


def test_convolutions_compute_in_fp16_and_the_interface_stays_float32(graphs):
    graph = onnx.load(graphs[1]).graph
    types = {item.name: item.data_type for item in graph.initializer}
    weights = [types[node.input[1]] for node in graph.node if node.op_type == "Conv"]
    assert weights == [onnx.TensorProto.FLOAT16] * 6
    interface = [*graph.input, *graph.output]
    assert {value.type.tensor_type.elem_type for value in interface} == {onnx.TensorProto.FLOAT}


def test_fp16_computes_nearly_the_same(graphs):
    x = np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32)
    full, half = (onnxruntime.InferenceSession(str(path)).run(None, {"image": x})[0] for path in graphs)
    assert 0 < np.abs(full - half).max() < 0.02 * np.abs(full).max()


@pytest.fixture
def placed(exported, tmp_path):
    """The placed graph and its form with fallback precision FP16."""
    onnx_graph.save(cast_float_part(onnx_graph.load(exported.placed)), tmp_path / "placed-fp16.onnx")
    return exported.placed, tmp_path / "placed-fp16.onnx"


def test_float_part_of_an_int8_graph_becomes_fp16_and_the_pairs_stay(placed):
    before, after = (onnx.load(path).graph for path in placed)
    kinds = [sorted(node.op_type for node in graph.node if node.op_type != "Cast") for graph in (before, after)]
    assert kinds[0] == kinds[1]
    types = {item.name: item.data_type for item in after.initializer}
    pairs = [node for node in after.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert {types[node.input[1]] for node in pairs} == {onnx.TensorProto.FLOAT16}
    assert {types[node.input[2]] for node in pairs} == {onnx.TensorProto.INT8}
    assert onnx.TensorProto.FLOAT not in types.values()
    interface = [*after.input, *after.output]
    assert {value.type.tensor_type.elem_type for value in interface} == {onnx.TensorProto.FLOAT}


def test_float_part_in_fp16_computes_nearly_the_same(placed):
    feeds = {"image": image()}
    full, half = (reference(path, feeds) for path in placed)
    assert 0 < np.abs(full - half).mean() < 0.02 * np.abs(full).max()
    assert (full.argmax(1) == half.argmax(1)).mean() > 0.97

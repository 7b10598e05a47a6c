import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from deploy.cast import to_fp16
from qat import fx_graph
from qat.export import export_onnx
from tests.nets.residual import residual_net

EXAMPLE = torch.zeros(1, 3, 32, 32)


@pytest.fixture
def graphs(tmp_path):
    source, target = tmp_path / "fp32.onnx", tmp_path / "fp16.onnx"
    export_onnx(fx_graph.trace(residual_net(), EXAMPLE), EXAMPLE, source, 17)
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

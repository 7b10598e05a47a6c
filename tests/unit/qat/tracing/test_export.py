from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from core.errors import UserError
from deploy.placement.rules import RULES
from qat.calibration.approaches import finish, set_modes
from qat.export import export_onnx
from qat.quantization.insert import insert
from qat.quantization.quantizers import Mode, quantizers
from qat.tracing import fx_graph
from tests.nets.residual import residual_net

EXAMPLE = torch.zeros(1, 3, 32, 32)


def infer(path: Path, x: torch.Tensor) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(path), options).run(None, {"image": x.numpy()})[0]


def quantized_net():
    model = fx_graph.trace(residual_net(), EXAMPLE)
    insert(model, RULES)
    set_modes(model, Mode.TRACK)
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    torch.manual_seed(1)
    model(torch.randn(4, 3, 32, 32))
    finish(model)
    return model


def test_float_export_computes_the_same_without_batch_norms_after_convolutions(tmp_path):
    model = fx_graph.trace(residual_net(), EXAMPLE)
    export_onnx(model, EXAMPLE, tmp_path / "m.onnx", 18)
    x = torch.randn(1, 3, 32, 32)
    np.testing.assert_allclose(infer(tmp_path / "m.onnx", x), model(x).detach().numpy(), atol=1e-4)
    kinds = Counter(node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node)
    assert kinds == {"Conv": 6, "BatchNormalization": 1, "Relu": 5, "Add": 2, "Resize": 1}


def test_quantized_export_computes_what_was_simulated(tmp_path):
    model = quantized_net()
    export_onnx(model, EXAMPLE, tmp_path / "m.onnx", 18)
    x = torch.randn(1, 3, 32, 32)
    simulated = model(x).detach().numpy()
    step = float(max(quantizer.scale.max() for quantizer in quantizers(model).values()))
    np.testing.assert_allclose(infer(tmp_path / "m.onnx", x), simulated, atol=2 * step)
    assert np.abs(infer(tmp_path / "m.onnx", x) - simulated).mean() < 0.1 * step


def test_quantized_export_has_int8_pairs_and_readable_names(tmp_path):
    model = quantized_net()
    export_onnx(model, EXAMPLE, tmp_path / "m.onnx", 18)
    proto = onnx.load(tmp_path / "m.onnx")
    onnx.checker.check_model(proto, full_check=True)
    kinds = Counter(node.op_type for node in proto.graph.node)
    assert kinds["DequantizeLinear"] == len(quantizers(model)) and kinds["QuantizeLinear"] == 7
    names = {node.name for node in proto.graph.node}
    assert {"stem", "blocks.0.conv1", "blocks.1.conv2", "head"} <= names
    zero_points = {i.data_type for i in proto.graph.initializer if i.name.endswith("zero_point")}
    assert zero_points <= {onnx.TensorProto.INT8}


def test_exporting_leaves_the_model_as_it_was(tmp_path):
    model = quantized_net()
    before = {name: value.clone() for name, value in model.state_dict().items() if isinstance(value, torch.Tensor)}
    export_onnx(model, EXAMPLE, tmp_path / "m.onnx", 18)
    after = model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_a_range_from_nowhere_cannot_be_exported(tmp_path):
    model = fx_graph.trace(residual_net(), EXAMPLE)
    insert(model, RULES)
    for quantizer in quantizers(model).values():
        quantizer.set_amax(1.0, "test")
    quantizers(model)["quantizers.x"].origin = ""
    with pytest.raises(UserError, match=r"1 quantizers .*: quantizers\.x"):
        export_onnx(model, EXAMPLE, tmp_path / "m.onnx", 18)


def test_a_quantizer_without_range_cannot_be_exported(tmp_path):
    model = fx_graph.trace(residual_net(), EXAMPLE)
    insert(model, RULES)
    with pytest.raises(UserError, match=r"7 quantizers have no finite amax of known origin: quantizers\.x"):
        export_onnx(model, EXAMPLE, tmp_path / "m.onnx", 18)
    assert not (tmp_path / "m.onnx").exists()


class Cast(nn.Module):
    """Copies of a value, named like methods of modules."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x.to(self.conv.weight.dtype)).float()


def test_a_copy_of_a_value_is_quantized_where_the_value_is(tmp_path):
    image = torch.randn(1, 3, 8, 8)
    model = fx_graph.trace(Cast(), image)
    insert(model, RULES)
    for quantizer in quantizers(model).values():
        quantizer.set_amax(4.0, "test")
    finish(model)
    export_onnx(model, image, tmp_path / "cast.onnx", 18)
    expected = model(image).detach().numpy()
    assert {"quantizers.x", "conv.weight_quantizer"} == quantizers(model).keys()
    np.testing.assert_allclose(infer(tmp_path / "cast.onnx", image), expected, atol=0.05)


class SharedHead(nn.Module):
    def __init__(self):
        super().__init__()
        self.head, self.bn = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        nn.init.uniform_(self.bn.weight, 2, 3)

    def forward(self, x):
        return self.bn(self.head(x)) + self.bn(self.head(-x))


def test_a_convolution_that_is_called_twice_keeps_its_batch_norm(tmp_path):
    model = fx_graph.trace(SharedHead(), EXAMPLE)
    export_onnx(model, EXAMPLE, tmp_path / "m.onnx", 18)
    x = torch.randn(1, 3, 32, 32)
    np.testing.assert_allclose(infer(tmp_path / "m.onnx", x), model(x).detach().numpy(), atol=1e-5)

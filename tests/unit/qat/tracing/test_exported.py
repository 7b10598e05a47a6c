"""Networks that torch.fx cannot trace go through torch.export; transformers get INT8 where there are kernels."""

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from core.config import PlacementConfig
from core.errors import UserError
from deploy.graph import onnx_graph
from deploy.placement.rule_sets import select
from deploy.targets import TARGETS
from qat.api import calibrate, export, quantize
from qat.quantization.insert import insert_configured
from qat.quantization.quantizers import quantizers
from qat.tracing import fx_graph
from tests.nets.placing import place
from tests.nets.randomized import randomized
from tests.nets.transformer import ByMapping, ViT

EXAMPLE, OTHER = torch.randn(1, 3, 32, 48), torch.randn(2, 3, 64, 32)


def test_fx_is_tried_first_and_the_reason_is_said(caplog):
    with pytest.raises(UserError, match=r"torch\.fx cannot trace ByMapping"):
        fx_graph.trace(ByMapping(5), EXAMPLE, output="out", may_export=False)
    caplog.set_level("INFO", "pidnet_int8")
    fx_graph.trace(ByMapping(5), EXAMPLE, output="out")
    assert "ByMapping is traced by torch.export, since torch.fx cannot: " in caplog.text


def test_an_exported_network_is_the_same_at_other_sizes_on_the_same_parameters():
    network = randomized(ByMapping(5))
    model = fx_graph.trace(network, EXAMPLE, output="out")
    with torch.no_grad():
        for image in (EXAMPLE, OTHER):
            assert torch.allclose(model(image), network(image)["out"], atol=1e-5)
    shared = dict(network.named_parameters())
    assert all(value is shared[name] for name, value in model.named_parameters())


def test_an_exported_network_is_quantized_trained_and_written(tmp_path):
    model = quantize_exported()
    names = set(quantizers(model))
    assert sum(name.endswith("_weight") for name in names) == 4
    calibrate(model, [EXAMPLE, torch.randn(1, 3, 32, 48)])
    model.train()
    model(OTHER).square().mean().backward()
    assert all(value.grad is not None for name, value in model.named_parameters() if name.endswith("head.weight"))
    model.eval()
    export(model, EXAMPLE, tmp_path / "qdq.onnx")
    expected = model(EXAMPLE).detach().numpy()
    session = onnxruntime.InferenceSession(str(tmp_path / "qdq.onnx"))
    got = session.run(None, {session.get_inputs()[0].name: EXAMPLE.numpy()})[0]
    assert np.abs(got - expected).max() < 0.05 * np.abs(expected).max()
    convs = [node for node in onnx_graph.load(tmp_path / "qdq.onnx").nodes if node.op in ("Conv", "MatMul")]
    assert len(convs) == 4 and all(node.inputs[1].inputs[0].op == "DequantizeLinear" for node in convs)


def quantize_exported():
    model = fx_graph.trace(randomized(ByMapping(5)), EXAMPLE, output="out")
    insert_configured(model, PlacementConfig())
    return model


class ByValue(nn.Module):
    def forward(self, x):
        return x if x.mean() > 0 else -x


def test_what_neither_can_trace_is_refused_with_both_reasons():
    with pytest.raises(UserError, match=r"neither torch\.fx nor torch\.export can trace ByValue") as error:
        fx_graph.trace(ByValue(), EXAMPLE)
    assert "control flow" in error.value.why and "test_exported.py, line" in error.value.why


def test_a_transformer_s_linear_layers_and_products_are_int8_on_every_target(tmp_path):
    torch.manual_seed(0)
    network, image = ViT(7, patches=24).eval(), torch.randn(1, 3, 32, 48)
    model = quantize(network, image)
    found = [name for name in quantizers(model) if name.endswith(".weight_quantizer")]
    weights = {name.removesuffix(".weight_quantizer") for name in found}
    layers = {name for name, module in network.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)}
    assert weights == layers, "every weight is INT8"
    calibrate(model, [image, *torch.randn(4, 1, 3, 32, 48)])
    export(model, image, tmp_path / "qdq.onnx")
    np.save(tmp_path / "images.npy", image.numpy())
    with torch.no_grad():
        expected, simulated = network(image).numpy(), model(image).numpy()
    assert np.abs(simulated - expected).max() < 0.1 * np.abs(expected).max()
    for name, target in TARGETS.items():
        placed = place(tmp_path / "qdq.onnx", select(target.rule_set), (), "int8", target, tmp_path / "images.npy")
        graph = placed.graph
        products = [node for node in graph.nodes if node.op == "MatMul"]
        assert len(products) == 16
        fed = [all(behind_pair(tensor) for tensor in node.inputs) for node in products]
        assert all(fed), name
        float_ops = [node for node in graph.nodes if node.op in ("LayerNormalization", "Softmax", "Erf")]
        assert float_ops and not any(behind_pair(node.inputs[0]) for node in float_ops if name != "onnxruntime")


def behind_pair(tensor):
    """Return True if a value comes from a Q/DQ pair, perhaps through copies."""
    while tensor.inputs and tensor.inputs[0].op in ("Transpose", "Reshape", "Squeeze", "Slice", "Unsqueeze", "Flatten"):
        tensor = tensor.inputs[0].inputs[0]
    return bool(tensor.inputs) and tensor.inputs[0].op == "DequantizeLinear"

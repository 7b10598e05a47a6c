"""Training computes with pixels what engines that take them compute."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from core.config import CalibrationConfig
from deploy.apply.apply import apply
from deploy.apply.target import AS_PLANNED
from deploy.graph import onnx_graph
from deploy.placement.rules import RULES
from qat.calibration.approaches import finish, set_modes
from qat.calibration.calibrators import calibrate_weights
from qat.export import planned
from qat.quantization.insert import insert
from qat.quantization.pixels import read_pixels
from qat.quantization.quantizers import Mode, quantizers
from qat.quantization.toolkits import quantizer_class
from qat.tracing import fx_graph
from qat.tracing.export import float_graph
from tests.nets.residual import residual_net
from tests.unit.deploy.rewrites.stems import PICTURE, normalized, pictures

EXAMPLE = torch.zeros(1, 3, 32, 32)


def traced(net: nn.Module, toolkit: str = "builtin", rules=RULES):
    model = fx_graph.trace(net.eval(), EXAMPLE)
    graph, _ = float_graph(model, EXAMPLE, 18)
    where = insert(model, rules, kind=quantizer_class(toolkit), graph=graph)
    read_pixels(model, where, graph, PICTURE)
    return model


def stem_of(net: nn.Module) -> str:
    return next(name for name, module in net.named_modules() if isinstance(module, nn.Conv2d))


def calibrated(toolkit="builtin"):
    torch.manual_seed(0)
    model = traced(residual_net(), toolkit)
    set_modes(model, Mode.TRACK)
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    model(torch.from_numpy(normalized(pictures((32, 32), 4))))
    finish(model)
    return model


def infer(model, x: np.ndarray, path: Path) -> np.ndarray:
    graph, plan = planned(model, EXAMPLE, 18)
    assert plan.picture == PICTURE and plan.tensors["image"].origin == "pixels"
    onnx_graph.save(apply(graph, plan, AS_PLANNED).graph, path)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(path), options).run(None, {"image": x})[0]


@pytest.mark.parametrize("toolkit", ["builtin", "modelopt"])
def test_the_exported_graph_computes_what_training_computes(tmp_path, toolkit):
    if toolkit == "modelopt":
        pytest.importorskip("modelopt")
    model, x = calibrated(toolkit), normalized(pictures((32, 32), seed=5))
    with torch.inference_mode():
        expected = model(torch.from_numpy(x)).numpy()
    got = infer(model, x, tmp_path / "m.onnx")
    assert np.abs(got - expected).mean() < 0.01 * np.ptp(expected)


def test_the_first_layer_alone_is_equal_to_float_rounding(tmp_path):
    class Stem(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)

        def forward(self, x):
            return torch.relu(self.conv(x))

    torch.manual_seed(3)
    model, x = traced(Stem()), normalized(pictures((32, 32), seed=6))
    finish(model)
    with torch.inference_mode():
        expected = model(torch.from_numpy(x)).numpy()
    got = infer(model, x, tmp_path / "m.onnx")
    np.testing.assert_allclose(got[:, :, 1:, 1:], expected[:, :, 1:, 1:], atol=1e-5)
    np.testing.assert_allclose(got, expected, atol=2e-3 * np.ptp(expected))  # one constant channel, at the border


def test_the_picture_is_not_rounded_and_the_weight_is_in_its_folded_form():
    model = calibrated()
    layer = model.get_submodule(stem_of(residual_net()))
    fold = torch.from_numpy(PICTURE.fold).float().reshape(1, 3, 1, 1)
    scale = layer.weight_quantizer.scale.reshape(-1, 1, 1, 1)
    steps = layer.weight_quantizer(layer.weight / fold) / scale
    torch.testing.assert_close(steps, steps.round(), atol=1e-4, rtol=0)
    assert float(steps.detach().abs().max()) == pytest.approx(127, abs=1e-3)
    image = next(node for node in model.graph.nodes if node.op == "placeholder")
    assert not any(node.target in quantizers(model) for node in image.users if node.op == "call_module")


@pytest.mark.parametrize("calibrator", ["max", "mse"])
def test_weight_calibrators_see_the_folded_weight(calibrator):
    model = calibrated()
    layer = model.get_submodule(stem_of(residual_net()))
    calibrate_weights(model, CalibrationConfig(weights=calibrator))
    fold = torch.from_numpy(PICTURE.fold).float().reshape(1, 3, 1, 1)
    largest = (layer.weight / fold).abs().amax((1, 2, 3))
    ratio = layer.weight_quantizer.amax / largest
    assert (ratio <= 1 + 1e-6).all() and (ratio > 0.3).all()
    if calibrator == "max":
        torch.testing.assert_close(ratio, torch.ones_like(ratio))


def test_a_step_of_the_optimizer_moves_the_first_weight_as_far_as_without_pixels():
    x, gradients = torch.from_numpy(normalized(pictures((32, 32), 2))), []
    for prepare in (traced, lambda net: fx_graph.trace(net.eval(), EXAMPLE)):
        net = residual_net()
        model = prepare(net)
        set_modes(model, Mode.TRACK)
        model(x).square().mean().backward()
        gradients.append(float(model.get_submodule(stem_of(net)).weight.grad.norm()))
    assert 0.8 < gradients[0] / gradients[1] < 1.25


def test_a_network_that_cannot_read_pixels_is_left_alone(capsys):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)

        def forward(self, x):
            return torch.relu(self.one(x)) + torch.relu(self.other(x))

    model = traced(Twice())
    assert "2 operators read image" in capsys.readouterr().err
    assert "picture" not in model.meta
    image = next(node for node in model.graph.nodes if node.op == "placeholder")
    assert any(node.target in quantizers(model) for node in image.users)

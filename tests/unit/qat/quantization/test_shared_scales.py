"""One scale for a whole weight, as the engine has it: with BatchNorm folded in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from core.config import CalibrationConfig, PlacementConfig
from qat.api import calibrate, quantize
from qat.calibration.approaches import finish
from qat.export import planned
from qat.quantization.quantizers import Mode, quantizers, weight_quantizer
from qat.quantization.toolkits import TOOLKITS
from tests.nets.residual import residual_net

EXAMPLE = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def network() -> nn.Module:
    """Its BatchNorms differ from channel to channel."""
    torch.manual_seed(0)
    model = residual_net()
    for norm in [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]:
        nn.init.uniform_(norm.weight, 0.1, 2.0)
        nn.init.uniform_(norm.running_var, 0.1, 2.0)
    return model.eval()


@pytest.mark.parametrize("weights", ["max", "mse"])
def test_the_engine_has_one_scale_a_weight(weights: str) -> None:
    model = quantize(network(), EXAMPLE[:1], PlacementConfig(weight_scales="tensor"))
    calibrate(model, [EXAMPLE], CalibrationConfig(weights=weights))
    finish(model)
    graph, plan = planned(model, EXAMPLE[:1], 18)
    assert len(plan.weights) == 6
    for name in plan.weights:
        scales, values = plan.scales()[name].values, graph.tensors()[name].values
        np.testing.assert_allclose(scales, scales.flat[0], rtol=1e-5)
        largest = np.abs(values).max() / 127
        assert scales.flat[0] == pytest.approx(largest, rel=1e-4) or (weights == "mse" and scales.flat[0] < largest)


def test_the_scale_follows_weight_and_batch_norm_while_training() -> None:
    weight, norm = nn.Parameter(torch.randn(4, 3, 3, 3)), nn.BatchNorm2d(4)
    quantizer = weight_quantizer(weight, 0, shared=True, norm=norm)
    quantizer.set_mode(Mode.TRACK)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2.0, 3.0, 10.0]))
    quantizer.train()(weight)
    folded = weight.detach() * quantizer.folded_factor[:, None, None, None]
    torch.testing.assert_close(quantizer.amax.detach(), folded.abs().max()[None])
    torch.testing.assert_close(quantizer.scale.detach() * quantizer.folded_factor, (folded.abs().max() / 127).expand(4))


def test_a_learned_scale_is_one_number() -> None:
    weight = nn.Parameter(torch.randn(4, 3, 3, 3))
    quantizer = weight_quantizer(weight, 0, shared=True)
    quantizer.set_mode(Mode.LEARN)
    quantizer(weight).square().sum().backward()
    assert quantizer.amax.shape == (1,) and quantizer.amax.grad is not None and float(quantizer.amax.grad.abs()) > 0


@pytest.mark.parametrize("toolkit", ["builtin", "modelopt"])
def test_toolkits_round_alike(toolkit: str) -> None:
    weight, norm = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0)), nn.BatchNorm2d(4)
    nn.init.uniform_(norm.weight, 0.5, 2.0)
    quantizer = weight_quantizer(weight, 0, TOOLKITS[toolkit](), shared=True, norm=norm)
    quantizer.set_mode(Mode.QUANTIZE)
    steps = quantizer(weight) / quantizer.scale.detach()[:, None, None, None]
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-3)
    assert float(steps.abs().max()) == pytest.approx(127, abs=1e-3)
    assert all("norm" not in name for name, _ in quantizer.named_modules())
    assert quantizers(nn.Sequential(quantizer)) == {"0": quantizer}

"""The mean of every layer is that of the float network, whether a bias or a BatchNorm can carry it."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from core.config import CalibrationConfig, PlacementConfig, QatConfig
from qat.api import calibrate, quantize
from qat.calibration.mean_correction import correct_means
from qat.tracing import fx_graph
from tests.fake_gpu import fake_gpus

IMAGES = [torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) + 0.5 for seed in range(6)]


def network() -> nn.Module:
    """Layers with a bias, with a BatchNorm, and linear; channels of the weights are of very unlike size."""
    torch.manual_seed(0)
    first, second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, bias=False)
    with torch.no_grad():
        first.weight[0].mul_(60)
        second.weight[0].mul_(60)
    tail = (nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    return nn.Sequential(first, nn.ReLU(), second, nn.BatchNorm2d(8), *tail).eval()


def means(model: nn.Module) -> dict[str, Tensor]:
    """The mean outputs of the first layer, the BatchNorm and the linear layer, by channel."""
    found: dict[str, Tensor] = {}

    def note(name: str, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
        found[name] = output.mean((0, *range(2, output.ndim)))

    handles = [model.get_submodule(name).register_forward_hook(partial(note, name)) for name in ("0", "3", "7")]
    with torch.no_grad():
        model(torch.cat(IMAGES))
    for handle in handles:
        handle.remove()
    return found


def test_means_are_those_of_the_float_network() -> None:
    plain = network()
    teacher = fx_graph.trace(copy.deepcopy(plain), IMAGES[0])
    model = quantize(plain, IMAGES[0], PlacementConfig(weight_scales="tensor"))
    calibrate(model, IMAGES, CalibrationConfig(method="max"))
    expected, before = means(teacher), means(model.eval())
    correct_means(model, teacher, IMAGES)
    after = means(model)
    for name, value in expected.items():
        assert float((before[name] - value).abs().max()) > 1e-3
        torch.testing.assert_close(after[name], value, rtol=1e-4, atol=1e-5)


def test_the_float_network_comes_to_the_device_of_the_quantized_one() -> None:
    teacher = fx_graph.trace(network(), IMAGES[0])
    model = quantize(network(), IMAGES[0], PlacementConfig(weight_scales="tensor"))
    calibrate(model, IMAGES, CalibrationConfig(method="max"))
    with fake_gpus() as (gpu, _):
        correct_means(model.to(gpu), teacher, IMAGES)
        assert next(teacher.parameters()).device == gpu


def test_without_ranges_before_training_it_is_refused() -> None:
    with pytest.raises(ValidationError, match="correct_means"):
        QatConfig(epochs=1, approach="direct", correct_means=True)

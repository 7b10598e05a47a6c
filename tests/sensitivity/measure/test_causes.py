"""The planted fault is named, and the remedy that takes it away."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from core.config import CalibrationConfig
from qat.api import calibrate
from qat.quantization.quantizers import quantizers
from qat.sensitivity.measure.causes import causes_of
from qat.sensitivity.network.groups import groups_of
from qat.sensitivity.network.subject import Subject, quantize_traced
from qat.sensitivity.network.switches import switches
from qat.sensitivity.types import Cause


class Net(nn.Module):
    """Two convolutions in a row; the second reads channels whose reach is given."""

    def __init__(self, reach: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)
        factors = torch.tensor([reach, *[1.0] * 7])
        with torch.no_grad():
            self.first.weight.mul_(factors[:, None, None, None])
            self.first.bias.mul_(factors)
            self.second.weight.div_(factors[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(x)))


class Joined(nn.Module):
    """A Concat ties a small tensor to one a hundred times as large, which alone is read behind it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.large, self.small, self.own = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1)
        self.last = nn.Conv2d(8, 4, 1)
        with torch.no_grad():
            self.large.weight.mul_(100)
            self.large.bias.mul_(100)
            self.last.weight[:, :4].div_(100)
            self.last.weight[:, 4:] = 0

    def forward(self, x: Tensor) -> Tensor:
        large, small = torch.relu(self.large(x)), torch.relu(self.small(x))
        return self.last(torch.cat([large, small], 1)) + self.own(small)


def cause(model: nn.Module, layer: str, factor: float = 1.0) -> Cause:
    """The cause for the group of `layer`, whose input has a range `factor` times what calibration found."""
    images = [torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) for seed in range(4)]
    quantized = quantize_traced(model, images[0])
    calibrate(quantized, images, CalibrationConfig(method="max"))
    found = switches(quantized)
    groups = [group for group in groups_of(quantized, found, "group", "both") if layer in group.layers]
    for path in groups[0].quantizers:
        if quantizers(quantized)[path].axis is None:
            quantizers(quantized)[path].amax.data.mul_(factor)
    subject = Subject(quantized, tuple(groups), "fx", found, quantized)
    before = {path: quantizer.amax.clone() for path, quantizer in quantizers(quantized).items()}
    (named,) = causes_of(subject, groups, images, images)
    assert all(torch.equal(before[path], quantizer.amax) for path, quantizer in quantizers(quantized).items())
    return named


@pytest.mark.parametrize(
    ("factor", "reach", "fault"), [(0.2, 1.0, "clipping"), (20.0, 1.0, "rounding"), (1.0, 300.0, "channels")]
)
def test_the_planted_fault_is_named(factor: float, reach: float, fault: str) -> None:
    found = cause(Net(reach), "second", factor)
    assert found.fault == fault and found.share > 0.8
    if fault != "channels":
        assert found.mends["max"] < 0.1 * found.noise and found.mend != "float"


def test_tensors_that_share_a_scale_are_told_apart() -> None:
    found = cause(Joined(), "last")
    assert found.fault == "tensors" and found.without["tensors"] < 0.1 * found.noise
    assert found.mend == "a scale per tensor"
    assert "remedy: a scale per tensor leaves" in str(found)

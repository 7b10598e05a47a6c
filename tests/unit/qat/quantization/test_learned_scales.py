"""Learned scales against the definition in LSQ (Esser et al., ICLR 2020, sections 2.1 and 2.2)."""

import math

import pytest
import torch
from torch import nn

from qat.quantization.quantizers import Mode, activation_quantizer, weight_quantizer

LR = 1e-3


def by_scale(x, scale, qmin):
    """LSQ's derivative of the quantized value by its step size, value by value.

    Values count as inside where they round to a level, as in PyTorch's kernels; LSQ ends half a step earlier.
    """
    steps = x / scale
    inside = (steps.round() >= qmin) & (steps.round() <= 127)
    return torch.where(inside, steps.round() - steps, steps.clamp(qmin, 127))


def moved_by_sgd(quantizer, x, gradient):
    """The change of the scale by one step of SGD with `gradient` at the quantizer's output."""
    quantizer.set_mode(Mode.LEARN)
    before = quantizer.scale.detach().clone()
    optimizer = torch.optim.SGD(quantizer.parameters(), lr=LR)
    (quantizer(x) * gradient).sum().backward()
    optimizer.step()
    return quantizer.scale.detach() - before


@pytest.mark.parametrize("amax", [0.7, 3.0, 9.0])
def test_activation_scale_moves_as_lsq_says(amax):
    torch.manual_seed(0)
    x, gradient = torch.randn(2, 3, 5, 7), torch.randn(2, 3, 5, 7)
    quantizer = activation_quantizer()
    quantizer.set_amax(amax, "test")
    expected = -LR * (gradient * by_scale(x, amax / 127, -128)).sum() / math.sqrt(2 * 3 * 5 * 7 * 127)
    torch.testing.assert_close(moved_by_sgd(quantizer, x, gradient), expected, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("axis", [0, 1])
def test_each_channel_of_a_weight_moves_by_its_own_values(axis):
    torch.manual_seed(0)
    weight, gradient = torch.randn(4, 6, 3, 3), torch.randn(4, 6, 3, 3)
    quantizer = weight_quantizer(weight, axis)
    quantizer.set_amax(quantizer.amax * torch.linspace(0.5, 1.2, weight.shape[axis]), "test")
    scales, sharing = quantizer.scale.detach().clone(), weight.numel() // weight.shape[axis]
    expected = [
        -LR * (slice_gradient * by_scale(values, scale, -127)).sum() / math.sqrt(sharing * 127)
        for values, slice_gradient, scale in zip(weight.unbind(axis), gradient.unbind(axis), scales, strict=True)
    ]
    torch.testing.assert_close(moved_by_sgd(quantizer, weight, gradient), torch.stack(expected), rtol=1e-3, atol=1e-9)


def test_activations_of_all_processes_share_the_scale_and_weights_are_the_same_on_each(monkeypatch):
    x, gradient = torch.randn(2, 3, 4, 4), torch.ones(2, 3, 4, 4)

    def moved(processes, quantizer):
        monkeypatch.setattr("qat.quantization.quantizers.world_size", lambda: processes)
        quantizer.set_amax(torch.full_like(quantizer.amax, 1.5), "test")
        quantizer.zero_grad()
        return moved_by_sgd(quantizer, x, gradient)

    activation, weight = activation_quantizer(), weight_quantizer(x, 1)
    torch.testing.assert_close(moved(2, activation) * math.sqrt(2), moved(1, activation), rtol=1e-4, atol=1e-9)
    assert torch.equal(moved(2, weight), moved(1, weight))


def test_training_a_scale_lowers_the_error_of_what_it_quantizes():
    torch.manual_seed(0)
    x = torch.randn(4096)
    quantizer = activation_quantizer()
    quantizer.set_amax(12.0, "test")
    quantizer.set_mode(Mode.LEARN)
    optimizer = torch.optim.Adam(quantizer.parameters(), lr=0.1)
    errors = []
    for _ in range(120):
        error = nn.functional.mse_loss(quantizer(x), x, reduction="sum")
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    assert errors[-1] < 0.3 * errors[0]
    assert 3 < quantizer.amax.item() < 6

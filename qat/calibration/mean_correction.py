"""Before training: biases that give every quantized layer the mean output of the float network, layer after layer.

Rounding shifts the mean of an output channel, most where all channels of a weight share a scale, and the shifts of
layers add up. Training undoes that through biases, which a rate that the weights bear hardly moves. Here the shift is
taken out of the bias, or of the running mean of the BatchNorm behind the layer, while the images pass: the next layer
already reads corrected values. Compare Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias
Correction", ICCV 2019, which corrects each layer for float inputs, as `deploy.apply.bias_correction` does.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from qat.calibration.approaches import set_modes
from qat.quantization.quantized_layers import WEIGHT_QUANTIZER
from qat.quantization.quantizers import Mode, Quantizer
from qat.tracing.inputs import device_of


def correct_means(model: nn.Module, teacher: nn.Module, images: Iterable[Tensor]) -> None:
    """Change biases, or BatchNorm's running means, of the quantized layers of `model`, in place.

    Args:
        model: with calibrated ranges.
        teacher: the float network, whose layers have the same names.
        images: (1, C, H, W) float32 each, of the training split; they pass as one batch.
    """
    layers = [name.removesuffix(f".{WEIGHT_QUANTIZER}") for name, _ in model.named_modules() if _is_of_layer(name)]
    expected: dict[str, Tensor] = {}

    def note(name: str, _layer: nn.Module, _inputs: Any, output: Tensor) -> None:
        expected[name] = _means(output)

    def correct(name: str, layer: nn.Module, _inputs: Any, output: Tensor) -> Tensor | None:
        shift = _means(output) - expected[name]
        if isinstance(layer.bias, Tensor):
            layer.bias.sub_(shift)
            return output - (shift.reshape(-1, *[1] * (output.ndim - 2)) if _of_convolution(output) else shift)
        for norm in _quantizer(layer).norm:  # it has yet to read `output`
            norm.get_buffer("running_mean").add_(shift)
        return None

    set_modes(model.eval(), Mode.QUANTIZE)
    teacher.to(device_of(model)).eval()
    handles = [teacher.get_submodule(name).register_forward_hook(partial(note, name)) for name in layers]
    handles += [model.get_submodule(name).register_forward_hook(partial(correct, name)) for name in layers]
    try:
        with torch.no_grad():
            batch = torch.cat(list(images)).to(device_of(model))
            teacher(batch)
            model(batch)
    finally:
        for handle in handles:
            handle.remove()


def _is_of_layer(name: str) -> bool:
    return name.endswith(f".{WEIGHT_QUANTIZER}")


def _quantizer(layer: nn.Module) -> Quantizer:
    found = layer.get_submodule(WEIGHT_QUANTIZER)
    assert isinstance(found, Quantizer)
    return found


def _of_convolution(output: Tensor) -> bool:
    return output.ndim > 3


def _means(output: Tensor) -> Tensor:
    """The means by channel: dimension 1 of images, the last one of a linear layer's output."""
    return output.mean((0, *range(2, output.ndim))) if _of_convolution(output) else output.flatten(0, -2).mean(0)

"""A double of pytorch-quantization 2.2.1, with the names and the arithmetic of the real package."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Clip(nn.Module):
    def __init__(self, bound: float) -> None:
        super().__init__()
        self.clip_value_min, self.clip_value_max = (nn.Parameter(torch.tensor(sign * bound)) for sign in (-1, 1))


class TensorQuantizer(nn.Module):
    """Without `_amax`, its range is that of its input. In calibration it collects ranges and may skip quantization."""

    def __init__(self, *, axis: int | None = None, disabled: bool = False, learn_amax: bool = False) -> None:
        super().__init__()
        self.num_bits, self.unsigned, self.narrow_range, self.axis = 8, False, False, axis
        self._disabled, self._if_quant, self._if_calib = disabled, True, False
        self._fake_quant, self._scale_amax, self._learn_amax = True, None, learn_amax
        if learn_amax:
            self.clip = Clip(1.0)

    @property
    def amax(self) -> Tensor | None:
        return getattr(self, "_amax", None)

    def disable(self) -> None:
        self._disabled = True

    def enable(self) -> None:
        self._disabled = False

    def seen(self, x: Tensor) -> Tensor:
        if self.axis is None:
            return x.detach().abs().max()
        return x.detach().abs().amax([dim for dim in range(x.ndim) if dim != self.axis], keepdim=True)

    def forward(self, x: Tensor) -> Tensor:
        if self._disabled:
            return x
        if self._if_calib:
            new = self.seen(x)
            self.register_buffer("_amax", new if self.amax is None else torch.maximum(self.amax, new))
        if not self._if_quant:
            return x
        amax = self.seen(x) if self.amax is None else self.amax
        largest = 2.0 ** (self.num_bits - 1 + int(self.unsigned)) - 1
        smallest = 0 if self.unsigned else -largest - (not self.narrow_range)
        integers = (x * largest / amax).round().clamp(smallest, largest)
        return integers * amax / largest if self._fake_quant else integers

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *args: Any) -> None:
        if f"{prefix}_amax" in state and "_amax" not in self._buffers:
            raise RuntimeError("Found no NVIDIA driver on your system")  # the message of its .cuda()
        super()._load_from_state_dict(state, prefix, *args)


class QuantMixin:
    channel_axis = 0

    def add_quantizers(self: Any) -> None:
        self._input_quantizer, self._weight_quantizer = TensorQuantizer(), TensorQuantizer(axis=self.channel_axis)

    @property
    def input_quantizer(self: Any) -> TensorQuantizer:
        return self._input_quantizer

    @property
    def weight_quantizer(self: Any) -> TensorQuantizer:
        return self._weight_quantizer

    def operands(self: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        return self._input_quantizer(x), self._weight_quantizer(self.weight), self.bias


class QuantConv2d(nn.modules.conv._ConvNd, QuantMixin):
    def __init__(self, i: int, o: int, kernel: int, stride: int = 1, padding: int = 0) -> None:
        pairs = [(size, size) for size in (kernel, stride, padding, 1)]
        super().__init__(i, o, *pairs, False, (0, 0), 1, True, "zeros")
        self.add_quantizers()

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(*self.operands(x), self.stride, self.padding)


class QuantConvTranspose2d(nn.modules.conv._ConvTransposeNd, QuantMixin):
    channel_axis = 1

    def __init__(self, i: int, o: int, kernel: int, stride: int = 1) -> None:
        super().__init__(i, o, (kernel, kernel), (stride, stride), (0, 0), (1, 1), True, (0, 0), 1, True, "zeros")
        self.add_quantizers()

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(*self.operands(x), self.stride, self.padding)


class QuantLinear(nn.Linear, QuantMixin):
    def __init__(self, i: int, o: int) -> None:
        super().__init__(i, o)
        self.add_quantizers()

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(*self.operands(x))


def calibrated(model: nn.Module, images: Tensor) -> nn.Module:
    """Set the quantizers' ranges from `images`, as the package's max calibrator does."""
    found = [module for module in model.modules() if isinstance(module, TensorQuantizer)]
    for quantizer in found:
        quantizer._if_calib, quantizer._if_quant = True, False
    with torch.no_grad():
        model.eval()(images)
    for quantizer in found:
        quantizer._if_calib, quantizer._if_quant = False, True
    return model

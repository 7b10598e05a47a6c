"""The common part of the quantizers of NVIDIA's two toolkits."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from core.errors import UnsupportedEnvironment
from qat.quantization.fake_quant import broadcast
from qat.quantization.quantizers import Quantizer


class VendorQuantizer(Quantizer):
    """A quantizer around the `TensorQuantizer` of nvidia-modelopt or of pytorch-quantization.

    Both read their range from `_amax`, of a shape that broadcasts against the input, and fake-quantize by calling. Each
    forward pass sets `_amax` anew, and it is not a buffer: code that copies or averages a model would find a second
    range, whose shape changes, and pytorch-quantization moves an `_amax` that it finds in a checkpoint to CUDA.
    """

    vendor: Any

    def __init__(
        self, *, axis: int | None, channels: int = 1, narrow: bool, momentum: float = 0.9, shared: bool = False
    ) -> None:
        super().__init__(axis=axis, channels=channels, narrow=narrow, momentum=momentum, shared=shared)
        self.vendor = self.make(axis, narrow)

    def make(self, axis: int | None, narrow: bool) -> nn.Module:
        """The vendor's module: signed 8 bits, [-127, 127] if `narrow`, else [-128, 127]."""
        raise NotImplementedError

    def quantize(self, x: Tensor, *, saturates: bool) -> Tensor:
        """Values and gradients as the vendor computes them."""
        self.vendor._amax = broadcast(self.ranges.detach(), x, self.axis)
        result: Tensor = self.vendor(
            x.float()
        )  # pytorch-quantization would round in bfloat16, whose 8 bits are too few
        return result.to(x.dtype)


def unavailable(package: str, error: ImportError, fix: str) -> UnsupportedEnvironment:
    """The error for an environment that lacks `package` or something that it imports."""
    return UnsupportedEnvironment(f"qat.toolkit: {package} cannot be imported", why=str(error), fix=fix)

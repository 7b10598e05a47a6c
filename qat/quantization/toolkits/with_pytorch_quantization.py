"""Quantizers of pytorch-quantization, which older NGC PyTorch containers include. The package on PyPI is a stub."""

from __future__ import annotations

from functools import cache

from torch import nn

from qat.quantization.quantizers import Quantizer
from qat.quantization.toolkits.base import VendorQuantizer, unavailable


@cache
def load() -> type[Quantizer]:
    """The class of quantizers; raises `UnsupportedEnvironment` where a package is missing."""
    try:
        from pytorch_quantization.nn import TensorQuantizer
        from pytorch_quantization.tensor_quant import QuantDescriptor
    except ImportError as error:
        fix = "use an NGC PyTorch container that ships it, or set qat.toolkit: builtin or modelopt"
        raise unavailable("pytorch-quantization", error, fix) from error

    class PytorchQuantizationQuantizer(VendorQuantizer):
        """A quantizer that wraps `pytorch_quantization.nn.TensorQuantizer`."""

        def make(self, axis: int | None, narrow: bool) -> nn.Module:
            vendor: nn.Module = TensorQuantizer(QuantDescriptor(num_bits=8, axis=axis, narrow_range=narrow))
            return vendor

    return PytorchQuantizationQuantizer

"""Quantizers of nvidia-modelopt, the successor of pytorch-quantization."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from qat.quantization.fake_quant import QMAX, broadcast, fake_quantize
from qat.quantization.quantizers import Quantizer
from qat.quantization.toolkits.base import VendorQuantizer, unavailable

CPU_BACKEND = "vectorized_int8"


@cache
def load() -> type[Quantizer]:
    """The class of quantizers; raises `UnsupportedEnvironment` where a package is missing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of packages that only language models would want
            from modelopt.torch.quantization.config import QuantizerAttributeConfig
            from modelopt.torch.quantization.nn import TensorQuantizer, register_quant_backend
    except ImportError as error:
        # 0.47 imports the last two without declaring them
        fix = "pip install nvidia-modelopt requests huggingface_hub, or set qat.toolkit: builtin"
        raise unavailable("nvidia-modelopt", error, fix) from error
    register_quant_backend(CPU_BACKEND, on_cpu)

    class ModeloptQuantizer(VendorQuantizer):
        """Around `modelopt.torch.quantization.nn.TensorQuantizer`: on GPUs with its own kernels, on CPUs with ours."""

        def make(self, axis: int | None, narrow: bool) -> nn.Module:
            # by default 0.47 passes the gradient of values that saturate, too
            settings = QuantizerAttributeConfig(num_bits=8, axis=axis, narrow_range=narrow, pass_through_bwd=False)
            vendor: nn.Module = TensorQuantizer(settings)
            return vendor

        def quantize(self, x: Tensor, *, saturates: bool) -> Tensor:
            self.vendor.backend = None if x.is_cuda else CPU_BACKEND
            if x.is_cuda:
                return super().quantize(x, saturates=saturates)
            self.vendor.backend_extra_args["saturates"] = saturates
            self.vendor._amax = broadcast(self.ranges.detach(), x, self.axis)
            if self.axis is not None or x.is_contiguous() or not x.is_contiguous(memory_format=torch.channels_last):
                result: Tensor = self.vendor(x)
                return result
            # modelopt would copy channels-last activations to the other layout; seen as NHWC they need none
            result = self.vendor(x.permute(0, 2, 3, 1))
            return result.permute(0, 3, 1, 2)

    return ModeloptQuantizer


def on_cpu(x: Tensor, quantizer: Any) -> Tensor:
    """modelopt's hook for other arithmetic: ours, vectorized, by the range and form of its `TensorQuantizer`."""
    axis: int | None = quantizer.axis
    scale = quantizer._amax / QMAX if axis is None else quantizer._amax.reshape(-1) / QMAX
    qmin = -QMAX if quantizer.narrow_range else -QMAX - 1
    return fake_quantize(x, scale, axis=axis, qmin=qmin, saturates=quantizer.backend_extra_args["saturates"])

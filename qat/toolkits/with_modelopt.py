"""Quantizers of nvidia-modelopt, the successor of pytorch-quantization."""

from __future__ import annotations

import warnings
from functools import cache

from torch import nn

from qat.quantizers import Quantizer
from qat.toolkits.base import VendorQuantizer, unavailable


@cache
def load() -> type[Quantizer]:
    """The class of quantizers; raises `UnsupportedEnvironment` where a package is missing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of packages that only language models would want
            from modelopt.torch.quantization.config import QuantizerAttributeConfig
            from modelopt.torch.quantization.nn import TensorQuantizer
    except ImportError as error:
        # 0.47 imports the last two without declaring them
        fix = "pip install nvidia-modelopt requests huggingface_hub, or set qat.toolkit: builtin"
        raise unavailable("nvidia-modelopt", error, fix) from error

    class ModeloptQuantizer(VendorQuantizer):
        """Around `modelopt.torch.quantization.nn.TensorQuantizer`."""

        def make(self, axis: int | None, narrow: bool) -> nn.Module:
            # by default 0.47 passes the gradient of values that saturate, too
            settings = QuantizerAttributeConfig(num_bits=8, axis=axis, narrow_range=narrow, pass_through_bwd=False)
            vendor: nn.Module = TensorQuantizer(settings)
            return vendor

    return ModeloptQuantizer

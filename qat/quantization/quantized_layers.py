"""Convolution and linear layers that compute with their fake-quantized weight."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from core.errors import UserError
from qat.quantization.quantizers import Quantizer, magnitude, weight_quantizer

WEIGHT_QUANTIZER = "weight_quantizer"  # submodule of each quantized layer
WEIGHT_FOLD = "weight_fold"  # buffer of a layer whose weight is divided by it before it is rounded


class _Conv:
    def forward(self: Any, x: Tensor) -> Tensor:
        fold = getattr(self, WEIGHT_FOLD, None)
        weight = self.weight_quantizer(weight_of(self))
        return self._conv_forward(x, weight if fold is None else weight * fold, self.bias)


class _Linear:
    def forward(self: Any, x: Tensor) -> Tensor:
        return F.linear(x, self.weight_quantizer(self.weight), self.bias)


class _ConvTranspose:
    convolve: Callable[..., Tensor]

    def forward(self: Any, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        if output_size is not None:
            raise UserError("ConvTranspose with output_size is not supported", fix="set output_padding instead")
        weight = self.weight_quantizer(self.weight)
        geometry = (self.stride, self.padding, self.output_padding, self.groups, self.dilation)
        return self.convolve(input, weight, self.bias, *geometry)


class QuantizedConv1d(_Conv, nn.Conv1d):
    """`nn.Conv1d` with `weight_quantizer`."""


class QuantizedConv2d(_Conv, nn.Conv2d):
    """`nn.Conv2d` with `weight_quantizer`."""


class QuantizedConv3d(_Conv, nn.Conv3d):
    """`nn.Conv3d` with `weight_quantizer`."""


class QuantizedConvTranspose1d(_ConvTranspose, nn.ConvTranspose1d):
    """`nn.ConvTranspose1d` with `weight_quantizer`."""

    convolve = staticmethod(F.conv_transpose1d)


class QuantizedConvTranspose2d(_ConvTranspose, nn.ConvTranspose2d):
    """`nn.ConvTranspose2d` with `weight_quantizer`."""

    convolve = staticmethod(F.conv_transpose2d)


class QuantizedConvTranspose3d(_ConvTranspose, nn.ConvTranspose3d):
    """`nn.ConvTranspose3d` with `weight_quantizer`."""

    convolve = staticmethod(F.conv_transpose3d)


class QuantizedLinear(_Linear, nn.Linear):
    """`nn.Linear` with `weight_quantizer`."""


_QUANTIZED: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv1d: QuantizedConv1d,
    nn.Conv2d: QuantizedConv2d,
    nn.Conv3d: QuantizedConv3d,
    nn.ConvTranspose1d: QuantizedConvTranspose1d,
    nn.ConvTranspose2d: QuantizedConvTranspose2d,
    nn.ConvTranspose3d: QuantizedConvTranspose3d,
    nn.Linear: QuantizedLinear,
}


def weight_of(layer: nn.Module) -> Tensor:
    """The input of the layer's weight quantizer: the weight, over its fold if it has one."""
    assert isinstance(layer.weight, Tensor)
    fold = getattr(layer, WEIGHT_FOLD, None)
    return layer.weight if fold is None else layer.weight / fold


def fold_weight(layer: nn.Module, fold: Tensor) -> None:
    """Let the layer round `weight / fold` and compute with the result times `fold`, in place.

    Args:
        layer: a convolution with a weight quantizer.
        fold: one factor for each input channel, above zero.
    """
    assert isinstance(layer.weight, Tensor)
    shaped = fold.to(layer.weight).reshape(1, -1, *[1] * (layer.weight.ndim - 2))
    layer.register_buffer(WEIGHT_FOLD, shaped, persistent=False)  # a fact of the data, not of the weights
    quantizer = layer.get_submodule(WEIGHT_QUANTIZER)
    assert isinstance(quantizer, Quantizer)
    quantizer.set_amax(magnitude(weight_of(layer), quantizer.axis), quantizer.origin)


def known_type(layer: nn.Module) -> type[nn.Module] | None:
    """The layer type with a quantized form that `layer` is of, or derived from."""
    return next((base for base in type(layer).__mro__ if base in _QUANTIZED), None)


def layer_type(layer: nn.Module) -> type[nn.Module] | None:
    """The known layer type that `layer` computes as: its own, or the one whose `forward` its class inherits."""
    known = known_type(layer)
    inherits = known and type(layer).forward is known.forward and _conv_forward(type(layer)) is _conv_forward(known)
    return known if inherits else None


def _conv_forward(kind: type[nn.Module]) -> Any:
    return getattr(kind, "_conv_forward", None)


def quantize_layer(
    layer: nn.Module,
    axis: int,
    kind: type[Quantizer] = Quantizer,
    *,
    shared: bool = False,
    norm: nn.Module | None = None,
) -> None:
    """Give `layer` a weight quantizer of class `kind` along `axis`, in place; see `weight_quantizer`.

    The layer stays the same object with the same parameters under the same names, so FP32 checkpoints load and an
    optimizer that holds its parameters keeps holding them.

    Raises:
        UserError: a layer type without a quantized form.
    """
    known = layer_type(layer)
    if known is None:
        raise UserError(
            f"{type(layer).__name__} has no quantized form",
            why=f"known: {', '.join(kind.__name__ for kind in _QUANTIZED)}",
            fix="name the layer in placement.skip",
        )
    assert isinstance(layer.weight, Tensor)
    quantizer = weight_quantizer(layer.weight, axis, kind, shared=shared, norm=norm)
    quantized, own = _QUANTIZED[known], type(layer)
    layer.__class__ = quantized if own is known else type(own.__name__, (quantized, own), {})
    layer.add_module(WEIGHT_QUANTIZER, quantizer)

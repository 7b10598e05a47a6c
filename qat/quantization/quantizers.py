"""Fake quantizers: a float tensor after a trip through int8.

Scales are amax / 127 and zero-points 0. Activations saturate at [-128, 127] as ONNX QuantizeLinear does; weights
use the narrow range ±127, so that what is trained is what the engine computes. The arithmetic is in
`qat.quantization.fake_quant`.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import Any

import torch
from torch import Tensor, distributed, nn

from deploy.plan.scale import Scale
from qat.processes.distributed import world_size
from qat.quantization.fake_quant import QMAX, fake_quantize, fake_quantize_learned, lsq_gain, magnitude

_SMALLEST_AMAX = 1e-6  # a scale must be positive: a tensor that is all zero quantizes to zero with any scale


class Mode(Enum):
    """The effect of a quantizer on its input."""

    FLOAT = "float"  # pass through, for statistics of the float network
    QUANTIZE = "quantize"  # fixed scale
    TRACK = "track"  # amax follows an exponential moving average, then quantize
    LEARN = "learn"  # the scale is a trained parameter


class Quantizer(nn.Module):
    """Symmetric int8 fake quantizer, per tensor (`axis` None) or per slice along `axis`.

    `amax` holds the largest magnitude that is represented, NaN until it is set; `origin` says where it came from.

    Attributes:
        shared: the slices of a weight share one amax, of the weight as the engine has it: with `norm` folded in.
        norm: the BatchNorm behind the weight's layer, if there is one; a tuple, so that it is not a submodule.
    """

    def __init__(
        self, *, axis: int | None, channels: int = 1, narrow: bool, momentum: float = 0.9, shared: bool = False
    ) -> None:
        """
        Args:
            axis: channel axis of a weight, None for an activation.
            channels: number of slices along `axis`.
            narrow: ±127 (weights) instead of [-128, 127] (activations).
            momentum: share of the old amax that `Mode.TRACK` keeps at each step; 0 follows the range exactly.
        """
        super().__init__()
        self.axis, self.channels, self.shared = axis, channels, shared
        self.norm: tuple[nn.Module, ...] = ()
        self.qmin = -QMAX if narrow else -QMAX - 1
        self.momentum = momentum
        self.mode = Mode.FLOAT
        self.origin = ""
        shape = () if axis is None else (1,) if shared else (channels,)
        self.amax = nn.Parameter(torch.full(shape, math.nan), requires_grad=False)

    @property
    def is_set(self) -> bool:
        """Return True if every amax is finite and positive."""
        return bool((torch.isfinite(self.amax) & (self.amax > 0)).all())

    @property
    def ranges(self) -> Tensor:
        """float32, the largest magnitude that is represented: a scalar or one value per channel."""
        if not self.shared:
            return self.amax.abs()
        return self.amax.abs().expand(self.channels) / self.folded_factor

    @property
    def scale(self) -> Tensor:
        """float32 step size, a scalar or one value per channel."""
        return self.ranges.clamp_min(_SMALLEST_AMAX) / QMAX

    @property
    def folded_factor(self) -> Tensor:
        """The factor of the engine's weight, per output channel: |gamma| / √(variance + epsilon) of `norm`."""
        factor = torch.ones_like(self.amax)
        for norm in self.norm:
            gamma, variance = getattr(norm, "weight", None), norm.get_buffer("running_var")
            factor = factor if gamma is None else gamma.detach().abs()
            factor = factor / (variance + norm.eps).sqrt()  # type: ignore[operator]  # a float
        return factor.clamp_min(_SMALLEST_AMAX)

    def as_rows(self, weight: Tensor) -> Tensor:
        """`weight` as the engine has it, a row for each range: (ranges, values)."""
        assert self.axis is not None
        rows = weight.detach().movedim(self.axis, 0).flatten(1)
        return (rows * self.folded_factor.reshape(-1, 1)).reshape(1, -1) if self.shared else rows

    def as_scale(self) -> Scale:
        """The scale as plans hold it: float32 on the CPU, and the axis of a weight."""
        return Scale(self.scale.detach().float().cpu().numpy().copy(), self.axis)

    def set_amax(self, amax: Tensor | float, origin: str) -> None:
        """Fix the range. Zero becomes the smallest positive range; `origin` is recorded for the report."""
        value = torch.as_tensor(amax, dtype=self.amax.dtype)
        with torch.no_grad():
            self.amax.copy_(value.clamp_min(_SMALLEST_AMAX))
        self.origin = origin

    def set_mode(self, mode: Mode) -> None:
        """Change what `forward` does; only `Mode.LEARN` makes amax a trained parameter."""
        self.mode = mode
        self.amax.requires_grad_(mode is Mode.LEARN)

    def observe(self, x: Tensor) -> None:
        """Move amax towards the largest magnitude of `x` (over all processes); the first observation sets it."""
        seen = magnitude(x, None) if self.axis is None else magnitude(self.as_rows(x), 0)
        seen = seen.float().clamp_min(_SMALLEST_AMAX)
        if (
            self.momentum and distributed.is_available() and distributed.is_initialized()
        ):  # weights are equal everywhere
            distributed.all_reduce(seen, distributed.ReduceOp.MAX)
        with torch.no_grad():
            if self.momentum:
                seen = torch.where(torch.isnan(self.amax), seen, self.amax.lerp(seen, 1 - self.momentum))
            self.amax.copy_(seen)
        self.origin = "ema" if self.momentum else "max"

    def forward(self, x: Tensor) -> Tensor:
        """Fake-quantize `x` (any shape, float) according to the mode."""
        if self.mode is Mode.FLOAT:
            return x
        exact = False  # True: amax is the range of this very x
        if self.mode is Mode.TRACK and self.training:
            self.observe(x)
            exact = self.momentum == 0
        if self.mode is Mode.LEARN:
            # amax = 127 · scale is trained; the factor 127² makes a step on it move the scale as LSQ does
            processes = world_size() if self.axis is None else 1  # each has images of its own, but the same weights
            gain = QMAX**2 * lsq_gain(x.numel() * processes, self.amax.numel())
            return fake_quantize_learned(x, self.scale, axis=self.axis, qmin=self.qmin, gain=gain)
        return self.quantize(x, saturates=not exact)

    def quantize(self, x: Tensor, *, saturates: bool) -> Tensor:
        """Values and gradients at the present range (`saturates`: some may lie outside); toolkits override this."""
        return fake_quantize(x, self.scale, axis=self.axis, qmin=self.qmin, saturates=saturates)

    def get_extra_state(self) -> dict[str, str]:
        """Mode and origin travel with the state dict, so that a resumed run continues as before."""
        return {"mode": self.mode.value, "origin": self.origin}

    def set_extra_state(self, state: Any) -> None:
        """Restore what `get_extra_state` gave."""
        self.origin = state["origin"]
        self.set_mode(Mode(state["mode"]))

    def extra_repr(self) -> str:
        """Shown by print(model)."""
        shape = "per tensor" if self.axis is None or self.shared else f"per channel of axis {self.axis}"
        return f"int8, {shape}, {self.mode.value}, amax from {self.origin or 'nowhere yet'}"


def activation_quantizer(kind: type[Quantizer] = Quantizer) -> Quantizer:
    """One scale for the whole tensor: INT8 kernels take no per-channel activations."""
    return kind(axis=None, narrow=False)


def weight_quantizer(
    weight: Tensor, axis: int, kind: type[Quantizer] = Quantizer, *, shared: bool = False, norm: nn.Module | None = None
) -> Quantizer:
    """One scale per output channel, set from the weight itself; while it is tracked it is the weight's exact range.

    Args:
        shared: one scale for all channels of the weight, after `norm` is folded into it.
        norm: the BatchNorm that follows the layer.
    """
    channels = weight.shape[axis]
    quantizer = kind(axis=axis, channels=channels, narrow=True, momentum=0.0, shared=shared).to(weight.device)
    quantizer.norm = () if norm is None else (norm,)
    quantizer.observe(weight)
    return quantizer


def quantizers(model: nn.Module) -> dict[str, Quantizer]:
    """Every quantizer of `model` by module path."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Quantizer)}

"""The arithmetic of fake quantization, forward and backward.

GPUs use PyTorch's fused kernels. PyTorch's CPU kernels of that name work element by element, eight times slower than
the vectorized operators that this module uses on CPUs. Both give the same values, bit for bit, and the same gradients.
Gradients are the straight-through estimator's: values that saturate get none. The gradient of a learned scale is that
of LSQ (Esser et al., "Learned Step Size Quantization", ICLR 2020).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

QMAX = 127


def fake_quantize(x: Tensor, scale: Tensor, *, axis: int | None, qmin: int, saturates: bool = True) -> Tensor:
    """round(x / scale) within [qmin, 127], times scale.

    Args:
        x: any shape, float32 or half precision; the result has its dtype.
        scale: float32, a scalar (`axis` None) or one value per slice of x along `axis`.
        saturates: False where the caller knows that no value lies outside the range; the gradient then passes
            unchanged.
    """
    if not x.is_cuda:
        result: Tensor = _FakeQuantize.apply(x, scale, axis, qmin, saturates)
        return result
    zero_point = torch.zeros(scale.shape, dtype=torch.int32, device=x.device)
    if axis is None:
        return torch.fake_quantize_per_tensor_affine(x, scale, zero_point, qmin, QMAX)
    return torch.fake_quantize_per_channel_affine(x, scale, zero_point, axis, qmin, QMAX)


def fake_quantize_learned(x: Tensor, scale: Tensor, *, axis: int | None, qmin: int, gain: float = 1.0) -> Tensor:
    """The result of `fake_quantize`; the scale also gets LSQ's gradient times `gain`."""
    if not x.is_cuda:
        result: Tensor = _LearnedFakeQuantize.apply(x, scale, axis, qmin, gain)
        return result
    zero = torch.zeros_like(scale, dtype=x.dtype)
    if axis is None:
        return torch._fake_quantize_learnable_per_tensor_affine(x, scale.reshape(1), zero.reshape(1), qmin, QMAX, gain)
    return torch._fake_quantize_learnable_per_channel_affine(x, scale, zero, axis, qmin, QMAX, gain)


def lsq_gain(values: int, scales: int) -> float:
    """LSQ's factor on the gradient of a scale that serves values / scales numbers: 1 / sqrt(N · Qmax)."""
    return 1 / math.sqrt(values / scales * QMAX)


def magnitude(x: Tensor, axis: int | None) -> Tensor:
    """Largest |x| of the whole tensor (a scalar), or of each slice along `axis`."""
    x = x.detach()
    if axis is None:
        low, high = torch.aminmax(x)
    else:
        low, high = x.amin(dim=_other_dims(x, axis)), x.amax(dim=_other_dims(x, axis))
    return torch.maximum(-low, high)


class _FakeQuantize(torch.autograd.Function):
    """Fake quantization that saves its input instead of a mask: after a ReLU, autograd keeps that input anyway."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, axis: int | None, qmin: int, saturates: bool) -> Tensor:
        scale = broadcast(scale, x, axis)
        ctx.qmin, ctx.saturates = qmin, saturates
        if saturates:
            ctx.save_for_backward(x, scale)
        return _through_int8(x, scale, qmin, saturates)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.saturates:
            x, scale = ctx.saved_tensors
            gradient = torch.ops.aten.hardtanh_backward(gradient, *_range(x, scale, ctx.qmin))
        return gradient, None, None, None, None


class _LearnedFakeQuantize(torch.autograd.Function):
    """Gradients. A value's derivative by the scale is its rounding error in steps, or the bound where it saturates."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, axis: int | None, qmin: int, gain: float) -> Tensor:
        shaped = broadcast(scale, x, axis)
        result = _through_int8(x, shaped, qmin)
        ctx.save_for_backward(x, shaped, result)  # the convolution that reads the result also keeps it
        ctx.axis, ctx.qmin, ctx.gain, ctx.scale_shape = axis, qmin, gain, scale.shape
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, result = ctx.saved_tensors
        within = _range(x, scale, ctx.qmin)
        buffer = torch.ops.aten.hardtanh_backward(x, *within)  # the one new tensor: first the error, then the gradient
        torch.sub(result, buffer, out=buffer)
        if ctx.axis is None:
            total = torch.dot(buffer.reshape(-1).float(), gradient.reshape(-1).float())
        else:
            total = buffer.mul_(gradient).sum(dim=_other_dims(x, ctx.axis), dtype=torch.float32)
        by_scale = ctx.gain * total.reshape(ctx.scale_shape) / scale.reshape(ctx.scale_shape)
        by_x = torch.ops.aten.hardtanh_backward.grad_input(gradient, *within, grad_input=buffer)
        return by_x, by_scale, None, None, None


def _through_int8(x: Tensor, scale: Tensor, qmin: int, saturates: bool = True) -> Tensor:
    steps = (x.float() * (1 / scale)).round_()
    if saturates:
        steps.clamp_(qmin, QMAX)
    return steps.mul_(scale).to(x.dtype)


def _range(x: Tensor, scale: Tensor, qmin: int) -> tuple[Tensor, float, float]:
    """A tensor and its bounds: values between them round into [qmin, QMAX] after division by scale."""
    low, high = qmin - 0.5, QMAX + 0.5
    if scale.numel() > 1:
        return (x * (1 / scale)).to(x.dtype), low, high
    step = float(scale)
    return x, low * step, high * step


def broadcast(scale: Tensor, x: Tensor, axis: int | None) -> Tensor:
    """`scale`, a scalar or one value per slice along `axis`, in a shape that broadcasts against x."""
    if axis is None:
        return scale
    shape = [1] * x.ndim
    shape[axis] = -1
    return scale.reshape(shape)


def _other_dims(x: Tensor, axis: int) -> list[int]:
    return [dim for dim in range(x.ndim) if dim != axis]

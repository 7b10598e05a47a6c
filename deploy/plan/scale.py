"""Symmetric int8 scales and their rounding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

QMAX = 127
UINT8_MIDDLE = 128  # zero-point of a signed range that is stored as uint8
SMALLEST_AMAX = 1e-6  # a scale must be positive; an all-zero tensor quantizes to zero with any scale


@dataclass(frozen=True)
class Scale:
    """A symmetric int8 scale: a float32 scalar (`axis` None) or one value per slice along `axis`."""

    values: NDArray[np.float32]
    axis: int | None = None

    @property
    def largest(self) -> float:
        """The largest of the values."""
        return float(self.values.max())


def activation_scale(amax: float) -> Scale:
    """The scale of an activation whose largest represented magnitude is `amax`."""
    return Scale(np.array(max(amax, SMALLEST_AMAX) / QMAX, dtype=np.float32))


def max_scale(values: NDArray[np.float32], axis: int) -> Scale:
    """The scale of a weight whose largest magnitude along each slice of `axis` becomes 127 steps."""
    largest = np.abs(values).max(axis=tuple(i for i in range(values.ndim) if i != axis))
    return Scale(np.maximum(largest / QMAX, np.finfo(np.float32).tiny).astype(np.float32), axis)


def quantize_array(values: NDArray[np.float32], scale: Scale) -> NDArray[np.int8]:
    """Round to the nearest even integer and clip to ±127, the narrow range that symmetric kernels assume."""
    steps = np.rint(values / broadcast(scale.values, scale.axis, values.ndim))
    integers: NDArray[np.int8] = np.clip(steps, -QMAX, QMAX).astype(np.int8)
    return integers


def broadcast(values: NDArray[np.float32], axis: int | None, rank: int) -> NDArray[np.float32]:
    """`values` along `axis` of an array of `rank` axes; a scalar when `axis` is None."""
    if axis is None:
        return values.reshape(())
    shape = [1] * rank
    shape[axis] = -1
    return values.reshape(shape)

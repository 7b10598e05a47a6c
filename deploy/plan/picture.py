"""The picture behind a network's input: 8-bit RGB pixels, which need no rounding to be 8-bit numbers.

A network sees `x = (pixel / 255 - mean) / std` of each channel. Centred pixels, `pixel - 128`, fit int8 with scale 1
and zero-point 0. A convolution of x is one of centred pixels whose weights are divided by the std of their channel, so
a plan that has a picture quantizes the first weight in that form: the weight over `fold`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

PIXELS = "pixels"  # the tensor of centred pixels; also the origin of scales that follow from them
MIDDLE = 128  # the pixel that becomes zero
STEP = 1 / 256  # one pixel value, in units of that tensor: exact in every float format
_WHITE = 255

Channels = tuple[float, float, float]


class Picture(BaseModel):
    """Mean and standard deviation of each RGB channel, of pixels over 255."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: Channels
    std: Channels = Field(description="above zero")

    @property
    def fold(self) -> NDArray[np.float64]:
        """(3,): divisors of the first weight by input channel, before it is rounded; 1 on average."""
        std = np.asarray(self.std)
        fold: NDArray[np.float64] = std / std.mean()
        return fold

    @property
    def gain(self) -> NDArray[np.float64]:
        """(3,): centred pixels are `x · gain + zero`."""
        return _WHITE * np.asarray(self.std)

    @property
    def zero(self) -> NDArray[np.float64]:
        """(3,): the centred pixel, not an integer, that the network sees as zero, as it sees the padding."""
        return _WHITE * np.asarray(self.mean) - MIDDLE

    @property
    def largest(self) -> float:
        """Largest magnitude that the network sees of a pixel."""
        black = -np.asarray(self.mean) / np.asarray(self.std)
        return float(np.abs([black, black + 1 / np.asarray(self.std)]).max())

    @property
    def weight_gain(self) -> float:
        """Scale of the first weight for the tensor of centred pixels, over its scale in the plan."""
        return 1 / (STEP * _WHITE * float(np.mean(self.std)))

"""Pictures into the input of an engine that takes pixels: their own copy brings them into its form.

    uint8 (N, H, W, 3)  ─▶  int8 or uint8 (N, H/b, W/b, 4·b²)     b = 1 or 2

A block of b×b pixels holds red, green, blue and a constant of each of its pixels. int8 stands for pixel - 128, so that
the highest bit is flipped. Adding a channel and flipping bits is done on whole words, which costs less than a copy of
the float picture (docs/reference/engines.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import UserError
from deploy.plan.picture import MIDDLE

Array = NDArray[Any]
_OPAQUE = 255  # the fourth channel as OpenCV adds it


class Feeder:
    """Brings what is fed into the form that an engine takes.

    An engine that takes pixels is fed with pictures, uint8 (N, H, W, 3) RGB, or with normalised pictures, float32
    (N, 3, H, W), which become pixels again. Anything else is passed on as it is.
    """

    def __init__(self, manifest: Mapping[str, Any]) -> None:
        """
        Args:
            manifest: of the bundle.
        """
        found = manifest.get("pixels")
        self._copy = _Copy(manifest) if found else None

    def put(self, value: Array, target: Array) -> None:
        """Write `value` into the engine's own memory `target`, of its shape and type.

        Raises:
            UserError: `value` is not a picture of the engine's size.
        """
        if self._copy is None or (value.dtype == target.dtype and value.shape == target.shape):
            target[...] = value
        else:
            self._copy.write(value, target)

    def ready(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """New arrays for an engine that reads the caller's memory; contiguous.

        Raises:
            UserError: an input is not a picture of the engine's size.
        """
        if self._copy is None:
            return {name: np.ascontiguousarray(value) for name, value in feeds.items()}
        found = {}
        for name, value in feeds.items():
            found[name] = np.empty((len(value), *self._copy.shape), self._copy.dtype)
            self.put(value, found[name])
        return found


class _Copy:
    def __init__(self, manifest: Mapping[str, Any]) -> None:
        (image,) = manifest["tensors"]["inputs"]
        pixels = manifest["pixels"]
        constants = pixels["constants"]
        self.shape, self.dtype = tuple(image["shape"][1:]), np.dtype(image["dtype"])
        self.block = math.isqrt(len(constants))
        self.size = self.shape[0] * self.block, self.shape[1] * self.block
        self._gain, zero = (np.asarray(pixels[key], np.float32).reshape(3, 1, 1) for key in ("gain", "zero"))
        self._offset = zero + MIDDLE
        flip = MIDDLE if self.dtype == np.int8 else 0
        alpha = [_OPAQUE ^ (constant + MIDDLE) ^ flip for constant in constants]
        masks = np.array([[flip, flip, flip, own] for own in alpha], np.uint8)
        self._word = np.uint32 if self.block == 1 else np.uint64  # the pixels of a block that lie side by side
        self._masks = masks.reshape(self.block, -1).view(self._word)[:, 0]
        self._opaque = np.empty((*self.size, 4), np.uint8)

    def write(self, value: Array, target: Array) -> None:
        pictures = self._pixels(value)
        if pictures.dtype != np.uint8 or pictures.shape[1:] != (*self.size, 3):
            height, width = self.size
            raise UserError(
                f"the engine does not take {value.dtype} {value.shape}",
                why=f"it takes pictures, uint8 (N, {height}, {width}, 3)",
                fix="resize the picture, or build the engine for its size",
            )
        for picture, own in zip(pictures, target, strict=True):
            self._write(picture, own)

    def _write(self, picture: Array, target: Array) -> None:
        import cv2

        cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2RGBA, dst=self._opaque)
        rows, columns, _ = self.shape
        words = self._opaque.reshape(rows * self.block, -1).view(self._word).reshape(rows, self.block, columns)
        blocks = target.reshape(rows, columns, -1).view(self._word)
        for row, mask in enumerate(self._masks):
            np.bitwise_xor(words[:, row], mask, out=blocks[..., row])

    def _pixels(self, value: Array) -> Array:
        """Pictures as they are; a normalised picture as the pixels that it was made of."""
        if value.dtype != np.float32 or value.ndim != 4 or value.shape[1] != 3:
            return value
        found = np.rint(value * self._gain + self._offset).clip(0, 255).astype(np.uint8)
        return np.ascontiguousarray(found.transpose(0, 2, 3, 1))

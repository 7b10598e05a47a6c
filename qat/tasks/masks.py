"""Label maps as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from qat.data.base import IGNORE

Mask = NDArray[np.integer[Any]]  # class of each pixel, (H, W)
Picture = NDArray[np.uint8]  # RGB (H, W, 3)
Color = tuple[int, int, int]

IGNORED_COLOR: Color = (0, 0, 0)
LEGEND: dict[str, Color] = {  # legend of INT8's changes
    "INT8 lost it": (255, 96, 32),
    "INT8 gained it": (72, 160, 255),
    "both wrong, or no ground truth": (255, 220, 60),
}
LOST, GAINED, CHANGED = LEGEND.values()


def colorize(mask: Mask, colors: Sequence[Color]) -> Picture:
    """A class map as a picture."""
    palette = np.zeros((IGNORE + 1, 3), np.uint8)
    palette[: len(colors)] = colors
    palette[IGNORE] = IGNORED_COLOR
    picture: Picture = palette[mask]
    return picture


def difference(image: Picture, label: Mask, fp32: Mask, int8: Mask) -> Picture:
    """The photo in faint grey; pixels whose class INT8 changes are coloured by gain or loss."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) // 3 + 24
    picture: Picture = np.repeat(grey[..., np.newaxis], 3, axis=2).astype(np.uint8)
    changed = fp32 != int8
    picture[changed] = CHANGED
    picture[changed & (fp32 == label)] = LOST
    picture[changed & (int8 == label)] = GAINED
    return picture

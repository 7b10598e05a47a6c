"""Label maps as pictures: class colours over the image, captions, and a legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from deploy.apps.run.sources import Picture

OPACITY = 0.55
INK, PAPER = (32, 32, 32), (245, 245, 245)
CHANGED = (217, 72, 15)
FONT = cv2.FONT_HERSHEY_SIMPLEX
LINE_PX, MARGIN_PX, SWATCH_PX, TEXT_SCALE = 18, 6, 12, 0.42


def to_engine(image: Picture, height_px: int, width_px: int) -> Picture:
    """The image at the engine's size, resized as in training: area average when it shrinks, else bilinear."""
    height, width = image.shape[:2]
    if (height, width) == (height_px, width_px):
        return image
    shrinks = height_px < height and width_px < width
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width_px, height_px), interpolation=how), np.uint8)


def overlay(image: Picture, mask: NDArray[np.uint8], colors: NDArray[np.uint8]) -> Picture:
    """Class colours over the image, at the image's size.

    Args:
        mask: (h, w) class indices at any size; enlarged by nearest neighbour, since a mean of class indices is
            meaningless.
        colors: (classes, 3) RGB.
    """
    height, width = image.shape[:2]
    full = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(cv2.addWeighted(image, 1 - OPACITY, colors[full], OPACITY, 0), np.uint8)


def difference(image: Picture, one: NDArray[np.uint8], other: NDArray[np.uint8]) -> Picture:
    """The image in grey, with the pixels in colour whose class differs between two masks of the same size."""
    height, width = image.shape[:2]
    changed = cv2.resize((one != other).astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    picture = np.repeat(np.asarray(grey // 2 + 96, np.uint8)[..., np.newaxis], 3, axis=2)
    picture[changed > 0] = CHANGED
    return picture


def side_by_side(pictures: Mapping[str, Picture]) -> Picture:
    """Pictures of one size in a row, each with its name on top."""
    return np.hstack([_captioned(name, picture) for name, picture in pictures.items()])


def _captioned(name: str, picture: Picture) -> Picture:
    bar = np.full((LINE_PX, picture.shape[1], 3), PAPER, np.uint8)
    _write(bar, name, MARGIN_PX, LINE_PX - MARGIN_PX + 1)
    return np.vstack([bar, picture])


def with_legend(picture: Picture, classes: Sequence[Mapping[str, Any]]) -> Picture:
    """The picture above a legend with names and colours of all classes, in as many lines as its width needs."""
    lines: list[list[tuple[int, Mapping[str, Any]]]] = [[]]
    left = MARGIN_PX
    for entry in classes:
        (width, _), _ = cv2.getTextSize(entry["name"], FONT, TEXT_SCALE, 1)
        needed = SWATCH_PX + width + 3 * MARGIN_PX
        if lines[-1] and left + needed > picture.shape[1]:
            lines.append([])
            left = MARGIN_PX
        lines[-1].append((left, entry))
        left += needed
    bar = np.full((LINE_PX * len(lines) + MARGIN_PX, picture.shape[1], 3), PAPER, np.uint8)
    for number, line in enumerate(lines):
        top = number * LINE_PX + MARGIN_PX
        for start, entry in line:
            bar[top : top + SWATCH_PX, start : start + SWATCH_PX] = entry["color"]
            _write(bar, entry["name"], start + SWATCH_PX + MARGIN_PX, top + SWATCH_PX - 1)
    return np.vstack([picture, bar])


def _write(canvas: Picture, text: str, left: int, bottom: int) -> None:
    cv2.putText(canvas, text, (left, bottom), FONT, TEXT_SCALE, INK, 1, cv2.LINE_AA)

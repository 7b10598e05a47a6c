"""Random scale, crop and flip, and the edge map of the boundary loss; pure functions of a NumPy generator."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from qat.data.base import IGNORE, Sample

MEAN_COLOR = (124, 116, 104)  # ImageNet's mean in RGB: zero after the default normalisation
EDGE_WIDTH_PX = 4
EDGE_RIM_PX = 6


@dataclass(frozen=True)
class View:
    """A random view of an image: scale, crop and flip.

    Attributes:
        scaled_px: size (height, width) that the whole image is scaled to.
        top_px, left_px: corner of the crop in the scaled image.
        crop_px: size (height, width) of the crop; it is padded right and below where the scaled image ends.
        flip: mirror left and right.
    """

    scaled_px: tuple[int, int]
    top_px: int
    left_px: int
    crop_px: tuple[int, int]
    flip: bool


def draw_view(
    image_px: tuple[int, int], rng: Generator, *, scale_range: tuple[float, float], crop_px: tuple[int, int], flip: bool
) -> View:
    """A random view of an image of size (height, width); `flip` allows mirroring, in half of the cases."""
    scale = rng.uniform(*scale_range)
    height, width = (max(1, round(side * scale)) for side in image_px)
    top = int(rng.integers(max(0, height - crop_px[0]) + 1))
    left = int(rng.integers(max(0, width - crop_px[1]) + 1))
    return View((height, width), top, left, crop_px, flip and bool(rng.random() < 0.5))


def apply_view(
    array: NDArray[np.uint8], view: View, *, fill: int | tuple[int, int, int], smooth: bool
) -> NDArray[np.uint8]:
    """Scale (bilinear if `smooth`, else nearest), crop, pad with `fill` and flip an (H, W) or (H, W, 3) array."""
    size = (view.scaled_px[1], view.scaled_px[0])
    scaled = cv2.resize(array, size, interpolation=cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST_EXACT)
    height, width = view.crop_px
    part = scaled[view.top_px : view.top_px + height, view.left_px : view.left_px + width]
    out = np.empty((height, width, *array.shape[2:]), np.uint8)
    out[:] = fill
    out[: part.shape[0], : part.shape[1]] = part
    return np.ascontiguousarray(out[:, ::-1]) if view.flip else out


def augment(
    sample: Sample,
    rng: Generator,
    *,
    scale_range: tuple[float, float],
    crop_px: tuple[int, int],
    flip: bool,
    pad_color: tuple[int, int, int] = MEAN_COLOR,
) -> Sample:
    """A random view of a sample.

    Args:
        sample: image (H, W, 3) and its label.
        rng: source of randomness; equal generators give equal samples.
        scale_range: smallest and largest scale factor, drawn uniformly.
        crop_px: (height, width) of the result.
        flip: mirror half of the samples.
        pad_color: RGB where the scaled image is smaller than the crop; the label is `IGNORE` there.
    """
    view = draw_view(sample.image.shape[:2], rng, scale_range=scale_range, crop_px=crop_px, flip=flip)
    return view_of(sample, view, pad_color)


def view_of(sample: Sample, view: View, pad_color: tuple[int, int, int] = MEAN_COLOR) -> Sample:
    """Apply the view to image and label map alike; the class of a whole image stays."""
    image = apply_view(sample.image, view, fill=pad_color, smooth=True)
    label = apply_view(sample.label, view, fill=IGNORE, smooth=False) if sample.label.ndim else sample.label
    return Sample(image, label, sample.name)


def boundary(label: NDArray[np.uint8], width_px: int = EDGE_WIDTH_PX, rim_px: int = EDGE_RIM_PX) -> NDArray[np.float32]:
    """Edges between classes: float32 (H, W), 1 on an edge, else 0.

    As in PIDNet (Xu et al., CVPR 2023): Canny on the label map with thresholds below one class step, so that every
    change of class counts, void included; a rim of the image is cleared, where driving data sets have void borders;
    then dilation with a square.

    Args:
        label: uint8 (H, W).
        width_px: side of the square.
        rim_px: width of the cleared rim; 0 for none.
    """
    edges = np.asarray(cv2.Canny(label, 0.1, 0.2), np.uint8)
    if rim_px:
        inner = np.zeros_like(edges)
        inner[rim_px:-rim_px, rim_px:-rim_px] = edges[rim_px:-rim_px, rim_px:-rim_px]
        edges = inner
    return (cv2.dilate(edges, np.ones((width_px, width_px), np.uint8)) > 0).astype(np.float32)

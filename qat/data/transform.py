"""Converts decoded files to network inputs: size, cache, and normalisation."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from core.config import DataConfig
from core.files.artifacts import sha256_json
from qat.data.base import LabelledImages, Sample

CACHE_BYTES = 4 << 30  # CamVid and streets fit; further images, as of full-size Cityscapes, are decoded on each access


class Kept:
    """A data set at one size, limited to evenly spaced samples, each decoded once per process.

    Args:
        source: source of the samples.
        height_px, width_px: size of every sample.
        limit: number of samples to keep; None for all.
    """

    def __init__(self, source: LabelledImages, height_px: int, width_px: int, limit: int | None = None) -> None:
        self.class_names, self.colors = source.class_names, source.colors
        self._source = source
        self._height_px, self._width_px = height_px, width_px
        kept = len(source) if limit is None else min(limit, len(source))
        self._indices = [index * len(source) // kept for index in range(kept)]
        self._cache: dict[int, Sample] = {}
        self._cacheable = CACHE_BYTES // (height_px * width_px * 4)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the kept samples."""
        names = self._source.names
        return tuple(names[index] for index in self._indices)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Sample:
        cached = self._cache.get(index)
        if cached is not None:
            return cached
        sample = self.brought_to_size(self._source[self._indices[index]])
        if len(self._cache) < self._cacheable:
            self._cache[index] = sample
        return sample

    def brought_to_size(self, sample: Sample) -> Sample:
        """The sample at the size of the data set; subclasses define the scaling."""
        raise NotImplementedError

    def fingerprint(self) -> str:
        return sha256_json([self._source.fingerprint(), self._height_px, self._width_px, self._indices])


class Resized(Kept):
    """A data set whose images and label maps are scaled to one size."""

    def brought_to_size(self, sample: Sample) -> Sample:
        """The sample scaled; aspect is not kept."""
        return resize(sample, self._height_px, self._width_px)


def resize(sample: Sample, height_px: int, width_px: int) -> Sample:
    """Scale image (area average when it shrinks, else bilinear) and label map (nearest); aspect is not kept."""
    height, width = sample.label.shape
    if (height, width) == (height_px, width_px):
        return sample
    shrinks = height_px < height and width_px < width
    size = (width_px, height_px)
    image = cv2.resize(sample.image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    # INTER_NEAREST takes the top-left pixel of each cell; the exact variant samples its centre, as the image does.
    label = cv2.resize(sample.label, size, interpolation=cv2.INTER_NEAREST_EXACT)
    return Sample(np.asarray(image, np.uint8), np.asarray(label, np.uint8), sample.name)


def normalize(image: NDArray[np.uint8], cfg: DataConfig) -> NDArray[np.float32]:
    """uint8 (H, W, 3) RGB to float32 (3, H, W): `(x / 255 - mean) / std` per channel."""
    gain = 1.0 / (255.0 * np.asarray(cfg.std, np.float32))
    offset = -np.asarray(cfg.mean, np.float32) / np.asarray(cfg.std, np.float32)
    return np.ascontiguousarray((image * gain + offset).transpose(2, 0, 1), np.float32)

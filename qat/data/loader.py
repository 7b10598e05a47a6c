"""Augmented training samples as tensors, the same for every process count and after every resume."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from core.config import Config, DataConfig, TrainConfig
from qat.data.augment import apply_view, boundary, draw_view, view_of
from qat.data.base import LabelledImages
from qat.data.transform import normalize


class TrainingBatches(Dataset[tuple[Tensor, ...]]):
    """One epoch of augmented samples.

    Sample i of epoch e is augmented with a generator seeded by (seed, e, i) alone: the order of access, the number of
    workers or processes, and a restart in mid-epoch do not change it.

    Args:
        dataset: source of the samples.
        data: mean and standard deviation of the normalisation.
        train: crop size, flip, and the scale range.
        seed: of the run.
        epoch: 0-based.
        scale_range: instead of the one in `train` (QAT uses a narrower one).
    """

    def __init__(
        self,
        dataset: LabelledImages,
        data: DataConfig,
        train: TrainConfig,
        *,
        seed: int,
        epoch: int,
        scale_range: tuple[float, float] | None = None,
    ) -> None:
        self._dataset, self._data = dataset, data
        self._seed, self._epoch = seed, epoch
        self._scale_range = scale_range or (train.scale_min, train.scale_max)
        self._crop_px = train.crop_height_px or data.height_px, train.crop_width_px or data.width_px
        self._flip = train.flip
        red, green, blue = (round(255 * channel) for channel in data.mean)
        self._pad_color = (red, green, blue)

    @classmethod
    def of_fp32(cls, dataset: LabelledImages, config: Config) -> Callable[[int], TrainingBatches]:
        """The batches of FP32 training, by epoch."""
        return partial(cls._epoch_of, dataset, config, config.seed, (config.train.scale_min, config.train.scale_max))

    @classmethod
    def of_qat(cls, dataset: LabelledImages, config: Config) -> Callable[[int], TrainingBatches]:
        """The batches of quantization-aware training, by epoch, with a narrower range of scales."""
        scales = config.qat.scale_min, config.qat.scale_max
        return partial(cls._epoch_of, dataset, config, config.fine_tuning_seed, scales)

    @classmethod
    def _epoch_of(
        cls, dataset: LabelledImages, config: Config, seed: int, scale_range: tuple[float, float], epoch: int
    ) -> TrainingBatches:
        return cls(dataset, config.data, config.train, seed=seed, epoch=epoch, scale_range=scale_range)

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        """Image float32 (3, h, w), label int64 (h, w), class edges float32 (h, w); h x w is the crop size.

        For an image with one class: image and label int64 ().
        """
        sample = self._dataset[index]
        rng = np.random.default_rng((self._seed, self._epoch, index))
        size = sample.image.shape[0], sample.image.shape[1]
        view = draw_view(size, rng, scale_range=self._scale_range, crop_px=self._crop_px, flip=self._flip)
        seen = view_of(sample, view, self._pad_color)
        image = torch.from_numpy(normalize(seen.image, self._data))
        label = torch.from_numpy(seen.label.astype(np.int64))
        if not label.ndim:
            return image, label
        # Edges are found before the crop, as in PIDNet: padding must not look like a change of class.
        edges = apply_view(boundary(sample.label).astype(np.uint8), view, fill=0, smooth=False)
        return image, label, torch.from_numpy(edges.astype(np.float32))

"""Images with label maps: data sets, augmentation, and training batches."""

from __future__ import annotations

from typing import Literal

from core.config import DataConfig
from qat.data.base import IGNORE, LabelledImages, Sample
from qat.data.camvid import camvid, camvid_original
from qat.data.cityscapes import cityscapes
from qat.data.custom import custom
from qat.data.streets import Streets
from qat.data.transform import Resized, normalize

__all__ = ["IGNORE", "LabelledImages", "Sample", "build_dataset", "normalize"]

_FILE_DATASETS = {"camvid": camvid, "camvid_original": camvid_original, "cityscapes": cityscapes}


def build_dataset(cfg: DataConfig, split: Literal["train", "val"], *, seed: int = 0) -> LabelledImages:
    """The configured data set at the configured size, limited to the configured number of images.

    Args:
        cfg: the `data` section of a run's config.
        split: which part.
        seed: for generated data only.

    Raises:
        UserError: the data is not under `cfg.root`, or incomplete, or `cfg.factory` is of no use; on access, a file or
            a sample is broken.
    """
    limit = cfg.train_images if split == "train" else cfg.val_images
    if cfg.name == "streets":
        streets = Streets(split, cfg.height_px, cfg.width_px, size=limit, seed=seed)
        return Resized(streets, cfg.height_px, cfg.width_px)
    if cfg.name == "custom":
        return Resized(custom(cfg, split), cfg.height_px, cfg.width_px, limit)
    masks = split == "val" or cfg.train_masks
    return Resized(_FILE_DATASETS[cfg.name](cfg.root, split, masks), cfg.height_px, cfg.width_px, limit)

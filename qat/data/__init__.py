"""Images with label maps: data sets, augmentation, and training batches."""

from __future__ import annotations

from typing import Literal

from core.config import DataConfig
from qat.data.base import IGNORE, LabelledImages, Sample
from qat.data.camvid import camvid, camvid_original
from qat.data.cityscapes import cityscapes
from qat.data.custom import custom
from qat.data.streets import DEFAULT_SIZES, Streets
from qat.data.transform import Resized, normalize
from qat.data.tuning import LEAST_IMAGES, By, TuningSet, held_aside, without_tuning

__all__ = ["IGNORE", "LabelledImages", "Sample", "TuningSet", "build_dataset", "build_tuning", "normalize"]

Split = Literal["train", "val"]
_FILE_DATASETS = {"camvid": camvid, "camvid_original": camvid_original, "cityscapes": cityscapes}


def build_dataset(cfg: DataConfig, split: Split, *, seed: int = 0) -> LabelledImages:
    """The configured data set at the configured size, limited to the configured number of images.

    Args:
        cfg: the `data` section of a run's config.
        split: the part; "train" is without the images that `build_tuning` gives.
        seed: for generated data only.

    Raises:
        UserError: the data is not under `cfg.root`, or incomplete, or `cfg.factory` is unusable; on access, a file or
            a sample is broken.
    """
    whole, by = _whole(cfg, split, seed)
    return whole if split == "val" or cfg.name == "streets" else without_tuning(whole, cfg.tuning, by)


def build_tuning(cfg: DataConfig, *, seed: int = 0) -> TuningSet:
    """The images that choices are evaluated on, as `data.tuning` says; none of them is in train or val.

    It is empty where train has too few images to hold any out. For the generated streets it consists of further
    streets.

    Raises:
        UserError: as `build_dataset`.
    """
    if cfg.name == "streets":
        size = cfg.train_images or DEFAULT_SIZES["train"]
        count = min(max(round(cfg.tuning.share * size), LEAST_IMAGES), cfg.tuning.images)
        streets = Streets("tuning", cfg.height_px, cfg.width_px, size=count, seed=seed + cfg.tuning.fold)
        return TuningSet(Resized(streets, cfg.height_px, cfg.width_px), tuple(range(count)))
    whole, by = _whole(cfg, "train", seed)
    return held_aside(whole, cfg.tuning, by)


def _whole(cfg: DataConfig, split: Split, seed: int) -> tuple[LabelledImages, By]:
    """A split that includes the tuning images, and a function that separates them."""
    limit, by = cfg.train_images if split == "train" else cfg.val_images, cfg.tuning.by
    if cfg.name == "streets":
        streets = Streets(split, cfg.height_px, cfg.width_px, size=limit, seed=seed)
        return Resized(streets, cfg.height_px, cfg.width_px), by
    if cfg.name == "custom":
        own = custom(cfg, split)
        by = "image" if by == "auto" and own.classifies else by
        return Resized(own, cfg.height_px, cfg.width_px, limit), by
    masks = split == "val" or cfg.train_masks
    return Resized(_FILE_DATASETS[cfg.name](cfg.root, split, masks), cfg.height_px, cfg.width_px, limit), by

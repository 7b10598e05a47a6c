"""Images with one class each: one folder per class, or one folder whose file names begin with the class."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from core.config import DataConfig
from core.errors import UserError
from core.files.artifacts import sha256_content, sha256_json
from qat.data.base import NO_CLASS, LabelledImages, Sample
from qat.data.custom import Custom, custom, palette
from qat.data.files import missing_data, read_rgb
from qat.data.transform import Kept
from qat.data.tuning import By, TuningSet, held_aside, without_tuning

Split = Literal["train", "val"]
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
CROP_SHARE = 7 / 8  # share of the shorter side that the crop takes, as in the usual 224 of 256
FOLDERS_LAYOUT = "    train/<class>/*.jpg\n    val/<class>/*.jpg"
FLAT_LAYOUT = "    <class index>_<name of the class>.jpg, maybe in train/ and val/"
_FLAT_NAME = re.compile(r"(\d+)_(.+)")


@dataclass(frozen=True)
class Classified:
    """Image files with their class, decoded on access.

    Raises:
        UserError: (on access) a file cannot be decoded.
    """

    files: tuple[tuple[Path, int], ...]
    class_names: tuple[str, ...]

    @property
    def colors(self) -> tuple[tuple[int, int, int], ...]:
        return palette(len(self.class_names))

    @property
    def names(self) -> tuple[str, ...]:
        """Stems of the files."""
        return tuple(path.stem for path, _ in self.files)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        path, class_index = self.files[index]
        return Sample(read_rgb(path), np.array(class_index, np.int32), path.stem)

    def fingerprint(self) -> str:
        paths = [path for path, _ in self.files]
        named = [[path.name, class_index] for path, class_index in self.files]
        return sha256_json([named, self.class_names, sha256_content(paths)])


def build_classified(cfg: DataConfig, split: Split, num_classes: int) -> LabelledImages:
    """The configured data set, centre-cropped to the configured size, limited to the configured number of images.

    "train" is without the images that `build_classified_tuning` gives.

    Raises:
        UserError: the data is not under `cfg.root`, or the number of its classes is not `num_classes`.
    """
    whole = _whole(cfg, split, num_classes)
    return whole if split == "val" else without_tuning(whole, cfg.tuning, _by(cfg))


def build_classified_tuning(cfg: DataConfig, num_classes: int) -> TuningSet:
    """The images that choices are evaluated on: evenly spaced in train, unless `data.tuning.by` says otherwise."""
    return held_aside(_whole(cfg, "train", num_classes), cfg.tuning, _by(cfg))


def _by(cfg: DataConfig) -> By:
    return "image" if cfg.tuning.by == "auto" else cfg.tuning.by


def _whole(cfg: DataConfig, split: Split, num_classes: int) -> LabelledImages:
    limit = cfg.train_images if split == "train" else cfg.val_images
    source: Classified | Custom
    if cfg.name == "custom":
        source = custom(cfg, split, class_of)
    else:
        source = (folders if cfg.name == "folders" else flat)(cfg.root, split, num_classes)
    return CentreCropped(source, cfg.height_px, cfg.width_px, limit, cfg.shorter_side_px)


def folders(root: Path | None, split: Split, num_classes: int) -> Classified:
    """`root/<split>/<class>/*`: classes are the folders of `train` in alphabetical order, as in torchvision."""
    names = sorted(path.name for path in _folder(root, "train").glob("*") if path.is_dir()) if root else []
    home = _folder(root, split)
    if not names or not home.is_dir():
        raise missing_data(root, FOLDERS_LAYOUT, "your own pictures", ("train/", "val/"))
    if len(names) != num_classes:
        raise UserError(
            f"model.num_classes is {num_classes}, but {_folder(root, 'train')} has {len(names)} classes",
            fix=f"set model.num_classes to {len(names)}; a class without images needs its folder, too",
        )
    files = [(path, index) for index, name in enumerate(names) for path in _pictures(home / name)]
    if not files:
        raise missing_data(root, FOLDERS_LAYOUT, "your own pictures", (f"{split}/<class>/",))
    return Classified(tuple(files), tuple(names))


def flat(root: Path | None, split: Split, num_classes: int) -> Classified:
    """`root/<class index>_<name>.jpg`: in a folder without train/ and val/, every second picture is for validation."""
    if root is None or not root.is_dir():
        raise missing_data(root, FLAT_LAYOUT, "your own pictures", ("<class index>_<name>.jpg",))
    divided = (root / "train").is_dir() or (root / "val").is_dir()
    paths = _pictures(root / split if divided else root)
    names = {index: f"class {index}" for index in range(num_classes)}
    files = []
    for path in paths:
        found = _FLAT_NAME.fullmatch(path.stem)
        if found is None or int(found[1]) >= num_classes:
            raise UserError(
                f"{path} has no class",
                why=f"its name does not begin with a class index below {num_classes} and an underscore",
                fix="name the files as docs/guides/data.md says, or set model.num_classes",
            )
        names[int(found[1])] = found[2]
        files.append((path, int(found[1])))
    chosen = files if divided else files[0 if split == "train" else 1 :: 2]
    if not chosen:
        raise missing_data(root, FLAT_LAYOUT, "your own pictures", ("<class index>_<name>.jpg",))
    return Classified(tuple(chosen), tuple(names.values()))


class CentreCropped(Kept):
    """A data set whose images are scaled by their shorter side and then cropped around the centre."""

    def __init__(
        self, source: LabelledImages, height_px: int, width_px: int, limit: int | None, shorter_px: int | None
    ) -> None:
        super().__init__(source, height_px, width_px, limit)
        self._shorter_px = shorter_px or round(min(height_px, width_px) / CROP_SHARE)

    def brought_to_size(self, sample: Sample) -> Sample:
        """The sample, scaled and cropped to the network's input size."""
        image = centre_crop(sample.image, self._shorter_px, (self._height_px, self._width_px))
        return Sample(image, sample.label, sample.name)


def centre_crop(image: NDArray[np.uint8], shorter_px: int, crop_px: tuple[int, int]) -> NDArray[np.uint8]:
    """Scale the shorter side to `shorter_px`, or so that the crop fits, and cut (height, width) from the centre."""
    height, width = image.shape[:2]
    scale = max(shorter_px / min(height, width), crop_px[0] / height, crop_px[1] / width)
    size = max(crop_px[1], round(width * scale)), max(crop_px[0], round(height * scale))
    if size != (width, height):
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        image = np.asarray(cv2.resize(image, size, interpolation=how), np.uint8)
    top, left = (image.shape[0] - crop_px[0]) // 2, (image.shape[1] - crop_px[1]) // 2
    return np.ascontiguousarray(image[top : top + crop_px[0], left : left + crop_px[1]])


def class_of(label: Any, _image_px: tuple[int, int], classes: int) -> NDArray[np.int32]:
    """A custom data set's label as int32 (); raises `ValueError` with the reason for an invalid label."""
    array = np.asarray(NO_CLASS if label is None else label)
    if array.ndim or array.dtype.kind not in "iu":
        raise ValueError(f"the class is {array.dtype} {array.shape}, not one whole number")
    if int(array) != NO_CLASS and not 0 <= int(array) < classes:
        raise ValueError(f"class {int(array)} is neither 0 to {classes - 1} nor {NO_CLASS}, which means none")
    return array.astype(np.int32)


def _folder(root: Path | None, split: str) -> Path:
    return (root or Path()) / split


def _pictures(folder: Path) -> Sequence[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)

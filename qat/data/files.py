"""Data sets of image and label file pairs, with errors that name the file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from core.errors import UserError
from core.files.artifacts import sha256_content, sha256_json
from core.files.image_file import read_image
from qat.data.base import IGNORE, Sample


@dataclass(frozen=True)
class Pair:
    """An image file and the label file that belongs to it; None: all its pixels are ignored."""

    image: Path
    label: Path | None


class FileDataset:
    """Pairs of files, decoded on access.

    Raises:
        UserError: (on access) a file cannot be decoded, sizes differ, or `read_label` refuses a label file.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        read_label: Callable[[Path], NDArray[np.uint8]],
        class_names: tuple[str, ...],
        colors: tuple[tuple[int, int, int], ...],
    ) -> None:
        self.class_names, self.colors = class_names, colors
        self._pairs, self._read_label = tuple(pairs), read_label

    @property
    def names(self) -> tuple[str, ...]:
        """Stems of the image files."""
        return tuple(pair.image.stem for pair in self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Sample:
        pair = self._pairs[index]
        image = read_rgb(pair.image)
        if pair.label is None:
            return Sample(image, np.full(image.shape[:2], IGNORE, np.uint8), pair.image.stem)
        label = self._read_label(pair.label)
        _check_same_size(pair, image, label)
        return Sample(image, label, pair.image.stem)

    def fingerprint(self) -> str:
        files = [path for pair in self._pairs for path in (pair.image, pair.label) if path]
        return sha256_json([[path.name for path in files], sha256_content(files)])


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Image file as uint8 (H, W, 3) RGB; raises `UserError` when it cannot be decoded."""
    return np.ascontiguousarray(read_image(path)[..., ::-1])


def read_grey(path: Path) -> NDArray[np.uint8]:
    """Single-channel 8-bit file as uint8 (H, W), values unchanged; raises `UserError` for any other kind."""
    grey = read_image(path, cv2.IMREAD_UNCHANGED)
    if grey.ndim != 2 or grey.dtype != np.uint8:
        channels = 1 if grey.ndim == 2 else grey.shape[2]
        raise UserError(
            f"{path} is not a label map",
            why=f"it has {channels} channel(s) of {grey.dtype}; class indices are one channel of uint8",
            fix="use the label file of the layout in docs/guides/data.md, not its coloured picture",
        )
    return np.asarray(grey, np.uint8)


def checked_classes(label: NDArray[np.uint8], table: NDArray[np.int16], path: Path) -> NDArray[np.uint8]:
    """Map file values to class indices; `table` holds 256 indices, -1 for forbidden values."""
    mapped = table[label]
    if mapped.min() < 0:
        values = np.unique(label[mapped < 0]).tolist()
        allowed = np.flatnonzero(table >= 0).tolist()
        raise UserError(
            f"{path} holds label values that the data set does not have: {_short(values)}",
            why=f"allowed are {_short(allowed)}",
            fix="check that the file is an index map of this data set (docs/guides/data.md) and not one of another",
        )
    return np.asarray(mapped, np.uint8)


def pair_up(images: Sequence[Path], labels: Sequence[Path], split: str, masks: bool = True) -> tuple[Pair, ...]:
    """Pair the files one by one; with `masks`, raises `UserError` for the first missing label."""
    if not masks:
        return tuple(Pair(image, None) for image in images)
    pairs = tuple(Pair(image, label) for image, label in zip(images, labels, strict=True))
    for image, label in zip(images, labels, strict=True):
        if not label.is_file():
            raise UserError(
                f"no label map for {image}",
                why=f"{label} does not exist",
                fix=f"every image of split {split} needs its label map; unpack the labels, or see data.train_masks",
            )
    return pairs


def missing_data(root: Path | None, layout: str, source: str, needed: Sequence[str]) -> UserError:
    """The error for a data set that is missing at its path: expected files, found files, and the source."""
    if root is None:
        why = "data.root is not set"
    elif not root.is_dir():
        why = f"data.root {root} is not a folder"
    else:
        found = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in root.iterdir())
        why = f"no images under {' or '.join(needed)} in {root}; found there: {_short(found) if found else 'nothing'}"
    return UserError(
        "the data set is not there", why=why, fix=f"get it from {source}, so that data.root holds\n{layout}"
    )


def _check_same_size(pair: Pair, image: NDArray[np.uint8], label: NDArray[np.uint8]) -> None:
    if image.shape[:2] != label.shape[:2]:
        (height, width), (label_height, label_width) = image.shape[:2], label.shape[:2]
        raise UserError(
            f"{pair.label} does not fit {pair.image.name}",
            why=f"the label map is {label_width}x{label_height} and the image {width}x{height} pixels",
            fix="images and labels must come from the same edition of the data set; unpack both again",
        )


def _short(items: Sequence[object], limit: int = 12) -> str:
    shown = ", ".join(str(item) for item in items[:limit])
    return f"{shown}, … ({len(items)} in all)" if len(items) > limit else shown

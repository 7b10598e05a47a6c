"""Bring your own data: one function that returns a list of (image, label map).

    root/{train,val}/images/NAME.jpg or .png
    root/{train,val}/masks/NAME.png             class indices, 255 where a pixel does not count

make bench DATA=root ARGS="--set run=my_data --set data.name=custom --set data.factory=examples/my_data.py:pairs
--set model.num_classes=3"
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray


def pairs(root: Path, split: str) -> Pairs:
    """The data set of `split`, "train" or "val"."""
    return Pairs(root / split)


class Pairs:
    """Image files with label files of the same name. `colors` may be left out."""

    class_names = ("ground", "obstacle", "sky")
    colors = ((128, 64, 128), (220, 20, 60), (70, 130, 180))

    def __init__(self, folder: Path) -> None:
        self.images = sorted(path for path in folder.glob("images/*") if path.suffix in (".jpg", ".png"))
        self.masks = [folder / "masks" / f"{path.stem}.png" for path in self.images]
        self.names = [path.stem for path in self.images]  # may be left out; see docs/guides/data.md

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """RGB image uint8 (H, W, 3) and label map uint8 (H, W) of any size; the pipeline scales both to the config's
        size."""
        image = cv2.imread(str(self.images[index]), cv2.IMREAD_COLOR)
        label = cv2.imread(str(self.masks[index]), cv2.IMREAD_GRAYSCALE)
        if image is None or label is None:
            raise FileNotFoundError(f"{self.images[index]} or {self.masks[index]}")
        return image[..., ::-1], label

"""Generated streets with wrong training labels, with which training only does harm."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qat.data.streets import Streets

SIZE = {"train": 80, "val": 12}
ROAD, PAVEMENT = 3, 4


class NoisyStreets:
    """48×64 streets; `wrong` changes a label map of train."""

    class_names = Streets.class_names
    colors = Streets.colors

    def __init__(self, split: str, swapped: bool) -> None:
        self.streets, self.train, self.swapped = Streets(split, 48, 64, SIZE[split]), split == "train", swapped

    def __len__(self) -> int:
        return len(self.streets)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        sample = self.streets[index]
        if not self.train:
            return sample.image, sample.label
        if self.swapped:
            swap = np.arange(256)
            swap[[ROAD, PAVEMENT]] = PAVEMENT, ROAD
            return sample.image, swap[sample.label].astype(np.uint8)
        return sample.image, np.random.default_rng(index).integers(0, 11, sample.label.shape).astype(np.uint8)

    def fingerprint(self) -> str:
        return f"{self.train} {self.swapped}"


def random_labels(split: str) -> NoisyStreets:
    """Each pixel of train has a random class."""
    return NoisyStreets(split, swapped=False)


def swapped_labels(split: str) -> NoisyStreets:
    """In train, and so in the tuning split, road and pavement have each other's name."""
    return NoisyStreets(split, swapped=True)

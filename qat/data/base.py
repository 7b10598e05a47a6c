"""What a segmentation data set is: pairs of RGB image and label map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

IGNORE = 255  # label of pixels that neither losses nor metrics count


@dataclass(frozen=True)
class Sample:
    """One image with its label map.

    Attributes:
        image: uint8 (H, W, 3), RGB.
        label: uint8 (H, W), class index or `IGNORE`.
        name: unique within the data set; for files, the stem of the image file.
    """

    image: NDArray[np.uint8]
    label: NDArray[np.uint8]
    name: str


class SegmentationDataset(Protocol):
    """A fixed, indexable list of samples."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names by class index."""

    @property
    def colors(self) -> tuple[tuple[int, int, int], ...]:
        """RGB display colours by class index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...

    def fingerprint(self) -> str:
        """Hash that changes when the samples do: of file names and contents, or of the generator's parameters."""

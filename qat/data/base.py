"""The interface of a data set: RGB images with their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

IGNORE = 255  # label of pixels that neither losses nor metrics count
NO_CLASS = -1  # the same for images with one class each


@dataclass(frozen=True)
class Sample:
    """One image with its label.

    Attributes:
        image: uint8 (H, W, 3), RGB.
        label: for segmentation uint8 (H, W), class index or `IGNORE`; for classification int32 (), class index or
            `NO_CLASS`.
        name: unique within the data set; for files, the stem of the image file.
    """

    image: NDArray[np.uint8]
    label: NDArray[Any]
    name: str


class LabelledImages(Protocol):
    """A fixed, indexable list of samples."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names by class index."""

    @property
    def colors(self) -> tuple[tuple[int, int, int], ...]:
        """RGB display colours by class index."""

    @property
    def names(self) -> Sequence[str]:
        """Names of the samples, without reading them; names of one video share a prefix, in the order of its frames."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...

    def fingerprint(self) -> str:
        """Hash that changes with the samples: of file names and contents, or of the generator's parameters."""

"""The images that engines are scored on, and all other inputs of the scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.config import Config, section_dict
from core.files.artifacts import sha256_file
from core.files.paths import RunPaths
from qat.data import normalize
from qat.data.base import LabelledImages, Sample
from qat.tasks import dataset_of, task_of
from qat.tasks.base import Answer, Task

Prepare = Callable[[NDArray[np.uint8]], NDArray[np.float32]]  # RGB (H, W, 3) to the network's (3, H, W)


@dataclass(frozen=True)
class Validation:
    """The validation split, prepared for engines.

    Attributes:
        simulated: answers (images, ...) of the trained fake-quantized network, to compare INT8 with.
        key: JSON that changes whenever scores may change.
    """

    dataset: LabelledImages
    prepare: Prepare
    num_classes: int
    task: Task
    simulated: Answer | None
    key: Any

    @property
    def example(self) -> NDArray[np.float32]:
        """The first image as network input, (1, 3, H, W)."""
        return self.prepare(self.dataset[0].image)[np.newaxis]

    def spread(self, count: int) -> Iterator[Sample]:
        """At most `count` different images, evenly spread over the split, not hand-picked."""
        for index in spread(len(self.dataset), count):
            yield self.dataset[index]


def spread(total: int, count: int) -> list[int]:
    """At most `count` different indices below `total`, evenly spread."""
    count = min(total, count)
    return [(2 * position + 1) * total // (2 * count) for position in range(count)]


def validation_of(config: Config) -> Validation:
    """The validation split of a run whose QAT stage is done."""
    paths = RunPaths(config.run)
    dataset = dataset_of(config, "val")
    with np.load(paths.simulated) as stored:
        simulated = stored["answers"]
    return Validation(
        dataset=dataset,
        prepare=lambda image: normalize(image, config.data),
        num_classes=config.model.num_classes,
        task=task_of(config),
        simulated=simulated,
        key=[section_dict(config.data), dataset.fingerprint(), sha256_file(paths.simulated)],
    )

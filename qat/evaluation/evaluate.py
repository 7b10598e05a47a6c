"""Scores any function that turns images into logits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.config import DataConfig
from core.console import track
from qat.data import LabelledImages, normalize
from qat.data.base import Sample
from qat.tasks import TASKS
from qat.tasks.base import Answer, Task
from qat.tasks.metrics import Score
from qat.tracing.inputs import device_of

Predictor = nn.Module | Callable[[Tensor], Tensor]


class Samples(Protocol):
    """A list of samples."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


def evaluate(
    model: Predictor,
    dataset: LabelledImages,
    data_cfg: DataConfig,
    num_classes: int,
    batch_size: int = 1,
    task: Task = TASKS["segmentation"],
) -> Score:
    """Score `model` on every image of `dataset`, in FP32.

    Args:
        model: takes float32 (N, 3, H, W), normalised as `data_cfg` says, and returns logits (N, classes, ...). A
            module is run in evaluation mode on the device of its weights and left in the mode it was in.
        batch_size: images at once; the images of one batch must have the same size.
    """
    found = [
        task.evidence(answer, sample.label, num_classes)
        for sample, answer in predictions(model, dataset, data_cfg, batch_size, task)
    ]
    return task.score(np.stack(found), dataset.class_names)


class Every:
    """Samples `first`, `first + step`, … of a data set."""

    def __init__(self, dataset: LabelledImages, first: int, step: int) -> None:
        self.dataset, self.indices = dataset, range(first, len(dataset), step)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.dataset[self.indices[index]]


def predictions(
    model: Predictor,
    dataset: Samples,
    data_cfg: DataConfig,
    batch_size: int = 1,
    task: Task = TASKS["segmentation"],
) -> Iterator[tuple[Sample, Answer]]:
    """Every sample with the answer of `model`; see `evaluate`."""
    for samples, logits in outputs(model, dataset, data_cfg, batch_size):
        labels: NDArray[Any] = np.stack([sample.label for sample in samples])
        yield from zip(samples, task.answer(logits, labels), strict=True)


def outputs(
    model: Predictor, dataset: Samples, data_cfg: DataConfig, batch_size: int = 1
) -> Iterator[tuple[list[Sample], Tensor]]:
    """Batches of samples with the logits of `model`, on the model's device."""
    device = device_of(model) if isinstance(model, nn.Module) else torch.device("cpu")
    with _evaluation_mode(model), torch.inference_mode(), torch.autocast(device.type, enabled=False):
        for samples in track(_batches(dataset, batch_size), "evaluate", -(-len(dataset) // batch_size)):
            images = torch.from_numpy(np.stack([normalize(sample.image, data_cfg) for sample in samples]))
            yield samples, model(images.to(device))


def _batches(dataset: Samples, size: int) -> Iterator[list[Sample]]:
    for start in range(0, len(dataset), size):
        yield [dataset[index] for index in range(start, min(start + size, len(dataset)))]


@contextmanager
def _evaluation_mode(model: Predictor) -> Iterator[None]:
    """Modes are restored module by module: frozen batch norms may be in another mode than other modules."""
    modes = {module: module.training for module in model.modules()} if isinstance(model, nn.Module) else {}
    if isinstance(model, nn.Module):
        model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training

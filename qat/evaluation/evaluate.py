"""The score of anything that turns images into logits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.config import DataConfig
from core.console import track
from qat.data import SegmentationDataset, normalize
from qat.data.base import Sample
from qat.evaluation.metrics import ConfusionMatrix, SegmentationScore, classes_of
from qat.models.outputs import Outputs, final_logits, upsample
from qat.processes.distributed import global_sum, rank, world_size
from qat.tracing.inputs import device_of

Predictor = nn.Module | Callable[[Tensor], Outputs]


class Samples(Protocol):
    """A list of samples."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


def evaluate(
    model: Predictor, dataset: SegmentationDataset, data_cfg: DataConfig, num_classes: int, batch_size: int = 1
) -> SegmentationScore:
    """Score `model` on every image of `dataset`, in FP32.

    Logits are upsampled bilinearly with aligned corners to the size of the label, as the PIDNet authors evaluate.

    Args:
        model: takes float32 (N, 3, H, W), normalised as `data_cfg` says, and returns logits (N, classes, h, w) or
            the heads (P, final, D). A module is run in evaluation mode on the device of its weights and left in the
            mode it was in.
        batch_size: images at once; the images of one batch must be of one size.
    """
    matrix = ConfusionMatrix(num_classes)
    for sample, prediction in predictions(model, dataset, data_cfg, batch_size):
        matrix.update(prediction, sample.label)
    return matrix.score(dataset.class_names)


def miou_over_processes(
    model: nn.Module, dataset: SegmentationDataset, data_cfg: DataConfig, num_classes: int
) -> float:
    """mIoU in percent as `evaluate` finds it; several processes share the images, and all get the number."""
    matrix = ConfusionMatrix(num_classes)
    mine = _Every(dataset, rank(), world_size())
    for sample, prediction in predictions(model, mine, data_cfg):
        matrix.update(prediction, sample.label)
    counts = torch.from_numpy(matrix.counts).to(device_of(model))
    matrix.counts = global_sum(counts).cpu().numpy()
    return matrix.score(dataset.class_names).miou


class _Every:
    """Samples `first`, `first + step`, … of a data set."""

    def __init__(self, dataset: SegmentationDataset, first: int, step: int) -> None:
        self.dataset, self.indices = dataset, range(first, len(dataset), step)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.dataset[self.indices[index]]


def predictions(
    model: Predictor, dataset: Samples, data_cfg: DataConfig, batch_size: int = 1
) -> Iterator[tuple[Sample, NDArray[np.uint8]]]:
    """Every sample with the class (uint8, H×W of its label) that `model` gives each pixel; see `evaluate`."""
    device = device_of(model) if isinstance(model, nn.Module) else torch.device("cpu")
    with _evaluation_mode(model), torch.inference_mode(), torch.autocast(device.type, enabled=False):
        for samples in track(_batches(dataset, batch_size), "evaluate", -(-len(dataset) // batch_size)):
            images = torch.from_numpy(np.stack([normalize(sample.image, data_cfg) for sample in samples]))
            labels = torch.from_numpy(np.stack([sample.label for sample in samples]))
            logits = upsample(final_logits(model(images.to(device))), labels)
            yield from zip(samples, classes_of(logits).to(torch.uint8).cpu().numpy(), strict=True)


def _batches(dataset: Samples, size: int) -> Iterator[list[Sample]]:
    for start in range(0, len(dataset), size):
        yield [dataset[index] for index in range(start, min(start + size, len(dataset)))]


@contextmanager
def _evaluation_mode(model: Predictor) -> Iterator[None]:
    """Modes are restored module by module: frozen batch norms may be in another than the rest."""
    modes = {module: module.training for module in model.modules()} if isinstance(model, nn.Module) else {}
    if isinstance(model, nn.Module):
        model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training

"""mIoU of engines over the validation set, and how far their masks agree with a reference engine's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.measure.validation import Mask, Prepare, Validation
from benchmarks.record.rows import Record
from core.artifacts import read_json, write_json
from core.console import track
from core.interval import Interval
from deploy.targets.base import Session
from qat.data.base import SegmentationDataset
from qat.evaluation.metrics import ConfusionMatrix, classes_of
from qat.models.outputs import upsample
from qat.sensitivity.measure.bootstrap import measured
from qat.sensitivity.measure.task import metric_value

Reference = Session | NDArray[np.uint8]  # an engine, or stored masks (images, H, W)

NAMED = 3  # more engines than this are counted, not named, in the line of progress
METHOD_VERSION = 3  # raise when the way accuracy is computed changes: cached numbers are then computed again


class Accuracy(Record):
    """Scores of one engine over the validation set, all in percent; a class the set lacks has no IoU.

    Attributes:
        agreement: how many of all pixels, ignored ones too, get the class that the named reference gives.
        change: mIoU minus that of the named reference, in points; its interval is by resampling images for both
            together. Frames of one video are alike, so on video frames it is narrower than the truth.
    """

    miou: float
    per_class_iou: dict[str, float | None]
    pixel_accuracy: float
    images: int
    agreement: dict[str, float]
    change: dict[str, Interval]


def predict(session: Session, image: NDArray[np.float32], label: Mask) -> Mask:
    """Class of every pixel, uint8 (H, W).

    Args:
        session: gives logits (1, C, h, w) at any resolution; they, not classes, are resized to the label's.
        image: (3, H', W') as the network takes it.
        label: (H, W); only its size matters.
    """
    feeds = {session.input_names[0]: image[np.newaxis]}
    logits = torch.from_numpy(session.run(feeds)[session.output_names[0]])
    mask: Mask = classes_of(upsample(logits, torch.from_numpy(label)))[0].to(torch.uint8).numpy()
    return mask


def agreement(mask: Session, network: Session, validation: Validation, images: int) -> float:
    """Percent of pixels whose class the engine from image to mask gives as preparing and upsampling outside does.

    Args:
        images: how many of the split, evenly spread.
    """
    equal = []
    for sample in validation.spread(images):
        got = mask.run({mask.input_names[0]: sample.image[np.newaxis]})[mask.output_names[0]][0]
        equal.append(np.mean(got == predict(network, validation.prepare(sample.image), sample.label)))
    return 100 * float(np.mean(equal))


def evaluate(
    sessions: Mapping[str, Session],
    references: Mapping[str, Reference],
    dataset: SegmentationDataset,
    prepare: Prepare,
    num_classes: int,
) -> dict[str, Accuracy]:
    """Score `sessions` in one pass over the data set, and compare each with every reference.

    A session may be a reference too, under the same name; it then runs once.
    """
    stored = {name: source for name, source in references.items() if isinstance(source, np.ndarray)}
    running = {name: source for name, source in references.items() if not isinstance(source, np.ndarray)} | {**sessions}
    matrices: dict[str, list[ConfusionMatrix]] = {name: [] for name in (*running, *stored)}
    equal = {name: dict.fromkeys(references, 0) for name in sessions}
    pixels = 0
    names = ", ".join(sessions) if len(sessions) <= NAMED else f"{len(sessions)} engines"
    for index in track(range(len(dataset)), f"mIoU of {names}", total=len(dataset)):
        sample = dataset[index]
        image = prepare(sample.image)
        masks = {name: predict(session, image, sample.label) for name, session in running.items()}
        masks |= {name: source[index] for name, source in stored.items()}
        pixels += sample.label.size
        for name, mask in masks.items():
            matrices[name].append(ConfusionMatrix(num_classes))
            matrices[name][-1].update(mask, sample.label)
        for name in sessions:
            for reference in references:
                equal[name][reference] += int(np.count_nonzero(masks[name] == masks[reference]))
    found = {}
    for name in sessions:
        total = ConfusionMatrix(num_classes)
        for matrix in matrices[name]:
            total.merge(matrix)
        score = total.score(dataset.class_names)
        found[name] = Accuracy(
            miou=score.miou,
            per_class_iou=score.per_class,
            pixel_accuracy=score.pixel_accuracy,
            images=score.images,
            agreement={reference: 100 * count / pixels for reference, count in equal[name].items()},
            change={reference: _change(matrices[name], matrices[reference]) for reference in references},
        )
    return found


def _change(own: Sequence[ConfusionMatrix], reference: Sequence[ConfusionMatrix]) -> Interval:
    ours, theirs = (np.stack([matrix.counts for matrix in images]) for images in (own, reference))

    def difference(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return metric_value("mIoU", ours, weights) - metric_value("mIoU", theirs, weights)

    found = measured(difference, len(ours), seed=0)
    return Interval(found.value, found.low, found.high)


class AccuracyCache:
    """Scores by the hash of everything they depend on, so that an unchanged engine is not evaluated again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        content: dict[str, Any] = read_json(path) if path.is_file() else {}
        known = content.get("method_version") == METHOD_VERSION
        self._scores = (
            {key: Accuracy.model_validate(value) for key, value in content["scores"].items()} if known else {}
        )

    def get(self, key: str) -> Accuracy | None:
        """The score stored under `key`, if any."""
        return self._scores.get(key)

    def keep(self, scores: Mapping[str, Accuracy]) -> None:
        """Make `scores` the whole content: engines that are gone leave no entries behind."""
        self._scores = dict(scores)
        stored = {key: score.model_dump(mode="json") for key, score in scores.items()}
        write_json(self.path, {"method_version": METHOD_VERSION, "scores": stored})

"""Scores of engines over the validation set, and how far their answers agree with a reference engine's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.measure.validation import Prepare, Validation
from benchmarks.record.rows import Record
from core.console import track
from core.files.artifacts import read_json, write_json
from core.interval import Interval
from deploy.targets.base import Session
from qat.data.base import LabelledImages
from qat.tasks.base import Answer, Evidence, Task, change

Reference = Session | NDArray[np.integer[Any]]  # an engine, or stored answers (images, ...)

NAMED = 3  # the progress line counts more engines than this instead of naming them
METHOD_VERSION = 4  # increase it when the computation of accuracy changes, which invalidates cached numbers


class Accuracy(Record):
    """Scores of one engine over the validation set, in percent; classes that the set lacks have no score.

    Attributes:
        values: by name, with intervals over images; the metric of the task comes first.
        agreement: share of all answers (pixels, including ignored ones, or images) that equal the named reference's.
        change: the metric minus that of the named reference, in points. Its interval is by resampling images for both
            together, by group where groups are given. Without groups it is too narrow on video frames, which are alike.
    """

    values: dict[str, Interval]
    per_class: dict[str, float | None]
    images: int
    agreement: dict[str, float]
    change: dict[str, Interval]

    @property
    def metric(self) -> str:
        """Name of the task's metric."""
        return next(iter(self.values))

    @property
    def score(self) -> float:
        """The task's metric."""
        return self.values[self.metric].value


def predict(session: Session, image: NDArray[np.float32], label: NDArray[Any], task: Task) -> Answer:
    """The engine's answer to one image, such as its label map.

    Args:
        session: gives logits (1, C, ...).
        image: (3, H', W'), the network's input.
        label: only its shape is used.
    """
    feeds = {session.input_names[0]: image[np.newaxis]}
    logits = torch.from_numpy(session.run(feeds)[session.output_names[0]])
    answer: Answer = task.answer(logits, label[np.newaxis])[0]
    return answer


def agreement(mask: Session, network: Session, validation: Validation, images: int) -> float:
    """Percent of pixels where the image → mask engine gives the same class as preparing and upsampling outside of it.

    Args:
        images: number of images of the split, evenly spread.
    """
    equal = []
    for sample in validation.spread(images):
        got = mask.run({mask.input_names[0]: sample.image[np.newaxis]})[mask.output_names[0]][0]
        equal.append(np.mean(got == predict(network, validation.prepare(sample.image), sample.label, validation.task)))
    return 100 * float(np.mean(equal))


def evaluate(
    sessions: Mapping[str, Session],
    references: Mapping[str, Reference],
    dataset: LabelledImages,
    prepare: Prepare,
    num_classes: int,
    task: Task,
    groups: Sequence[int] | None = None,
) -> dict[str, Accuracy]:
    """Score `sessions` in one pass over the data set, and compare each with every reference.

    A session may be a reference too, under the same name; it then runs once.
    """
    stored = {name: source for name, source in references.items() if isinstance(source, np.ndarray)}
    running = {name: source for name, source in references.items() if not isinstance(source, np.ndarray)} | {**sessions}
    evidence: dict[str, list[Evidence]] = {name: [] for name in (*running, *stored)}
    equal = {name: dict.fromkeys(references, 0) for name in sessions}
    parts = 0
    names = ", ".join(sessions) if len(sessions) <= NAMED else f"{len(sessions)} engines"
    for index in track(range(len(dataset)), f"{task.metric} of {names}", total=len(dataset)):
        sample = dataset[index]
        image = prepare(sample.image)
        answers = {name: predict(session, image, sample.label, task) for name, session in running.items()}
        answers |= {name: source[index] for name, source in stored.items()}
        for name, answer in answers.items():
            evidence[name].append(task.evidence(answer, sample.label, num_classes))
        for name in sessions:
            for reference in references:
                equal[name][reference] += task.agreement(answers[name], answers[reference])[0]
        parts += task.agreement(answer, answer)[1]
    stacked = {name: np.stack(images) for name, images in evidence.items()}
    found = {}
    for name in sessions:
        score = task.score(stacked[name], dataset.class_names)
        found[name] = Accuracy(
            values=score.values,
            per_class=score.per_class,
            images=score.images,
            agreement={reference: 100 * count / parts for reference, count in equal[name].items()},
            change={reference: change(task, stacked[name], stacked[reference], groups) for reference in references},
        )
    return found


class AccuracyCache:
    """A cache of scores by the hash of everything they depend on; an unchanged engine is not evaluated again."""

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
        """Replace the content by `scores`, which drops entries of removed engines."""
        self._scores = dict(scores)
        stored = {key: score.model_dump(mode="json") for key, score in scores.items()}
        write_json(self.path, {"method_version": METHOD_VERSION, "scores": stored})

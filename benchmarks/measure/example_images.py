"""Example images for the report: the task's pictures of images with the answers of FP32 and INT8."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from benchmarks.measure.accuracy import predict
from benchmarks.measure.validation import Validation
from benchmarks.record.details import Example, Examples, NamedColor
from core.files.artifacts import write_atomic
from deploy.targets.base import Session
from qat.tasks.base import Picture

FOLDER = "examples"
MAX_WIDTH_PX = 480  # the report embeds every picture
PHOTO = "image"  # title of the only picture that may be smoothed


def write_examples(
    folder: Path, backend: str, sessions: tuple[Session, Session], validation: Validation, count: int
) -> Examples:
    """Write the task's PNG files of at most `count` images into `folder`/examples.

    Args:
        sessions: the FP32 and the INT8 engine of `backend`.
    """
    task, items = validation.task, list[Example]()
    for sample in validation.spread(count if task.shows_all else len(validation.dataset)):
        image = validation.prepare(sample.image)
        fp32, int8 = (predict(session, image, sample.label, task) for session in sessions)
        equal, parts = task.agreement(fp32, int8)
        if equal == parts and not task.shows_all:
            continue
        shown = task.shown(sample, fp32, int8, validation.dataset)
        names = {title: f"{FOLDER}/{len(items):02d}_{title.replace(' ', '_')}.png" for title in shown.pictures}
        for title, picture in shown.pictures.items():
            write_png(folder / names[title], picture, smooth=title == PHOTO)
        items.append(Example(name=sample.name, pictures=names, caption=shown.caption))
        if len(items) == count:
            break
    legend = tuple(NamedColor(name=name, color=color) for name, color in task.legend.items())
    return Examples(backend=backend, chosen=task.examples_are, legend=legend, items=tuple(items))


def write_png(target: Path, picture: Picture, *, smooth: bool) -> None:
    """Write atomically, at most `MAX_WIDTH_PX` wide; masks are not smoothed, since a mean of class colours is
    meaningless."""
    height, width = picture.shape[:2]
    if width > MAX_WIDTH_PX:
        size = (MAX_WIDTH_PX, round(height * MAX_WIDTH_PX / width))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if smooth else cv2.INTER_NEAREST).astype(
            np.uint8
        )
    encoded = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
    with write_atomic(target) as temporary:
        temporary.write_bytes(encoded.tobytes())

"""Example images for the report: photo, ground truth, FP32 mask, INT8 mask, and where the two differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.measure.accuracy import predict
from benchmarks.measure.validation import Mask, Validation
from benchmarks.record.details import Example, Examples, NamedColor
from core.artifacts import write_atomic
from deploy.targets.base import Session
from qat.data.base import IGNORE

FOLDER = "examples"
MAX_WIDTH_PX = 480  # the report holds every picture inside itself

Picture = NDArray[np.uint8]  # RGB (H, W, 3)
Color = tuple[int, int, int]

IGNORED_COLOR: Color = (0, 0, 0)
LOST = NamedColor(name="INT8 lost it", color=(255, 96, 32))
GAINED = NamedColor(name="INT8 gained it", color=(72, 160, 255))
CHANGED = NamedColor(name="both wrong, or no ground truth", color=(255, 220, 60))


def write_examples(
    folder: Path, backend: str, sessions: tuple[Session, Session], validation: Validation, count: int
) -> Examples:
    """Write the PNG files of `count` images, spread evenly over the data set, into `folder`/examples.

    Args:
        sessions: the FP32 and the INT8 engine of `backend`.
    """
    colors = validation.dataset.colors
    items: list[Example] = []
    for sample in validation.spread(count):
        image = validation.prepare(sample.image)
        fp32, int8 = (predict(session, image, sample.label) for session in sessions)
        pictures = {
            "image": sample.image,
            "label": colorize(sample.label, colors),
            "fp32": colorize(fp32, colors),
            "int8": colorize(int8, colors),
            "difference": difference(sample.image, sample.label, fp32, int8),
        }
        names = {kind: f"{FOLDER}/{len(items):02d}_{kind}.png" for kind in pictures}
        for kind, picture in pictures.items():
            write_png(folder / names[kind], picture, smooth=kind == "image")
        items.append(Example(name=sample.name, **names, pixel_agreement=100 * float(np.mean(fp32 == int8))))
    return Examples(backend=backend, legend=(LOST, GAINED, CHANGED), items=tuple(items))


def colorize(mask: Mask, colors: Sequence[Color]) -> Picture:
    """A class map as a picture."""
    palette = np.zeros((IGNORE + 1, 3), np.uint8)
    palette[: len(colors)] = colors
    palette[IGNORE] = IGNORED_COLOR
    picture: Picture = palette[mask]
    return picture


def difference(image: Picture, label: Mask, fp32: Mask, int8: Mask) -> Picture:
    """The photo in faint grey, with the pixels whose class INT8 changes coloured by whether that helped."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) // 3 + 24
    picture: Picture = np.repeat(grey[..., np.newaxis], 3, axis=2).astype(np.uint8)
    changed = fp32 != int8
    picture[changed] = CHANGED.color
    picture[changed & (fp32 == label)] = LOST.color
    picture[changed & (int8 == label)] = GAINED.color
    return picture


def write_png(target: Path, picture: Picture, *, smooth: bool) -> None:
    """Write atomically, at most `MAX_WIDTH_PX` wide; masks are not smoothed, since mixed classes are no class."""
    height, width = picture.shape[:2]
    if width > MAX_WIDTH_PX:
        size = (MAX_WIDTH_PX, round(height * MAX_WIDTH_PX / width))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if smooth else cv2.INTER_NEAREST).astype(
            np.uint8
        )
    encoded = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
    with write_atomic(target) as temporary:
        temporary.write_bytes(encoded.tobytes())

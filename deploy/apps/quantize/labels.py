"""Labels for the comparison: a class for each picture, or a label map."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from core.errors import UserError
from core.files.image_file import read_image
from core.nearest import path_hint
from deploy.apply.bake import interpolation
from deploy.checks.fidelity import Tensors, confusion, kind_of, mask_threshold
from deploy.checks.iou import mean_iou

_FIX = "give a .csv of `picture,class index` lines, or a folder of label maps (.png) named like the pictures"
FORMATS = "picture,class index"


@dataclass(frozen=True)
class Labels:
    """Labels by picture name; `metric` is what they measure: "top-1 %" or "mIoU %"."""

    metric: str
    find: Callable[[str], Any]

    def score(self, names: Sequence[str], outputs: Iterable[Tensors], size: tuple[int, int]) -> float:
        """The metric in percent over these pictures.

        Args:
            outputs: of the network, in the order of `names`; the first output that decides is scored.
            size: height and width of the network's input, at which label maps are compared.
        """
        measure = _top1 if self.metric.startswith("top") else _miou
        return 100 * measure([self.find(name) for name in names], outputs, size)


def read_labels(path: Path, names: Sequence[str]) -> Labels:
    """Labels of the pictures `names`.

    Raises:
        UserError: no such file or folder, or a picture without a label.
    """
    if path.is_dir():
        maps = {file.stem: file for file in sorted(path.rglob("*.png"))}
        labels = Labels("mIoU %", lambda name: _label_map(maps[PurePosixPath(name).stem]))
        missing = [name for name in names if PurePosixPath(name).stem not in maps]
    elif path.is_file():
        classes = _classes(path)
        labels = Labels("top-1 %", lambda name: classes[name] if name in classes else classes[PurePosixPath(name).name])
        missing = [name for name in names if name not in classes and PurePosixPath(name).name not in classes]
    else:
        raise UserError(f"no labels {path}", fix=path_hint(path, _FIX))
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UserError(f"{path} has no label for {missing[0]}{more}", fix=_FIX)
    return labels


def _classes(path: Path) -> dict[str, int]:
    found = {}
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as labels", why=str(error), fix=_FIX) from error
    for number, row in enumerate(rows, 1):
        if not row or (number == 1 and not row[-1].strip().isdecimal()):
            continue  # an empty line, or a header
        if len(row) != 2 or not row[1].strip().isdecimal():
            raise UserError(f"{path}, line {number}: {','.join(row)!r:.60}", why=f"not `{FORMATS}`", fix=_FIX)
        found[row[0].strip()] = int(row[1])
    return found


def _label_map(path: Path) -> NDArray[Any]:
    image = read_image(path, cv2.IMREAD_UNCHANGED)
    if image.ndim != 2:
        raise UserError(
            f"{path} is not a label map",
            why=f"its shape is {image.shape}",
            fix="give 8 or 16-bit grey PNG, one class a pixel",
        )
    return image


def _deciding(outputs: Tensors) -> NDArray[Any]:
    kinds = {name: kind_of(value) for name, value in outputs.items()}
    name = next((name for name, kind in kinds.items() if kind not in ("values", "sequence")), None)
    if name is None:
        raise UserError(
            "labels do not fit the network", why="none of its outputs decides on a class", fix="leave --labels out"
        )
    return outputs[name]


def _top1(labels: Sequence[int], outputs: Iterable[Tensors], _size: tuple[int, int]) -> float:
    hits = [
        int(np.asarray(_deciding(found)[:1]).argmax()) == label for label, found in zip(labels, outputs, strict=True)
    ]
    return float(np.mean(hits))


def _miou(labels: Sequence[NDArray[Any]], outputs: Iterable[Tensors], size: tuple[int, int]) -> float:
    """Labels beyond the network's classes, as 255 often is, count nowhere."""
    counts = None
    for label, found in zip(labels, outputs, strict=True):
        values = _deciding(found)
        classes, decided = _upsampled(values, size)
        expected = cv2.resize(label, size[::-1], interpolation=cv2.INTER_NEAREST).astype(np.int64).reshape(-1)
        known = expected < classes
        counted = confusion(expected[known], decided[known], classes)
        counts = counted if counts is None else counts + counted
    return 0.0 if counts is None else float(mean_iou(counts[np.newaxis])[0])


def _upsampled(values: NDArray[Any], size: tuple[int, int]) -> tuple[int, NDArray[np.int64]]:
    """Number of classes, and the class of every pixel at `size`; scores are interpolated, aligned corners."""
    if values.dtype.kind in "iub":
        labels = values.reshape(values.shape[-2:]).astype(np.int32)
        resized = cv2.resize(labels.astype(np.float32), size[::-1], interpolation=cv2.INTER_NEAREST)
        return int(labels.max()) + 1, resized.astype(np.int64).reshape(-1)
    scores = values[0].astype(np.float32)
    vertical, horizontal = (interpolation(new, old) for new, old in zip(size, scores.shape[1:], strict=True))
    scores = vertical @ scores @ horizontal.T
    if len(scores) == 1:
        return 2, (scores[0] > mask_threshold(values)).astype(np.int64).reshape(-1)
    return len(scores), scores.argmax(0).reshape(-1)

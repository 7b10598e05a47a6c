"""How close one engine's outputs are to FP32's, output by output, over many pictures.

The meaning of an output follows from its type and shape:

    (N, C)              scores of classes       share of pictures with the same largest score
    (N, L, C)           shares of classes       share of positions with the same largest share; each adds up to 1
    (N, C, H, W)        scores at each place    share of places with the same largest score, IoU with FP32's masks
    (N, 1, H, W)        one mask                above 0.5 where all values lie in 0 to 1, else above 0; then as before
    integers            labels                  share of equal ones, IoU with FP32's masks
    any other           values                  no decision to compare

and for all of them the signal-to-noise ratio and the cosine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from deploy.checks.iou import mean_iou
from deploy.checks.parity import decibels

Tensors = Mapping[str, NDArray[Any]]
Kind = Literal["classes", "sequence", "map", "mask", "labels", "values"]
SHARES_WITHIN = 1e-3  # of 1: rounding of a Softmax over thousands of classes
MOST_CLASSES = 1024  # of a confusion matrix; more have no IoU


@dataclass(frozen=True)
class Fidelity:
    """One output against FP32's.

    Attributes:
        agreement: share of equal decisions, 0 to 1; None for an output without decisions.
        iou: mean over the classes in FP32's masks of the IoU with them, 0 to 1; None where there are no masks.
        snr_db: power of FP32's values over that of the difference.
        cosine: mean over pictures.
    """

    output: str
    kind: Kind
    agreement: float | None
    iou: float | None
    snr_db: float
    cosine: float

    def to_json(self) -> dict[str, Any]:
        """The numbers by name."""
        return asdict(self)


class Meter:
    """Adds up one output over pictures."""

    def __init__(self, output: str, kind: Kind, low: float) -> None:
        """`low` is the value above which a mask is set."""
        self._output, self._kind, self._low = output, kind, low
        self._signal = self._noise = 0.0
        self._equal = self._decisions = 0
        self._cosines: list[float] = []
        self._confusion: NDArray[np.int64] | None = None

    def update(self, reference: NDArray[Any], got: NDArray[Any]) -> None:
        """Add one picture; both have the same shape."""
        wide, other = (value.astype(np.float64).reshape(-1) for value in (reference, got))
        signal, noise = float(wide @ wide), float(np.square(wide - other).sum())
        self._signal, self._noise = self._signal + signal, self._noise + noise
        norms = math.sqrt(signal * float(other @ other))
        self._cosines.append(float(wide @ other) / norms if norms else float(noise == 0.0))
        if self._kind == "values":
            return
        expected, decided = (decisions(value, self._kind, self._low) for value in (reference, got))
        self._equal += int((expected == decided).sum())
        self._decisions += expected.size
        if self._kind not in ("classes", "sequence"):
            self._count(expected, decided)

    def _count(self, expected: NDArray[np.int64], decided: NDArray[np.int64]) -> None:
        classes = int(max(expected.max(), decided.max())) + 1
        if classes > MOST_CLASSES or min(expected.min(), decided.min()) < 0:
            self._kind = "labels"
            self._confusion = None
            return
        known = self._confusion if self._confusion is not None else np.zeros((classes, classes), np.int64)
        if len(known) < classes:
            known = np.pad(known, (0, classes - len(known)))
        known += confusion(expected, decided, len(known))
        self._confusion = known

    def result(self) -> Fidelity:
        """Over all pictures so far."""
        iou = None if self._confusion is None else float(mean_iou(self._confusion[np.newaxis])[0])
        return Fidelity(
            output=self._output,
            kind=self._kind,
            agreement=self._equal / self._decisions if self._decisions else None,
            iou=iou,
            snr_db=decibels(self._signal, self._noise),
            cosine=float(np.mean(self._cosines)),
        )


def fidelity(references: Iterable[Tensors], results: Iterable[Tensors]) -> list[Fidelity]:
    """Every output of `results` against `references`, picture by picture in the same order.

    Results that are not finite, or of another shape, count as zeros.
    """
    meters: dict[str, Meter] = {}
    for expected, got in zip(references, results, strict=True):
        for name, reference in expected.items():
            if name not in meters:
                meters[name] = Meter(name, kind_of(reference), mask_threshold(reference))
            value = got[name]
            if value.shape != reference.shape or not np.isfinite(value).all():
                value = np.zeros_like(reference)
            meters[name].update(reference, value)
    return [meter.result() for meter in meters.values()]


def kind_of(output: NDArray[Any]) -> Kind:
    """The meaning of an output, by its type and shape (see the module)."""
    if output.dtype.kind in "iub":
        return "labels"
    if output.ndim == 3 and output.shape[2] > 1 and output.size and (output >= 0).all():
        return "sequence" if np.allclose(output.sum(axis=2), 1, atol=SHARES_WITHIN) else "values"
    if output.ndim not in (2, 4) or output.size < 2:
        return "values"
    if output.ndim == 4 and math.prod(output.shape[2:]) > 1:
        return "mask" if output.shape[1] == 1 else "map"
    return "classes" if output.shape[1] > 1 else "values"


def mask_threshold(output: NDArray[Any]) -> float:
    """0.5 for values that are shares already, 0 for logits."""
    return 0.5 if output.size and output.min() >= 0 and output.max() <= 1 else 0.0


def decisions(output: NDArray[Any], kind: Kind, low: float) -> NDArray[np.int64]:
    """Class of each picture or place, flat."""
    if kind == "labels":
        found = output
    elif kind == "mask":
        found = output > low
    else:
        found = output.argmax(axis=2 if kind == "sequence" else 1)
    return np.asarray(found, np.int64).reshape(-1)


def confusion(expected: NDArray[np.int64], decided: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """(classes, classes) counts of (expected, decided)."""
    counts = np.bincount(expected * classes + decided, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def lost_points(items: Iterable[Fidelity]) -> float | None:
    """Points of agreement or IoU with FP32 lost by the output that lost most; None where nothing is decided."""
    kept = [share for each in items for share in (each.agreement, each.iou) if share is not None]
    return 100 * (1 - min(kept)) if kept else None


def closeness(items: Sequence[Fidelity]) -> float:
    """One number to rank quantizations of the same network by, larger is closer.

    With masks it is their mean IoU: thousands of decisions a picture. A class decision a picture is too coarse to
    rank by on a few pictures; there, and for values, it is the mean SNR.
    """
    ious = [item.iou for item in items if item.iou is not None]
    if len(ious) == len(items):
        return float(np.mean(ious))
    return float(np.mean([item.snr_db for item in items]))

"""What would end a training late is found before it begins: bad files, wrong classes, nothing but void pixels."""

from __future__ import annotations

import numpy as np

from core.console import track
from core.errors import UserError
from qat.data.base import IGNORE, SegmentationDataset


def require_classes(dataset: SegmentationDataset, num_classes: int) -> None:
    """Raise `UserError` unless the network has one output for each class of the data set."""
    found = len(dataset.class_names)
    if found != num_classes:
        raise UserError(
            f"model.num_classes is {num_classes}, but the data set has {found} classes",
            why=f"they are {', '.join(dataset.class_names[:12])}{', …' if found > 12 else ''}",
            fix=f"set model.num_classes to {found}, or choose another data set",
        )


def require_readable(dataset: SegmentationDataset, split: str, *, masks: bool = True) -> None:
    """Read every sample once.

    Args:
        masks: labels are used, so that some pixel must have one.

    Raises:
        UserError: a sample cannot be read, or with `masks` every pixel of the split is void.
    """
    labelled = False
    for index in track(range(len(dataset)), f"check {split}", len(dataset)):
        labelled |= bool(np.any(dataset[index].label != IGNORE))
    if masks and not labelled:
        raise UserError(
            f"no pixel of split {split} has a class: all are void",
            why=f"the label maps of its {len(dataset)} images hold nothing but the void label",
            fix="check that the label maps belong to this data set (docs/data.md)",
        )

"""Checks before training that would otherwise fail late: bad files, wrong classes, no labels at all."""

from __future__ import annotations

from core.console import track
from core.errors import UserError
from qat.data.base import LabelledImages
from qat.tasks.base import Task


def require_classes(dataset: LabelledImages, num_classes: int) -> None:
    """Raise `UserError` unless the network has one output for each class of the data set."""
    found = len(dataset.class_names)
    if found != num_classes:
        raise UserError(
            f"model.num_classes is {num_classes}, but the data set has {found} classes",
            why=f"they are {', '.join(dataset.class_names[:12])}{', …' if found > 12 else ''}",
            fix=f"set model.num_classes to {found}, or choose another data set",
        )


def require_readable(dataset: LabelledImages, split: str, task: Task, *, labels: bool = True) -> None:
    """Read every sample once.

    Args:
        labels: True if training uses labels; some pixel, or image, must then have one.

    Raises:
        UserError: a sample cannot be read, or `labels` is true and the split has none.
    """
    labelled = False
    for index in track(range(len(dataset)), f"check {split}", len(dataset)):
        labelled |= task.labelled(dataset[index])
    if labels and not labelled:
        raise UserError(
            f"none of the {task.answers} of split {split} has a class",
            why=f"the labels of its {len(dataset)} images hold nothing but the value that means none",
            fix="check that the labels belong to this data set (docs/guides/data.md)",
        )

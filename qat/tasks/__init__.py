"""The tasks of networks: one object per task defines labels, loss, metric, the form of an answer, and pictures."""

from __future__ import annotations

from typing import Literal

from core.config import Config, TaskName
from qat.data.base import LabelledImages
from qat.data.tuning import TuningSet
from qat.tasks.base import Task
from qat.tasks.classification import Classification
from qat.tasks.segmentation import Segmentation

__all__ = ["TASKS", "Task", "dataset_of", "task_of", "tuning_of"]

TASKS: dict[TaskName, Task] = {"segmentation": Segmentation(), "classification": Classification()}


def task_of(config: Config) -> Task:
    """The task of a run."""
    return TASKS[config.task]


def dataset_of(config: Config, split: Literal["train", "val"]) -> LabelledImages:
    """The images of a run's split, with the labels of its task."""
    return task_of(config).dataset(config, split)


def tuning_of(config: Config) -> TuningSet:
    """The images that a run's choices are evaluated on."""
    return task_of(config).tuning(config)

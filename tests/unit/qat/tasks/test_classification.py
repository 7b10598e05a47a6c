"""Top-1 and top-5 by hand, far beyond 255 classes."""

import numpy as np
import pytest
import torch

from core.errors import UserError
from qat.data.base import NO_CLASS, Sample
from qat.tasks import TASKS

TASK = TASKS["classification"]
CLASSES = 1000
NAMES = tuple(f"class {index}" for index in range(CLASSES))


def answers(*orders):
    """Answers of images whose best classes, best first, are these."""
    logits = torch.zeros(len(orders), CLASSES)
    for row, order in zip(logits, orders, strict=True):
        row[list(order)] = torch.arange(len(order), 0, -1).float()
    return TASK.answer(logits, np.zeros(len(orders), np.int32))


def score(found, labels):
    rows = [
        TASK.evidence(answer, np.array(label, np.int32), CLASSES) for answer, label in zip(found, labels, strict=True)
    ]
    return TASK.score(np.stack(rows), NAMES)


def test_first_five_answers_best_first_and_of_equal_ones_the_lower_class():
    assert answers((257, 999, 1), (300,)).tolist() == [[257, 999, 1, 0, 2], [300, 0, 1, 2, 3]]


def test_top_1_and_top_5_with_intervals():
    found = score(answers((257,), (999, 300), (1, 2, 3, 4, 300), (5,)), (257, 300, 300, 900))
    assert found.metric == "top-1" and found.value == 25
    top5 = found.values["top-5"]
    assert top5.value == 75 and top5.low < 75 < top5.high
    assert (found.per_class["class 257"], found.per_class["class 300"], found.per_class["class 1"]) == (100, 0, None)
    assert found.images == 4


def test_classes_that_are_equal_modulo_256_are_different():
    assert score(answers((257,)), (1,)).value == 0
    assert score(answers((255,)), (255,)).value == 100, "255 is a class like others"


def test_images_without_a_class_do_not_count():
    assert score(answers((7,), (8,)), (7, NO_CLASS)).value == 100
    with pytest.raises(UserError, match="nothing to score"):
        score(answers((7,)), (NO_CLASS,))
    assert not TASK.labelled(Sample(np.zeros((2, 2, 3), np.uint8), np.array(NO_CLASS, np.int32), "a"))


def test_a_label_beyond_the_classes_is_refused():
    with pytest.raises(UserError, match="label has class 1000, but there are 1000 classes"):
        score(answers((7,)), (1000,))


def test_agreement_is_of_the_first_answer():
    one, other = answers((7, 8), (7, 9))
    assert TASK.agreement(one, other) == (1, 1)
    assert TASK.agreement(*answers((7, 8), (8, 7))) == (0, 1)


FORMS = [("classification", (1, 11, 4, 4)), ("segmentation", (1, 11)), ("segmentation", (1, 5, 4, 4))]


@pytest.mark.parametrize(("task", "shape"), FORMS)
def test_logits_of_another_form_are_refused(task, shape):
    with pytest.raises(UserError, match=r"the network's output has shape \(1"):
        TASKS[task].require_logits(shape, 11)
    TASKS["segmentation"].require_logits((1, 11, 4, 4), 11)
    TASKS["classification"].require_logits((1, 11), 11)

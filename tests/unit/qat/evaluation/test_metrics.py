"""mIoU against hand counts and torchmetrics."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from core.errors import UserError
from qat.evaluation.metrics import ConfusionMatrix, classes_of

NAMES = ("a", "b", "c")


def matrix(*pairs: tuple[list[list[int]], list[list[int]]], num_classes: int = 3) -> ConfusionMatrix:
    """Confusion matrix of (prediction, label) pairs."""
    result = ConfusionMatrix(num_classes)
    for pred, label in pairs:
        result.update(np.array(pred, np.uint8), np.array(label, np.uint8))
    return result


def test_hand_counted() -> None:
    score = matrix(([[0, 0, 1], [1, 2, 2]], [[0, 1, 1], [1, 2, 255]])).score(NAMES)
    assert score.per_class == pytest.approx({"a": 50.0, "b": 200 / 3, "c": 100.0})
    assert score.miou == pytest.approx((50 + 200 / 3 + 100) / 3)
    assert score.pixel_accuracy == pytest.approx(80.0)
    assert score.images == 1


def test_is_of_the_data_set_not_the_mean_of_images() -> None:
    small, large = ([[1]], [[0]]), ([[0, 0, 0, 1]], [[0, 0, 0, 1]])
    score = matrix(small, large, num_classes=2).score(("a", "b"))
    assert score.per_class == pytest.approx({"a": 75.0, "b": 50.0})


def test_absent_class_is_none_and_left_out_even_when_predicted() -> None:
    score = matrix(([[0, 0, 2, 1]], [[0, 0, 0, 1]])).score(NAMES)
    assert score.per_class["c"] is None
    assert score.per_class["a"] == pytest.approx(200 / 3)
    assert score.miou == pytest.approx((200 / 3 + 100) / 2)


def test_agrees_with_torchmetrics() -> None:
    classification = pytest.importorskip("torchmetrics.classification")
    rng = np.random.default_rng(0)
    ours, theirs = ConfusionMatrix(5), classification.MulticlassConfusionMatrix(5, ignore_index=255)
    for _ in range(3):
        pred, label = rng.integers(0, 5, (2, 9, 7)).astype(np.uint8)
        label[rng.random(label.shape) < 0.2] = 255
        ours.update(pred, label)
        theirs.update(torch.from_numpy(pred).long(), torch.from_numpy(label).long())
    counts = theirs.compute().numpy()
    np.testing.assert_array_equal(ours.counts, counts)
    iou = np.diag(counts) / (counts.sum(0) + counts.sum(1) - np.diag(counts))
    assert ours.score("abcde").miou == pytest.approx(100 * iou.mean())


def test_merge_equals_one_matrix_over_all_images() -> None:
    first, second = ([[0, 1]], [[0, 0]]), ([[2, 1]], [[2, 1]])
    merged = matrix(first)
    merged.merge(matrix(second))
    assert merged.score(NAMES) == matrix(first, second).score(NAMES)


def test_merge_refuses_another_number_of_classes() -> None:
    with pytest.raises(ValueError, match="3 and 4 classes"):
        ConfusionMatrix(3).merge(ConfusionMatrix(4))


@pytest.mark.parametrize(
    ("pred", "label", "message"), [([[0]], [[3]], "label has class 3"), ([[7]], [[0]], "prediction has class 7")]
)
def test_class_out_of_range_is_refused(pred: list[list[int]], label: list[list[int]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        matrix((pred, label))


def test_prediction_on_an_ignored_pixel_may_be_anything() -> None:
    assert matrix(([[9, 0]], [[255, 0]])).score(NAMES).pixel_accuracy == 100.0


def test_nothing_labelled_is_an_error() -> None:
    with pytest.raises(UserError, match="nothing to score"):
        matrix(([[0]], [[255]])).score(NAMES)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        matrix(([[0]], [[0, 0]]))


def test_json_is_strict() -> None:
    value = matrix(([[0]], [[0]])).score(NAMES).to_json()
    assert json.loads(json.dumps(value, allow_nan=False)) == {
        "miou": 100.0,
        "per_class": {"a": 100.0, "b": None, "c": None},
        "pixel_accuracy": 100.0,
        "images": 1,
    }


def test_the_class_of_a_pixel_is_the_first_of_the_largest_logits() -> None:
    logits = torch.randint(-2, 3, (2, 5, 7, 3)).float()  # full of ties
    expected = np.array(
        [[[pixel.tolist().index(pixel.max()) for pixel in row] for row in image.movedim(0, -1)] for image in logits]
    )
    assert (classes_of(logits).numpy() == expected).all()

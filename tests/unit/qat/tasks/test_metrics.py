"""mIoU against hand counts and torchmetrics."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from core.errors import UserError
from qat.tasks import TASKS
from qat.tasks.metrics import Score, classes_of, confusion

NAMES = ("a", "b", "c")


def score_of(*pairs: tuple[list[list[int]], list[list[int]]], names: tuple[str, ...] = NAMES) -> Score:
    """Score of (prediction, label) pairs, one an image."""
    found = [confusion(np.array(pred, np.uint8), np.array(label, np.uint8), len(names)) for pred, label in pairs]
    return TASKS["segmentation"].score(np.stack(found), names)


def test_hand_counted() -> None:
    score = score_of(([[0, 0, 1], [1, 2, 2]], [[0, 1, 1], [1, 2, 255]]))
    assert score.per_class == pytest.approx({"a": 50.0, "b": 200 / 3, "c": 100.0})
    assert score.value == pytest.approx((50 + 200 / 3 + 100) / 3)
    assert score.values["pixel accuracy"].value == pytest.approx(80.0)
    assert score.images == 1


def test_is_of_the_data_set_not_the_mean_of_images() -> None:
    small, large = ([[1]], [[0]]), ([[0, 0, 0, 1]], [[0, 0, 0, 1]])
    score = score_of(small, large, names=("a", "b"))
    assert score.per_class == pytest.approx({"a": 75.0, "b": 50.0})


def test_absent_class_is_none_and_left_out_even_when_predicted() -> None:
    score = score_of(([[0, 0, 2, 1]], [[0, 0, 0, 1]]))
    assert score.per_class["c"] is None
    assert score.per_class["a"] == pytest.approx(200 / 3)
    assert score.value == pytest.approx((200 / 3 + 100) / 2)


def test_agrees_with_torchmetrics() -> None:
    classification = pytest.importorskip("torchmetrics.classification")
    rng = np.random.default_rng(0)
    ours, theirs = [], classification.MulticlassConfusionMatrix(5, ignore_index=255)
    for _ in range(3):
        pred, label = rng.integers(0, 5, (2, 9, 7)).astype(np.uint8)
        label[rng.random(label.shape) < 0.2] = 255
        ours.append(confusion(pred, label, 5))
        theirs.update(torch.from_numpy(pred).long(), torch.from_numpy(label).long())
    counts = theirs.compute().numpy()
    np.testing.assert_array_equal(np.sum(ours, axis=0), counts)
    iou = np.diag(counts) / (counts.sum(0) + counts.sum(1) - np.diag(counts))
    assert TASKS["segmentation"].score(np.stack(ours), tuple("abcde")).value == pytest.approx(100 * iou.mean())


@pytest.mark.parametrize(
    ("pred", "label", "message"), [([[0]], [[3]], "label has class 3"), ([[7]], [[0]], "prediction has class 7")]
)
def test_class_out_of_range_is_refused(pred: list[list[int]], label: list[list[int]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        score_of((pred, label))


def test_prediction_on_an_ignored_pixel_may_be_anything() -> None:
    assert score_of(([[9, 0]], [[255, 0]])).values["pixel accuracy"].value == 100.0


def test_nothing_labelled_is_an_error() -> None:
    with pytest.raises(UserError, match="nothing to score"):
        score_of(([[0]], [[255]]))


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        score_of(([[0]], [[0, 0]]))


def test_json_is_strict() -> None:
    value = score_of(([[0]], [[0]])).to_json()
    sure = {"value": 100.0, "low": 100.0, "high": 100.0}
    assert json.loads(json.dumps(value, allow_nan=False)) == {
        "metric": "mIoU",
        "value": 100.0,
        "values": {"mIoU": sure, "pixel accuracy": sure},
        "per_class": {"a": 100.0, "b": None, "c": None},
        "images": 1,
    }


def test_the_class_of_a_pixel_is_the_first_of_the_largest_logits() -> None:
    logits = torch.randint(-2, 3, (2, 5, 7, 3)).float()  # full of ties
    expected = np.array(
        [[[pixel.tolist().index(pixel.max()) for pixel in row] for row in image.movedim(0, -1)] for image in logits]
    )
    assert (classes_of(logits).numpy() == expected).all()

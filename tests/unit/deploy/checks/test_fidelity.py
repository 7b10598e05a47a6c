"""Fidelity to FP32: what an output decides, and the measures against their definitions."""

import numpy as np
import pytest

from deploy.checks.fidelity import Fidelity, closeness, fidelity, kind_of
from deploy.checks.parity import decibels

RANDOM = np.random.default_rng(0)


def one(reference, got):
    return fidelity([{"y": reference}], [{"y": got}])[0]


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (np.zeros((1, 10), np.float32), "classes"),
        (np.zeros((1, 10, 1, 1), np.float32), "classes"),
        (np.zeros((1, 3, 4, 4), np.float32), "map"),
        (np.zeros((1, 1, 4, 4), np.float32), "mask"),
        (np.zeros((1, 4, 4), np.uint8), "labels"),
        (np.zeros((1, 100, 4), np.float32), "values"),
        (np.full((1, 100, 4), 0.25, np.float32), "sequence"),
        (np.zeros((1, 1), np.float32), "values"),
    ],
)
def test_kinds(array, kind):
    assert kind_of(array) == kind


def test_classes_agree_where_the_largest_score_is_the_same():
    reference, got = np.float32([[1, 2, 0], [5, 1, 0]]), np.float32([[1, 3, 0], [0, 1, 0]])
    found = one(reference, got)
    assert (found.agreement, found.iou) == (0.5, None)


def test_positions_of_a_sequence_agree_one_by_one():
    reference = np.float32([[[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]])
    found = one(reference, np.float32([[[0.6, 0.4], [0.9, 0.1], [0.7, 0.3]]]))
    assert (found.agreement, found.iou) == (pytest.approx(2 / 3), None)


def test_iou_of_maps_is_over_all_pictures_at_once():
    first, second = np.zeros((1, 2, 1, 4), np.float32), np.zeros((1, 2, 1, 4), np.float32)
    first[0, 1, 0, :1] = 1  # class 1 at one place of the first picture
    second[0, 1, 0, :3] = 1
    wrong = second.copy()
    wrong[0, 1, 0, 0] = -1  # one of the three is lost
    found = fidelity([{"y": first}, {"y": second}], [{"y": first}, {"y": wrong}])[0]
    assert found.agreement == 7 / 8
    assert found.iou == pytest.approx((4 / 5 + 3 / 4) / 2)


def test_masks_are_cut_at_half_when_they_are_shares_and_at_zero_when_they_are_logits():
    shares = np.float32([[[[0.9, 0.4, 0.1]]]])
    assert one(shares, np.float32([[[[0.6, 0.45, 0.4]]]])).iou == 1.0
    logits = np.float32([[[[3.0, -1.0, 0.2]]]])
    assert one(logits, np.float32([[[[0.1, -0.1, -0.1]]]])).iou == pytest.approx((1 / 2 + 1 / 2) / 2)


def test_snr_and_cosine():
    reference = RANDOM.standard_normal((1, 7, 5)).astype(np.float32)
    noise = 0.1 * RANDOM.standard_normal((1, 7, 5)).astype(np.float32)
    found = one(reference, reference + noise)
    assert found.snr_db == pytest.approx(10 * np.log10(np.square(reference).sum() / np.square(noise).sum()), rel=1e-4)
    flat, other = reference.ravel(), (reference + noise).ravel()
    assert found.cosine == pytest.approx(flat @ other / np.linalg.norm(flat) / np.linalg.norm(other), rel=1e-5)
    assert one(reference, reference).snr_db == decibels(1.0, 0.0) == 200.0


def test_an_engine_that_computes_nan_agrees_nowhere():
    reference = RANDOM.standard_normal((1, 3, 4, 4)).astype(np.float32)
    found = one(reference, np.full_like(reference, np.nan))
    assert found.snr_db == pytest.approx(0.0) and found.iou < 0.5 and np.isfinite(found.cosine)


def test_masks_rank_by_iou_and_other_networks_by_snr():
    mask, score = Fidelity("m", "mask", 0.9, 0.8, 20.0, 1.0), Fidelity("s", "classes", 1.0, None, 30.0, 1.0)
    assert closeness([mask]) == 0.8
    assert closeness([score]) == 30.0
    assert closeness([mask, score]) == 25.0

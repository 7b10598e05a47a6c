"""benchmarks/measure/accuracy.py: scores over the data set, agreement with references, the cache."""

import numpy as np
import pytest

from benchmarks.measure.accuracy import AccuracyCache, evaluate, predict
from core.files.artifacts import read_json, write_json
from tests.unit.benchmarks.fakes import CLASSES, HEIGHT, SEGMENTATION, WIDTH, FakeSession, Squares, prepare


def test_a_perfect_engine_scores_100_and_an_absent_class_has_no_iou():
    score = evaluate({"a": FakeSession()}, {}, Squares(), prepare, CLASSES, SEGMENTATION)["a"]
    assert (score.score, score.values["pixel accuracy"].value, score.images) == (100, 100, 5)
    assert score.per_class == {"road": 100, "car": 100, "tree": None}


def test_wrong_pixels_cost_what_they_should():
    score = evaluate({"a": FakeSession(wrong_columns=4)}, {}, Squares(1), prepare, CLASSES, SEGMENTATION)["a"]
    # 24 columns: 4 car, and 20 road, of which 4 are predicted as car
    assert score.per_class["road"] == pytest.approx(100 * 16 / 20)
    assert score.per_class["car"] == pytest.approx(100 * 4 / 8)
    assert score.values["pixel accuracy"].value == pytest.approx(100 * 20 / 24)


def test_agreement_counts_all_pixels_and_a_reference_runs_once_an_image():
    fp32, int8 = FakeSession("fp32"), FakeSession("int8", wrong_columns=4)
    scores = evaluate({"fp32": fp32, "int8": int8}, {"fp32": fp32}, Squares(), prepare, CLASSES, SEGMENTATION)
    assert scores["fp32"].agreement == {"fp32": 100}
    assert scores["int8"].agreement["fp32"] == pytest.approx(100 * (WIDTH - 4) / WIDTH)
    assert len(fp32.log) == 5


def test_change_has_an_interval_over_images():
    """An engine that is wrong in every image loses in every resample."""
    sessions = {"fp32": FakeSession("fp32"), "int8": FakeSession("int8", wrong_columns=4)}
    scores = evaluate(sessions, {"fp32": sessions["fp32"]}, Squares(), prepare, CLASSES, SEGMENTATION)
    own = scores["fp32"].change["fp32"]
    assert (own.value, own.low, own.high) == (0, 0, 0)
    found, change = scores["int8"].change["fp32"], scores["int8"].score - scores["fp32"].score
    assert found.value == pytest.approx(change)
    assert found.low < change < found.high < 0


def test_interval_is_wider_where_one_image_carries_the_change():
    labels = np.stack([Squares()[index].label for index in range(5)])
    masks = labels.copy()
    masks[2, :, : WIDTH // 2] = 1 - masks[2, :, : WIDTH // 2]
    score = evaluate({"a": FakeSession()}, {"stored": masks}, Squares(), prepare, CLASSES, SEGMENTATION)["a"]
    assert score.change["stored"].low == 0 < score.change["stored"].high


def test_stored_masks_are_a_reference_too():
    masks = np.stack([Squares()[index].label for index in range(5)])
    masks[:, 0] = masks[:, 1]
    masks[0, :4] = 2
    score = evaluate({"a": FakeSession()}, {"simulated": masks}, Squares(), prepare, CLASSES, SEGMENTATION)["a"]
    assert score.agreement["simulated"] == pytest.approx(100 * (1 - 4 / (5 * HEIGHT)))


def test_logits_not_classes_are_resized():
    class Coarse(FakeSession):
        def run(self, feeds):
            return {"logits": np.array([[[[4.0, 0.0]], [[0.0, 1.2]]]], np.float32)}

    mask = predict(Coarse(), np.zeros((3, 1, 2), np.float32), np.zeros((1, 6), np.uint8), SEGMENTATION)
    # corners aligned: class 0 falls 4, 3.2, 2.4, 1.6, 0.8, 0 and class 1 rises 0, 0.24, 0.48, 0.72, 0.96, 1.2
    assert mask.tolist() == [[0, 0, 0, 0, 1, 1]]


def test_cache_keeps_scores_and_forgets_what_is_gone(tmp_path):
    score = evaluate({"a": FakeSession()}, {}, Squares(1), prepare, CLASSES, SEGMENTATION)["a"]
    path = tmp_path / "accuracy.json"
    AccuracyCache(path).keep({"old": score})
    AccuracyCache(path).keep({"new": score})
    assert AccuracyCache(path).get("new") == score
    assert AccuracyCache(path).get("old") is None


def test_cache_of_another_method_is_not_used(tmp_path):
    path = tmp_path / "accuracy.json"
    AccuracyCache(path).keep(
        {"key": evaluate({"a": FakeSession()}, {}, Squares(1), prepare, CLASSES, SEGMENTATION)["a"]}
    )
    write_json(path, {**read_json(path), "method_version": 0})
    assert AccuracyCache(path).get("key") is None

"""The generated streets: deterministic, disjoint between splits, and with every class often enough to learn it."""

from __future__ import annotations

import numpy as np
import pytest

from core.config import DataConfig
from qat.data import IGNORE, build_dataset
from qat.data.streets import Streets
from qat.data.streets.scene import Cls


def test_a_sample_depends_on_its_index_alone() -> None:
    forwards, backwards = Streets("train", 48, 64), Streets("train", 48, 64, size=5)
    first = [forwards[index] for index in range(3)]
    again = [backwards[index] for index in (2, 1, 0)][::-1]
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.label, other.label)
        assert one.name == other.name


@pytest.mark.parametrize("other", [Streets("val", 48, 64), Streets("train", 48, 64, seed=1)])
def test_splits_and_seeds_differ(other: Streets) -> None:
    reference = Streets("train", 48, 64)
    assert reference.fingerprint() != other.fingerprint()
    assert (reference[0].label != other[0].label).mean() > 0.05


@pytest.mark.parametrize(("height", "width"), [(48, 64), (64, 48), (96, 320)])
def test_shapes_and_label_values(height: int, width: int) -> None:
    sample = Streets("train", height, width)[1]
    assert sample.image.shape == (height, width, 3)
    assert sample.image.dtype == np.uint8
    assert sample.label.shape == (height, width)
    assert set(np.unique(sample.label)) <= {*range(11), IGNORE}


def test_every_class_appears_often_and_the_layout_is_a_street() -> None:
    streets = Streets("train", 96, 128)
    labels = [streets[index].label for index in range(60)]
    present = np.mean(
        [[np.count_nonzero(label == class_id) >= 4 for class_id in range(11)] for label in labels], axis=0
    )
    assert dict(zip(streets.class_names, present, strict=True)) == {
        name: pytest.approx(0.65, abs=0.35) for name in streets.class_names
    }, "every class in at least 30 % of the images"
    stacked = np.stack(labels)
    rows = np.broadcast_to(np.arange(96)[:, None], (96, 128))
    heights = [np.broadcast_to(rows, stacked.shape)[stacked == class_id].mean() for class_id in range(11)]
    assert heights[Cls.SKY] < heights[Cls.BUILDING] < heights[Cls.CAR] < heights[Cls.ROAD]


def test_colour_alone_does_not_give_the_class_away() -> None:
    streets = Streets("train", 96, 128)
    samples = [streets[index] for index in range(40)]
    colors = np.concatenate([(sample.image >> 4).reshape(-1, 3) for sample in samples]).astype(np.int64)
    codes = colors @ (256, 16, 1)
    labels = np.concatenate([sample.label.ravel() for sample in samples])
    counted = labels != IGNORE
    table = np.zeros((4096, 11), np.int64)
    np.add.at(table, (codes[counted], labels[counted]), 1)
    predicted = table.argmax(axis=1)[codes[counted]]
    hits = np.array([np.sum((predicted == c) & (labels[counted] == c)) for c in range(11)])
    unions = np.array([np.sum((predicted == c) | (labels[counted] == c)) for c in range(11)])
    assert (hits / unions).mean() < 0.35, "a colour table fitted to the very pixels it is judged on"


def test_index_out_of_range_ends_iteration() -> None:
    assert len(list(Streets("val", 32, 32, size=2))) == 2  # type: ignore[call-overload]


def test_build_dataset_keeps_samples_in_memory_and_honours_size_and_seed() -> None:
    config = DataConfig(height_px=48, width_px=64, train_images=4, val_images=2)
    train, val = build_dataset(config, "train", seed=3), build_dataset(config, "val", seed=3)
    assert (len(train), len(val)) == (4, 2)
    assert train[2] is train[2]
    assert train.fingerprint() != build_dataset(config, "train", seed=4).fingerprint()

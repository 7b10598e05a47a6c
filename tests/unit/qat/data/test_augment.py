"""Scale, crop, flip, and the edge map."""

from __future__ import annotations

import numpy as np
import pytest

from qat.data import IGNORE, Sample
from qat.data.augment import MEAN_COLOR, augment, boundary


def sample(height: int = 20, width: int = 30) -> Sample:
    """An image whose colour is its label, so that both must move alike."""
    label = (np.arange(height)[:, None] // 5 * 4 + np.arange(width)[None] // 8).astype(np.uint8)
    return Sample(np.repeat(label[..., None], 3, axis=2), label, "one")


def test_unscaled_whole_crop_is_the_sample() -> None:
    out = augment(sample(), np.random.default_rng(0), scale_range=(1, 1), crop_px=(20, 30), flip=False)
    np.testing.assert_array_equal(out.image, sample().image)
    np.testing.assert_array_equal(out.label, sample().label)


@pytest.mark.parametrize("seed", range(8))
def test_image_and_label_move_together(seed: int) -> None:
    out = augment(sample(), np.random.default_rng(seed), scale_range=(1, 1), crop_px=(12, 14), flip=True)
    np.testing.assert_array_equal(out.image[..., 0], out.label)


@pytest.mark.parametrize("seed", range(4))
def test_padding_is_mean_colour_and_ignored(seed: int) -> None:
    out = augment(sample(), np.random.default_rng(seed), scale_range=(0.5, 0.5), crop_px=(16, 24), flip=True)
    padded = out.label == IGNORE
    assert padded.sum() == 16 * 24 - 10 * 15
    np.testing.assert_array_equal(out.image[padded], np.broadcast_to(MEAN_COLOR, (padded.sum(), 3)))
    assert out.image[~padded].max() <= sample().label.max(), "padding must not blend into the image"


def test_scaling_up_enlarges_and_invents_no_class() -> None:
    out = augment(sample(), np.random.default_rng(1), scale_range=(2, 2), crop_px=(20, 30), flip=False)
    assert out.label.shape == (20, 30)
    assert set(np.unique(out.label)) <= set(np.unique(sample().label))
    runs = np.diff(np.flatnonzero(np.diff(out.label[0])))
    assert (runs == 16).all(), "a run of 8 equal labels becomes one of 16"


def test_flip_happens_in_about_half_of_the_cases_and_only_when_allowed() -> None:
    rng = np.random.default_rng(0)
    kwargs = {"scale_range": (1, 1), "crop_px": (20, 30)}
    flipped = [augment(sample(), rng, flip=True, **kwargs).label[0, 0] != 0 for _ in range(200)]
    assert 70 < sum(flipped) < 130
    assert not any(augment(sample(), rng, flip=False, **kwargs).label[0, 0] != 0 for _ in range(20))


def test_equal_generators_give_equal_samples() -> None:
    kwargs = {"scale_range": (0.5, 2.0), "crop_px": (16, 16), "flip": True}
    one = augment(sample(), np.random.default_rng((1, 2, 3)), **kwargs)
    two = augment(sample(), np.random.default_rng((1, 2, 3)), **kwargs)
    np.testing.assert_array_equal(one.image, two.image)
    np.testing.assert_array_equal(one.label, two.label)


def test_boundary_marks_changes_of_class_and_void() -> None:
    label = np.zeros((40, 60), np.uint8)
    label[:, 20:] = 1
    label[:, 40:] = IGNORE
    edges = boundary(label)
    assert edges.dtype == np.float32
    columns = np.flatnonzero(edges[20])
    assert set(columns) <= {*range(16, 24), *range(36, 44)}
    assert {19, 20} & set(columns) and {39, 40} & set(columns)
    assert 4 <= np.sum(columns < 30) <= 6, "one Canny line, dilated by 4"


def test_boundary_is_empty_without_change_and_at_the_rim() -> None:
    assert boundary(np.full((30, 30), 7, np.uint8)).sum() == 0
    label = np.zeros((30, 30), np.uint8)
    label[:, 3:] = 1
    assert boundary(label).sum() == 0
    assert boundary(label, rim_px=0).sum() > 0

"""The tuning split: whole sequences or gapped blocks, never adjacent to training images."""

from pathlib import Path

import numpy as np
import pytest

from core.config.data import DataConfig, TuningConfig
from core.errors import UserError
from qat.data import build_dataset, build_tuning
from qat.data.tuning import GROUPS, divide, sequence_of

CAMVID = Path(__file__).parents[4].parent / "shared" / "data" / "camvid"
DRIVES = [f"{drive}_{30 * frame:06d}" for drive, frames in (("a", 20), ("b", 40), ("c", 90)) for frame in range(frames)]


def drives(names, indices):
    return {sequence_of(names[index]) for index in indices}


@pytest.mark.parametrize(
    ("name", "sequence"),
    [
        ("0016E5_07961", "0016E5"),
        ("aachen_000000_000019_leftImg8bit", "aachen"),
        ("drive7/000123", "drive7"),
        ("frame00012", "frame"),
        ("IMG-17", "IMG"),
    ],
)
def test_sequence_of_a_name(name, sequence):
    assert sequence_of(name) == sequence


@pytest.mark.parametrize("fold", range(3))
def test_whole_drives_are_held_aside(fold):
    found = divide(DRIVES, TuningConfig(fold=fold, images=20))
    assert not drives(DRIVES, found.train) & drives(DRIVES, found.tuning)
    assert len(drives(DRIVES, found.train) | drives(DRIVES, found.tuning)) == 3
    assert 0 < len(found.tuning) <= 20


def test_folds_hold_other_drives_and_all_of_them():
    held = [frozenset(drives(DRIVES, divide(DRIVES, TuningConfig(fold=fold)).tuning)) for fold in range(3)]
    assert len(set(held)) == 3
    assert frozenset().union(*held) == {"a", "b", "c"}


@pytest.mark.parametrize("fold", [0, 1, 2, 7])
@pytest.mark.parametrize("count", [10, 12, 40, 99, 100, 367])
def test_no_frame_next_to_a_tuning_image_is_trained_on(count, fold):
    found = divide([f"img_{index:05d}" for index in range(count)], TuningConfig(fold=fold))
    nearest = min(abs(one - other) for one in found.tuning for other in found.train)
    assert nearest >= 2
    assert len(found.tuning) >= 0.1 * count
    assert len(found.train) >= 0.4 * count
    if count >= 100:
        assert nearest > TuningConfig().gap_images


def test_without_a_gap_every_image_is_used():
    found = divide([f"{index}" for index in range(60)], TuningConfig(gap_images=0))
    assert sorted(found.train + found.tuning) == list(range(60))


def test_groups_are_stretches_that_no_sequence_boundary_cuts():
    found = divide(DRIVES, TuningConfig(share=0.3))
    assert drives(DRIVES, found.tuning) == {"a", "b"}
    by_group = {}
    for index, group in zip(found.tuning, found.groups, strict=True):
        by_group.setdefault(group, []).append(index)
    assert list(by_group) == sorted(by_group)
    assert len(by_group) <= GROUPS + 1
    for members in by_group.values():
        assert members == list(range(members[0], members[-1] + 1))
        assert len(drives(DRIVES, members)) == 1


def test_many_sequences_are_groups_themselves():
    names = [f"city{city:02d}_{frame}" for city in range(40) for frame in range(5)]
    found = divide(names, TuningConfig(share=0.5, images=100))
    assert len(set(found.groups)) == len(drives(names, found.tuning)) == 20


def test_beginnings_that_are_no_sequences_give_blocks():
    """One sequence per name (as KITTI numbers its images), or a small sequence beside one with nearly all images."""
    for names in ([f"{index:06d}_10" for index in range(60)], [*["x_1", "x_2"], *(f"y_{i}" for i in range(60))]):
        found = divide(names, TuningConfig())
        assert found.tuning == tuple(range(found.tuning[0], found.tuning[-1] + 1))
    with pytest.raises(UserError, match="several sequences"):
        divide([f"img_{index}" for index in range(60)], TuningConfig(), "sequence")


def test_pictures_are_taken_one_by_one_so_that_every_class_stays():
    names = [f"{kind}/{index}" for kind in ("cat", "dog", "owl") for index in range(20)]
    found = divide(names, TuningConfig(), "image")
    assert len(found.tuning) == len(set(found.groups)) == 9
    assert sorted(found.train + found.tuning) == list(range(60))
    assert drives(names, found.train) == drives(names, found.tuning) == {"cat", "dog", "owl"}


def test_too_few_images_are_all_trained_on():
    found = divide([f"a_{index}" for index in range(9)], TuningConfig())
    assert (len(found.train), found.tuning) == (9, ())


def test_streets_have_tuning_streets_of_their_own():
    data = DataConfig(height_px=32, width_px=32, train_images=40, val_images=4)
    train, val, tuning = build_dataset(data, "train"), build_dataset(data, "val"), build_tuning(data)
    other = build_tuning(data.model_copy(update={"tuning": TuningConfig(fold=1)}))
    assert (len(train), len(tuning), len(set(tuning.groups))) == (40, 10, 10)
    seen = [train[0].image, val[0].image, tuning.dataset[0].image, other.dataset[0].image]
    assert not any(np.array_equal(seen[one], seen[two]) for one in range(4) for two in range(one))


@pytest.mark.skipif(not CAMVID.is_dir(), reason="needs shared/data/camvid")
def test_camvid_holds_a_drive_aside():
    data = DataConfig(name="camvid", root=CAMVID, height_px=360, width_px=480)
    train, tuning = build_dataset(data, "train"), build_tuning(data)
    assert {name[:6] for name in tuning.dataset.names} == {"0001TP"}
    assert {name[:6] for name in train.names} == {"0006R0", "0016E5"}
    assert train.fingerprint() != tuning.dataset.fingerprint()
    assert tuning.dataset[0].name == tuning.dataset.names[0]

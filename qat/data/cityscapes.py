"""Cityscapes (Cordts et al., CVPR 2016): fine annotations, the 19 classes of its benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from qat.data.base import IGNORE
from qat.data.files import FileDataset, checked_classes, missing_data, pair_up, read_grey

LAYOUT = """    leftImg8bit/{train,val}/<city>/*_leftImg8bit.png
    gtFine/{train,val}/<city>/*_gtFine_labelIds.png"""
SOURCE = "cityscapes-dataset.com (packages leftImg8bit_trainvaltest and gtFine_trainvaltest; needs an account)"

# labelId, name, display colour, in the order of the benchmark's train ids 0..18.
_CLASSES = (
    (7, "road", (128, 64, 128)),
    (8, "sidewalk", (244, 35, 232)),
    (11, "building", (70, 70, 70)),
    (12, "wall", (102, 102, 156)),
    (13, "fence", (190, 153, 153)),
    (17, "pole", (153, 153, 153)),
    (19, "traffic light", (250, 170, 30)),
    (20, "traffic sign", (220, 220, 0)),
    (21, "vegetation", (107, 142, 35)),
    (22, "terrain", (152, 251, 152)),
    (23, "sky", (70, 130, 180)),
    (24, "person", (220, 20, 60)),
    (25, "rider", (255, 0, 0)),
    (26, "car", (0, 0, 142)),
    (27, "truck", (0, 0, 70)),
    (28, "bus", (0, 60, 100)),
    (31, "train", (0, 80, 100)),
    (32, "motorcycle", (0, 0, 230)),
    (33, "bicycle", (119, 11, 32)),
)
LABEL_IDS = 34  # 0..33; -1 (licence plate) is stored as 255


CLASS_NAMES = tuple(name for _, name, _ in _CLASSES)
COLORS = tuple(color for _, _, color in _CLASSES)


def cityscapes(root: Path | None, split: Literal["train", "val"], masks: bool = True) -> FileDataset:
    """Images with `labelIds` maps, unless there are no `masks`; ids outside the benchmark become `IGNORE`.

    Raises:
        UserError: the folders are missing or empty, or an image has no label map.
    """
    images = sorted((root / "leftImg8bit" / split).glob("*/*_leftImg8bit.png")) if root else []
    if root is None or not images:
        raise missing_data(root, LAYOUT, SOURCE, [f"leftImg8bit/{split}/<city>/"])
    pairs = pair_up(images, [_label_file(root / "gtFine" / split, image) for image in images], split, masks)
    return FileDataset(pairs, _read_label, CLASS_NAMES, COLORS)


def _read_label(path: Path) -> NDArray[np.uint8]:
    return checked_classes(read_grey(path), _TABLE, path)


def _label_file(folder: Path, image: Path) -> Path:
    return folder / image.parent.name / image.name.replace("_leftImg8bit.png", "_gtFine_labelIds.png")


def _table() -> NDArray[np.int16]:
    table = np.full(256, -1, np.int16)
    table[:LABEL_IDS] = IGNORE
    table[IGNORE] = IGNORE
    for train_id, (label_id, _, _) in enumerate(_CLASSES):
        table[label_id] = train_id
    return table


_TABLE = _table()

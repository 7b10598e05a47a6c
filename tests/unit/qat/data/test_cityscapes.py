"""Cityscapes on a tiny generated tree."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from core.errors import UserError
from qat.data import IGNORE
from qat.data.cityscapes import CLASS_NAMES, COLORS, cityscapes


def tree(root: Path, label: np.ndarray, city: str = "bonn") -> Path:
    stem = f"{city}_000000_000019"
    image = root / "leftImg8bit" / "train" / city / f"{stem}_leftImg8bit.png"
    labels = root / "gtFine" / "train" / city / f"{stem}_gtFine_labelIds.png"
    for path, pixels in ((image, np.zeros((*label.shape[:2], 3), np.uint8)), (labels, label)):
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), pixels)
    return labels


def test_ids_become_train_ids(tmp_path: Path) -> None:
    tree(tmp_path, np.array([[7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]], np.uint8))
    tree(tmp_path, np.array([[0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30, 255]], np.uint8), city="ulm")
    data = cityscapes(tmp_path, "train")
    assert data[0].label.tolist() == [list(range(19))]
    assert set(data[1].label.ravel().tolist()) == {IGNORE}


def test_class_table_is_the_benchmarks() -> None:
    assert len(CLASS_NAMES) == len(COLORS) == len(set(COLORS)) == 19
    by_name = dict(zip(CLASS_NAMES, COLORS, strict=True))
    assert CLASS_NAMES[0] == "road" and CLASS_NAMES[18] == "bicycle"
    assert by_name["car"] == (0, 0, 142) and by_name["train"] == (0, 80, 100)


@pytest.mark.parametrize("value", [34, 99])
def test_an_id_beyond_the_list_names_the_file(tmp_path: Path, value: int) -> None:
    labels = tree(tmp_path, np.full((2, 2), value, np.uint8))
    with pytest.raises(UserError) as caught:
        cityscapes(tmp_path, "train")[0]
    assert str(labels) in caught.value.what and str(value) in caught.value.what


def test_missing_label_and_missing_data(tmp_path: Path) -> None:
    tree(tmp_path, np.zeros((2, 2), np.uint8)).unlink()
    with pytest.raises(UserError, match="no label map for"):
        cityscapes(tmp_path, "train")
    with pytest.raises(UserError) as caught:
        cityscapes(tmp_path, "val")
    assert "found there: gtFine/, leftImg8bit/" in caught.value.why
    assert "labelIds.png" in caught.value.fix

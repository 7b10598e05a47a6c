"""Pictures, label maps and calibration files that are damaged or of another kind."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from deploy.plan.images import read_images
from qat.data.camvid import CLASS_NAMES, COLORS
from qat.data.files import FileDataset, Pair, checked_classes, read_grey
from tests.property.mutations import damaged, fuzz, refused_or

TABLE = np.array([*range(11), *[-1] * 244, 255], np.int16)
LABEL = np.tile(np.arange(11, dtype=np.uint8), (6, 1))
SHAPES = arrays.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4)
DTYPES = st.sampled_from(["f2", "f4", "f8", "u1", "i8", "?", "U3", "c8"])


def encoded(picture, suffix=".png"):
    return cv2.imencode(suffix, picture)[1].tobytes()


@pytest.fixture
def dataset(tmp_path):
    """One pair of files; tests replace either."""
    (tmp_path / "image.png").write_bytes(encoded(np.zeros((6, 11, 3), np.uint8)))
    (tmp_path / "label.png").write_bytes(encoded(LABEL))
    pair = Pair(tmp_path / "image.png", tmp_path / "label.png")
    return FileDataset([pair], lambda path: checked_classes(read_grey(path), TABLE, path), CLASS_NAMES, COLORS)


@fuzz(150)
@given(content=damaged(encoded(LABEL)) | damaged(encoded(LABEL, ".bmp")))
def test_bytes_of_label_maps(dataset, tmp_path, content):
    (tmp_path / "label.png").write_bytes(content)
    sample = refused_or(lambda: dataset[0])
    assert sample is None or set(np.unique(sample.label)) <= {*range(11), 255}


@fuzz(100)
@given(label=arrays.arrays(st.sampled_from([np.uint8, np.uint16]), st.sampled_from([(6, 11), (5, 11), (6, 11, 3)])))
def test_values_of_label_maps(dataset, tmp_path, label):
    (tmp_path / "label.png").write_bytes(encoded(label))
    sample = refused_or(lambda: dataset[0])
    fits = label.shape == (6, 11) and label.dtype == np.uint8 and (TABLE[label] >= 0).all()
    assert (sample is not None) == fits


@fuzz(100)
@given(content=damaged(encoded(np.zeros((6, 11, 3), np.uint8), ".jpg")))
def test_bytes_of_pictures(dataset, tmp_path, content):
    (tmp_path / "image.png").write_bytes(content)
    refused_or(lambda: dataset[0])


@fuzz(150)
@given(data=st.data())
def test_calibration_arrays(tmp_path, data):
    values = data.draw(arrays.arrays(np.dtype(data.draw(DTYPES)), SHAPES))
    np.save(tmp_path / "c.npy", values)
    for image in refused_or(lambda: list(read_images(tmp_path / "c.npy"))) or ():
        assert image.dtype == np.float32 and image.shape == (1, *values.shape[1:]) and np.isfinite(image).all()


@fuzz(150)
@given(data=st.data())
def test_bytes_of_calibration_files(tmp_path, data):
    suffix = data.draw(st.sampled_from([".npy", ".npz"]))
    path = tmp_path / f"c{suffix}"
    if suffix == ".npy":
        np.save(path, np.ones((2, 3, 4, 4), np.float32))
    else:
        np.savez(path, images=np.ones((2, 4, 4, 3), np.uint8), mean=np.zeros(3), std=np.ones(3))
    path.write_bytes(data.draw(damaged(path.read_bytes())))
    refused_or(lambda: list(read_images(path)))

"""Images with one class each, from folders or by file name."""

import cv2
import numpy as np
import pytest

from core.config import DataConfig, load_config
from core.errors import UserError
from qat.data.base import NO_CLASS
from qat.data.classified import build_classified, centre_crop
from tests.small_line import CONFIG


def picture(path, value=100, size=(40, 60)):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((*size, 3), value, np.uint8))


def config(root, name, **settings):
    return DataConfig(name=name, root=root, **{"height_px": 16, "width_px": 16, **settings})


def test_folders_are_classes_in_alphabetical_order(tmp_path):
    for name in ("b", "a"):
        picture(tmp_path / "train" / name / "1.png")
    picture(tmp_path / "val" / "b" / "2.jpg")
    train, val = (build_classified(config(tmp_path, "folders"), split, 2) for split in ("train", "val"))
    assert (train.class_names, [int(train[i].label) for i in range(2)]) == (("a", "b"), [0, 1])
    assert len(val) == 1 and int(val[0].label) == 1 and val[0].label.dtype == np.int32
    assert val[0].image.shape == (16, 16, 3)


def test_a_flat_folder_is_halved_and_indices_beyond_255_stay(tmp_path):
    for index in (0, 255, 257, 999):
        picture(tmp_path / f"{index:04d}_n{index}.png", value=index % 200)
    train, val = (build_classified(config(tmp_path, "flat"), split, 1000) for split in ("train", "val"))
    assert [int(train[i].label) for i in range(len(train))] == [0, 257]
    assert [int(val[i].label) for i in range(len(val))] == [255, 999]
    assert len(train.class_names) == 1000 and train.class_names[257] == "n257" and train.class_names[1] == "class 1"
    assert train.fingerprint() != val.fingerprint()


def test_a_flat_folder_with_splits_is_not_halved(tmp_path):
    picture(tmp_path / "train" / "3_x.png")
    picture(tmp_path / "val" / "4_y.png")
    assert int(build_classified(config(tmp_path, "flat"), "val", 10)[0].label) == 4


@pytest.mark.parametrize(
    ("files", "name", "message"),
    [
        ((), "folders", "the data set is not there"),
        (("train/a/1.png", "train/b/1.png", "val/a/1.png"), "folders", "model.num_classes is 3, but"),
        (("train/a/1.png", "train/b/1.png", "train/c/1.png"), "folders", "the data set is not there"),
        ((), "flat", "the data set is not there"),
        (("picture.png",), "flat", "has no class"),
        (("7_beyond.png",), "flat", "has no class"),
    ],
)
def test_what_is_missing_is_said(tmp_path, files, name, message):
    for file in files:
        picture(tmp_path / "root" / file)
    with pytest.raises(UserError, match=message):
        build_classified(config(tmp_path / "root", name), "val", 3)


@pytest.mark.parametrize("size", [(40, 60), (60, 40), (8, 8), (16, 90)])
def test_the_crop_is_from_the_centre_whatever_the_size(size):
    image = np.zeros((*size, 3), np.uint8)
    image[size[0] // 2 - 1 : size[0] // 2 + 1, size[1] // 2 - 1 : size[1] // 2 + 1] = 255
    crop = centre_crop(image, 18, (16, 16))
    assert crop.shape == (16, 16, 3)
    ys, xs = np.nonzero(crop[..., 0])
    assert abs(ys.mean() - 7.5) < 1 and abs(xs.mean() - 7.5) < 1


SOURCE = """
import numpy as np


class Data(list):
    class_names = [str(index) for index in range(600)]


IMAGE = np.zeros((16, 24, 3), np.uint8)


def fine():
    return Data([(IMAGE, 257), (IMAGE, None), (IMAGE, np.int64(599))])


def map():
    return Data([(IMAGE, np.zeros((16, 24), np.int64))])


def beyond():
    return Data([(IMAGE, 600)])
"""


def test_custom_data_give_a_class_for_each_image(tmp_path):
    (tmp_path / "mine.py").write_text(SOURCE, encoding="utf-8")

    def found(function):
        return build_classified(config(None, "custom", factory=f"{tmp_path}/mine.py:{function}"), "train", 600)

    assert [int(found("fine")[index].label) for index in range(3)] == [257, NO_CLASS, 599]
    for function, why in (("map", "not one whole number"), ("beyond", "class 600 is neither 0 to 599 nor -1")):
        with pytest.raises(UserError) as error:
            found(function)[0]
        assert why in error.value.why


def test_segmentation_refuses_more_than_255_classes(tmp_path):
    with pytest.raises(UserError, match="num_classes=256") as error:
        load_config(CONFIG, ["model.num_classes=256"])
    assert "segmentation has at most 255 classes" in error.value.why
    (tmp_path / "mine.py").write_text(SOURCE, encoding="utf-8")
    from qat.data import build_dataset

    with pytest.raises(UserError) as error:
        build_dataset(config(None, "custom", factory=f"{tmp_path}/mine.py:map"), "train")[0]
    assert "600 classes are more than 255" in error.value.why


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        (["task=classification"], "not pidnet_s"),
        (["model.name=resnet18"], "not resnet18"),
        (["data.name=flat"], "data.name flat has no labels for `task: segmentation`"),
        (["task=classification", "model.name=resnet18"], "data.name streets has no labels"),
    ],
)
def test_networks_and_data_of_another_task_are_refused(overrides, why):
    with pytest.raises(UserError) as error:
        load_config(CONFIG, overrides)
    assert why in error.value.why

"""The user's own data set, through the config and through the whole QAT pipeline."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from core.config import DataConfig, load_config, section_dict
from core.errors import EXIT_USER_ERROR, UserError
from core.files.paths import RunPaths
from qat.__main__ import main
from qat.data import IGNORE, build_dataset
from qat.pipeline import run as pipeline
from tests.small_line import CONFIG

ROOT = Path(__file__).parents[4]
EXAMPLE = f"{ROOT / 'examples' / 'my_data.py'}:pairs"
SOURCE = """
import numpy as np

IMAGE, LABEL = np.zeros((16, 24, 3), np.uint8), np.ones((16, 24), np.int64)


class Data(list):
    class_names = ("a", "b")


def fine():
    return Data([(IMAGE, LABEL), (IMAGE, None), (IMAGE, 1)])


def float_image(root, split):
    return Data([(IMAGE / 255, LABEL)])


def small_label(**anything):
    assert set(anything) == {"root", "split"}
    return Data([(IMAGE, LABEL[1:])])


def strange_class(split):
    return Data([(IMAGE, 2 * LABEL)])


def no_pair():
    return Data([IMAGE])


def a_list():
    return [1, 2]


def wants_more(width):
    return Data()


def empty():
    return Data()


class Described(Data):
    colors = ((1, 2, 3), (4, 5, 6))

    def fingerprint(self):
        return "mine"


def described():
    return Described([(IMAGE, LABEL)])
"""


@pytest.fixture
def config(tmp_path):
    (tmp_path / "mine.py").write_text(SOURCE, encoding="utf-8")

    def of(function, **settings):
        settings = {"height_px": 16, "width_px": 24, **settings}
        return DataConfig(name="custom", factory=f"{tmp_path}/mine.py:{function}", **settings)

    return of


def test_samples_are_brought_to_the_size_and_missing_masks_are_ignored(config):
    found = build_dataset(config("fine", height_px=8, width_px=12), "train")
    assert len(found) == 3
    assert found[0].image.shape == (8, 12, 3) and (found[0].label == 1).all() and found[0].label.dtype == np.uint8
    assert (found[1].label == IGNORE).all()
    assert (found[2].label == 1).all() and found[2].label.shape == (8, 12)
    assert found.class_names == ("a", "b")
    assert len(set(found.colors)) == 2


@pytest.mark.parametrize(
    ("function", "why"),
    [
        ("float_image", "the image is float64 (16, 24, 3), not uint8"),
        ("small_label", "the label map is int64 (15, 24), the image (16, 24)"),
        ("strange_class", "labels [2] are neither classes 0 to 1 nor 255"),
        ("no_pair", "it is ndarray, not a pair"),
        ("a_list", "it has no class_names"),
        ("wants_more", "'width'"),
        ("absent", "has no function absent"),
    ],
)
def test_what_cannot_be_used_is_said_with_the_reason(config, function, why):
    with pytest.raises(UserError) as error:
        build_dataset(config(function), "train")[0]
    assert why in error.value.why
    assert error.value.what.startswith("data.factory: ")


def test_an_empty_split_is_refused(config):
    with pytest.raises(UserError, match="no samples for split val"):
        build_dataset(config("empty"), "val")


def test_fingerprint_is_the_user_s_or_of_file_and_folder(config, tmp_path):
    assert build_dataset(config("described"), "train").colors == ((1, 2, 3), (4, 5, 6))
    (tmp_path / "data").mkdir()

    def prints(function):
        return build_dataset(config(function, root=tmp_path / "data"), "train").fingerprint()

    mine, before = prints("described"), prints("fine")
    assert before == prints("fine")
    (tmp_path / "data" / "a.png").write_bytes(b"1")
    assert prints("fine") != before and prints("described") == mine
    longer = prints("fine")
    (tmp_path / "mine.py").write_text(SOURCE + "\n# edited\n", encoding="utf-8")
    assert prints("fine") != longer


def test_factory_goes_with_custom_only_and_leaves_other_runs_as_they_were():
    for settings in ({"name": "custom"}, {"factory": "a.py:b"}):
        with pytest.raises(ValidationError, match="factory"):
            DataConfig(height_px=8, width_px=8, **settings)
    assert "factory" not in section_dict(DataConfig(height_px=8, width_px=8))
    own = DataConfig(height_px=8, width_px=8, name="custom", factory="a.py:b")
    assert section_dict(own)["factory"] == "a.py:b"


SMALL = [
    "model.name=custom",
    "model.num_classes=3",
    "data.name=custom",
    "data.root=data",
    "data.height_px=32",
    "data.width_px=48",
    "train.batch_size=2",
    "train.crop_height_px=32",
    "train.crop_width_px=48",
    "qat.epochs=1",
    "qat.batch_size=2",
]


def write_example(root):
    generator = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 2)):
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True)
        for index in range(count):
            label = np.kron(generator.integers(0, 3, (4, 6)), np.ones((10, 10))).astype(np.uint8)
            label[:3] = IGNORE
            cv2.imwrite(str(root / split / "masks" / f"{index}.png"), label)
            cv2.imwrite(str(root / split / "images" / f"{index}.png"), np.repeat(60 * label[..., None], 3, 2))


def test_examples_my_data_and_my_model_through_the_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_example(tmp_path / "data")
    own = [
        *SMALL,
        "run=mine",
        f"model.factory={ROOT / 'examples' / 'my_model.py'}:build",
        f"data.factory={EXAMPLE}",
        "train.epochs=1",
    ]
    pipeline.ensure(load_config(CONFIG, own))
    paths = RunPaths("mine")
    simulated = json.loads(paths.simulated_score.read_text())["simulated"]
    assert simulated["per_class"].keys() == {"ground", "obstacle", "sky"} and simulated["images"] == 2
    assert json.loads(paths.classes.read_text())
    words = [word for override in [*own, "data.root=elsewhere"] for word in ("--set", override)]
    monkeypatch.setattr("sys.argv", ["qat", "run", "--config", str(CONFIG), *words])
    assert main() == EXIT_USER_ERROR
    assert "no samples for split train" in capsys.readouterr().err


def test_examples_my_classifier_through_the_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for split, count in (("train", 6), ("val", 2)):
        for number, name in enumerate(("cyan", "dark", "red")):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            color = [(200, 200, 20), (20, 20, 20), (20, 20, 200)][number]  # as OpenCV writes: BGR
            for index in range(count):
                noise = np.random.default_rng(index).integers(0, 40, (40, 60, 3))
                cv2.imwrite(str(tmp_path / "data" / split / name / f"{index}.png"), (noise + color).astype(np.uint8))
    own = ["run=images", "task=classification", "train.epochs=4", "data.name=folders"]
    own += [f"model.factory={ROOT / 'examples' / 'my_classifier.py'}:build"]
    own += ["train.scale_min=1", "train.scale_max=1", "train.lr=0.02", "train.optimizer=adamw"]
    pipeline.ensure(load_config(CONFIG, [*SMALL, *own]))
    simulated = json.loads(RunPaths("images").simulated_score.read_text())["simulated"]
    assert simulated["per_class"].keys() == {"cyan", "dark", "red"} and simulated["images"] == 6
    assert simulated["metric"] == "top-1" and simulated["value"] == pytest.approx(100)

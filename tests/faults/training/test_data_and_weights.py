"""Data sets, label maps and checkpoints that a training cannot use, found before it begins or at the first sign."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.faults.commands import edit_json, options
from tests.small_line import CONFIG

VOID = 11  # of SegNet's label maps
METRICS = Path("runs/small/metrics.jsonl")
TRAINED = ["model.checkpoint=null", "train.epochs=1", "train.batch_size=2"]


def all_void(folder):
    for path in folder.glob("*.png"):
        cv2.imwrite(str(path), np.full((32, 48), VOID, np.uint8))


@pytest.mark.parametrize("classes", [3, 20])
@pytest.mark.parametrize("overrides", [[], TRAINED], ids=["fine-tuning", "training"])
def test_classes_of_network_and_data_must_agree(qat, tmp_path, classes, overrides):
    net = tmp_path / "other.py"
    net.write_text((tmp_path / "net.py").read_text())
    weights = [] if overrides else [f"model.checkpoint={tmp_path}/other.pt"]
    from tests.nets.residual import ResidualNet

    torch.save(ResidualNet(classes).state_dict(), tmp_path / "other.pt")
    done = qat("run", *overrides, *weights, f"model.num_classes={classes}")
    done.refuses(2, f"model.num_classes is {classes}, but the data set has 11 classes")
    assert not METRICS.exists()


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("overrides", [[], TRAINED], ids=["fine-tuning", "training"])
def test_labels_that_are_all_void(qat, tmp_path, split, overrides):
    all_void(tmp_path / "data" / f"{split}annot")
    qat("run", *overrides).refuses(2, f"none of the pixels of split {split} has a class")
    assert not METRICS.exists()


def test_a_file_that_changed_at_equal_size_is_noticed(qat, tmp_path):
    assert qat("run", "qat.epochs=0").code == 0
    assert "up to date: fp32 weights, fp32 export, qat" in qat("run", "qat.epochs=0").err
    path = tmp_path / "data" / "train" / "train0.bmp"
    image = cv2.imread(str(path.with_suffix(".png")))
    path.with_suffix(".png").write_bytes(cv2.imencode(".bmp", image)[1].tobytes())
    assert "stage 3/4 qat: " in qat("run", "qat.epochs=0").err
    size = path.with_suffix(".png").stat().st_size
    path.with_suffix(".png").write_bytes(cv2.imencode(".bmp", 255 - image)[1].tobytes())
    assert path.with_suffix(".png").stat().st_size == size
    assert "images" in qat("run", "qat.epochs=0").err.split("stage 3/4 qat: ", 1)[1]


def spoiled(state, kind):
    name = next(name for name, value in state.items() if value.ndim == 4)
    value = state[name]
    state[name] = {
        "nan": lambda: torch.full_like(value, torch.nan),
        "infinite": lambda: torch.full_like(value, torch.inf),
        "sparse": lambda: value.to_sparse(),
        "meta": lambda: value.to("meta"),
        "complex": lambda: value.to(torch.complex64),
        "other shape": lambda: value[:1],
    }[kind]()
    return state


@pytest.mark.parametrize("kind", ["nan", "infinite", "sparse", "meta", "complex", "other shape"])
def test_weights_that_are_no_numbers(qat, tmp_path, kind):
    state = torch.load(tmp_path / "given.pt", weights_only=True)
    torch.save(spoiled(state, kind), tmp_path / "given.pt")
    qat("run").refuses(2, "given.pt")
    assert not Path("runs/small/fp32.pt").exists()


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 half of one"])
def test_a_file_that_is_no_checkpoint(qat, tmp_path, content):
    (tmp_path / "given.pt").write_bytes(content)
    qat("run").refuses(2, "given.pt cannot be read as a PyTorch checkpoint")


class Planted:
    """A pickle that makes a file when it is loaded without care."""

    def __reduce__(self):
        return (open, ("planted", "w"))


def test_a_checkpoint_runs_no_code_and_nobody_recommends_it(qat, tmp_path):
    torch.save({"weights": Planted()}, tmp_path / "given.pt")
    done = qat("run")
    done.refuses(2, "given.pt cannot be read as a PyTorch checkpoint")
    assert not (tmp_path / "planted").exists()
    assert "weights_only" not in done.err


@pytest.mark.parametrize(
    "overrides", [["qat.lr=1e6"], [*TRAINED, "train.lr=1e9", "train.epochs=4"]], ids=["fine-tuning", "training"]
)
def test_a_training_that_diverges_stops(qat, overrides):
    qat("run", *overrides).refuses(2, "lower the learning rate")
    assert not Path("runs/small/qat.pt").exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 1}', '{"schema": 1, "stages": {"qat": 3}}'])
def test_a_damaged_record_of_stages_makes_them_run_again(qat, text):
    assert qat("train").code == 0
    Path("runs/small/manifest.json").write_text(text)
    done = qat("train")
    assert done.code == 0 and "stage 1/4 fp32 weights" in done.err
    assert json.loads(Path("runs/small/manifest.json").read_text())["stages"]


def test_an_output_that_was_changed_is_made_again(qat):
    assert qat("train").code == 0
    Path("runs/small/float.onnx").write_bytes(b"damaged")
    assert "float.onnx changed" in qat("train").err
    edit_json(Path("runs/small/manifest.json"), lambda content: content["stages"].pop("fp32 export") and None)
    assert qat("train").code == 0


def test_a_set_option_with_too_many_classes_is_refused(command):
    command("qat.__main__", "run", *options(["model.num_classes=300"], CONFIG)).refuses(2, "at most 255")

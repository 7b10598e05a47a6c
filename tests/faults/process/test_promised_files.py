"""No command ends with exit code 0 when its writer wrote nothing, or when its file is lost afterwards."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest

from tests.faults.commands import files_below
from tests.nets.picture_nets import network, pictures
from tests.small_line import CONFIG, settings

DEPLOY, QAT = "deploy.__main__", "qat.__main__"


def place(exported, _folder):
    return DEPLOY, "place", exported.qdq, "placed.onnx"


def calibrate(exported, folder):
    np.save(folder / "images.npy", np.random.default_rng(0).random((2, 3, 32, 32), np.float32))
    return DEPLOY, "calibrate", exported.fp32, "images.npy", "plan"


def import_cache(_exported, folder):
    step = struct.pack(">f", np.float32(0.02)).hex()
    (folder / "calib.cache").write_text(f"TRT-8601-EntropyCalibration2\nimage: {step}\n", encoding="utf-8")
    return DEPLOY, "import-cache", "calib.cache", network(folder / "net.onnx", outputs=("map",)), "imported"


def lint_fix(exported, _folder):
    return DEPLOY, "lint", exported.qdq, "--fix", "fixed.onnx", "--fail-on", "never"


def quantize(_exported, folder):
    pictures(folder / "data", 6)
    source = network(folder / "net.onnx")
    return DEPLOY, "quantize", source, "--data", "data", "--target", "onnxruntime", "--rounds", "2", "--out", "made"


def run_picture(_exported, _folder):
    return DEPLOY, "run", "engines/openvino-fp32-mask", "photo.png", "-o", "mask.png"


def run_masks(_exported, _folder):
    return DEPLOY, "run", "engines/openvino-fp32-mask", "photo.png", "-o", "mask.png", "--save-masks", "masks"


def run_video(_exported, _folder):
    return DEPLOY, "run", "engines/openvino-fp32-mask", "clip.avi", "-o", "mask.mp4"


def triton(_exported, _folder):
    return DEPLOY, "triton", "engines/onnxruntime-fp32-mask", "repository"


def train(_exported, folder):
    words = ("--config", CONFIG, *(word for item in settings(folder) for word in ("--set", item)))
    return QAT, "train", *words


PROMISES = [place, calibrate, import_cache, lint_fix, quantize, run_picture, run_masks, run_video, triton, train]


def written_by_nothing(monkeypatch):
    """Empty every written file before anyone reads it."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: os.ftruncate(descriptor, 0))


def lost_by_the_disk(monkeypatch):
    """A rename that reports success and does nothing."""
    monkeypatch.setattr(os, "replace", lambda _source, _target: None)
    monkeypatch.setattr(Path, "replace", lambda _self, target: target)


@pytest.mark.parametrize("fault", [written_by_nothing, lost_by_the_disk], ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
@pytest.mark.usefixtures("engines", "picture", "clip")
def test_no_success_without_the_file(command, exported, tmp_path, monkeypatch, promise, fault):
    arguments = promise(exported, tmp_path)
    before = files_below(tmp_path)
    with monkeypatch.context() as patched:
        fault(patched)
        command(*arguments).refuses(3, "cannot be written")
    left = {Path(name).name for name in set(files_below(tmp_path)) - set(before)}
    assert not {name for name in left if not name.startswith(".")} or promise is quantize, left
    assert command(*arguments).code == 0

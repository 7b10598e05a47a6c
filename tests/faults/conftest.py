"""Fixtures for faults: commands in this process, engines, pictures and a small run."""

from __future__ import annotations

import shutil

import cv2
import numpy as np
import pytest

from tests.faults.commands import Outcome, call, options
from tests.small_line import CONFIG, settings

CLASSES = [{"name": f"class {index}", "color": [20 * index, 255 - 20 * index, 7]} for index in range(10)]


@pytest.fixture
def command(capfd, monkeypatch, tmp_path):
    """`command("deploy.__main__", "run", …)` in the test's own folder; returns an `Outcome`."""
    monkeypatch.chdir(tmp_path)

    def run(program, *arguments):
        capfd.readouterr()
        code = call(program, *arguments)
        return Outcome(code, *capfd.readouterr())

    return run


@pytest.fixture
def qat(command, tmp_path):
    """`qat("run", "qat.epochs=0", …)`: a command of `python -m qat` on a small run in the test's own folder."""
    own = settings(tmp_path)

    def run(name, *overrides):
        return command("qat.__main__", name, *options([*own, *overrides], CONFIG))

    return run


@pytest.fixture(scope="session")
def built(exported, tmp_path_factory):
    """Image → mask bundles for OpenVINO and ONNX Runtime; tests copy them with `engines`."""
    from deploy.apply.bake import Normalization, bake
    from deploy.bundle.types import BuildOptions
    from deploy.targets import get_backend

    root = tmp_path_factory.mktemp("built")
    meaning = {"kind": "mask", "input": {"height_px": 32, "width_px": 32}, "classes": CLASSES}
    for name in ("openvino", "onnxruntime"):
        baked = root / f"{name}.onnx"
        bake(exported.fp32, baked, Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), "bands")
        get_backend(name).build(baked, root / "engines" / f"{name}-fp32-mask", BuildOptions("fp32", meaning=meaning))
    return root / "engines"


@pytest.fixture
def engines(built, tmp_path):
    """A copy of the bundles that a test may spoil."""
    return shutil.copytree(built, tmp_path / "engines")


@pytest.fixture
def picture(tmp_path):
    """A PNG file of 48×64."""
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8))
    return path


@pytest.fixture
def clip(tmp_path):
    """Motion JPEG of 50 noisy frames, 48×64: its frames lie one after the other, and the count is in its head."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (64, 48))
    for seed in range(50):
        writer.write(np.random.default_rng(seed).integers(0, 256, (48, 64, 3), np.uint8))
    writer.release()
    return path

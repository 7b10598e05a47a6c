"""`deploy build`, `place` and `inspect`: exit code 0 only with the promised files."""

from __future__ import annotations

import json
import os

import pytest

from deploy.targets import get_backend
from deploy.targets.base import Unavailable
from tests.faults.commands import files_below, options
from tests.small_line import CONFIG, settings

SMALL = ["qat.epochs=0", "deploy.backends=[openvino]"]


@pytest.fixture
def build(qat, command, tmp_path):
    """`build(…)` on a run whose QAT stage is done."""
    assert qat("run", *SMALL).code == 0
    own = settings(tmp_path)
    return lambda *more: command("deploy.__main__", "build", *options([*own, *SMALL, *more], CONFIG))


def test_a_failed_engine_ends_with_1_and_an_unavailable_one_does_not(build, tmp_path, monkeypatch):
    backend = type(get_backend("openvino"))
    whole, available = backend.build, backend.available

    def failing(self, onnx, out, options):
        if out.name == "openvino-fp32":
            raise RuntimeError("no kernel")
        return whole(self, onnx, out, options)

    monkeypatch.setattr(backend, "build", failing)
    done = build()
    assert done.code == 1 and "no kernel" in done.out, done.err
    assert (tmp_path / "engines" / "small" / "openvino-int8" / "manifest.json").is_file()
    monkeypatch.setattr(
        backend,
        "available",
        lambda self, name: Unavailable("not here") if name == "fp32" else available(self, name),
    )
    assert build().code == 0
    monkeypatch.setattr(backend, "available", lambda self, name: Unavailable("not here"))
    assert build().code == 3


def test_a_failed_image_to_mask_engine_ends_with_1(build, monkeypatch):
    backend = type(get_backend("openvino"))
    whole = backend.build

    def failing(self, onnx, out, options):
        if out.name.endswith("-mask"):
            raise RuntimeError("no kernel")
        return whole(self, onnx, out, options)

    monkeypatch.setattr(backend, "build", failing)
    done = build()
    assert done.code == 1 and "image → mask" in done.out, done.out


def test_more_threads_than_cpus_are_refused(build, tmp_path):
    build("bench.threads=100000").refuses(2, "bench.threads: 100000 threads are too many")
    assert not (tmp_path / "engines").exists()


def test_no_backends_are_refused(command, tmp_path):
    done = command("deploy.__main__", "build", *options(["deploy.backends=[]"], CONFIG))
    done.refuses(2, "deploy.backends must have at least 1 items")


def test_place_onto_a_folder_leaves_it(exported, command, tmp_path):
    (tmp_path / "placed.onnx").mkdir()
    done = command("deploy.__main__", "place", exported.qdq, "placed.onnx")
    done.refuses(2, "placed.onnx cannot be written", "it is a folder")
    assert list(tmp_path.iterdir()) == [tmp_path / "placed.onnx"]


def test_place_on_a_full_disk_leaves_the_previous_graph(exported, command, tmp_path, monkeypatch):
    (tmp_path / "placed.onnx").write_bytes(b"previous")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    done = command("deploy.__main__", "place", exported.qdq, "placed.onnx")
    done.refuses(3, "placed.onnx cannot be written", "No space left on device")
    assert files_below(tmp_path) == {"placed.onnx": b"previous"}


@pytest.mark.parametrize("layers", [[], [{"Name": "a", "LayerType": "Reformat", "Inputs": [], "Outputs": []}]])
def test_a_list_without_convolutions_passes_no_limit(command, tmp_path, layers):
    (tmp_path / "layers.json").write_text(json.dumps({"Layers": layers}))
    done = command("deploy.__main__", "inspect", "layers.json", "--fail-under", "99")
    assert done.code in (1, 2) and "Traceback" not in done.err
    assert "error: " in done.err

"""The timing cache: read by the next build, replaced whole, and only by a build that succeeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.bundle.types import BuildOptions
from deploy.hardware.cuda_driver import Driver, Gpu
from deploy.targets import get_backend
from deploy.targets.tensorrt import backend as trt_backend
from deploy.targets.tensorrt.timing_cache import borrowed, timing_cache_beside
from deploy.targets.tensorrt.vendor import Vendor


def test_name_tells_version_and_gpu():
    path = timing_cache_beside(Path("engines/run/tensorrt-int8"), "tensorrt 10.9.0.34", "NVIDIA GeForce RTX 4090")
    assert path == Path("engines/run/timing-tensorrt-10.9.0.34-NVIDIA-GeForce-RTX-4090.cache")


def test_builder_gets_the_old_and_leaves_the_new(tmp_path):
    cache, copy = tmp_path / "cache", tmp_path / "copy"
    with borrowed(cache, copy):
        assert not copy.exists()
        copy.write_bytes(b"first")
    with borrowed(cache, copy):
        assert copy.read_bytes() == b"first"
        copy.write_bytes(b"second")
        assert cache.read_bytes() == b"first"
    assert cache.read_bytes() == b"second"


def test_failed_build_leaves_the_old_one(tmp_path):
    cache, copy = tmp_path / "cache", tmp_path / "copy"
    cache.write_bytes(b"first")
    with pytest.raises(RuntimeError, match="builder"), borrowed(cache, copy):
        copy.write_bytes(b"half")
        raise RuntimeError("builder")
    assert cache.read_bytes() == b"first"


@pytest.fixture
def requests(monkeypatch, tmp_path):
    """Builds without a builder: records each child's request, and lets the cache grow by a byte."""
    found = []

    def run_in_child(module, request, folder):
        found.append(request)
        (folder / "model.engine").write_bytes(b"engine")
        (folder / "build.log").write_bytes(b"")
        cache = folder / "timing.cache"
        if request["timing_cache"]:
            cache.write_bytes((cache.read_bytes() if cache.exists() else b"") + b"+")

    monkeypatch.setattr(trt_backend, "run_in_child", run_in_child)
    monkeypatch.setattr(trt_backend, "look", lambda: Driver((Gpu("NVIDIA L4", 23034, "8.9"),)))
    monkeypatch.setattr(Vendor, "version", lambda self: f"{self.package} 10.9.0")
    return found


def build(tmp_path, engine, **trt):
    onnx = tmp_path / "model.onnx"
    onnx.touch()
    get_backend(engine.split("-")[0]).build(onnx, tmp_path / "engines" / engine, BuildOptions("fp32", tensorrt=trt))
    return {path.name: path.read_bytes() for path in (tmp_path / "engines").glob("*.cache")}


def test_engines_of_a_run_share_it(requests, tmp_path):
    build(tmp_path, "tensorrt-fp32")
    assert build(tmp_path, "tensorrt-int8") == {"timing-tensorrt-10.9.0-NVIDIA-L4.cache": b"++"}


@pytest.mark.parametrize(("package", "wanted"), [("tensorrt", False), ("tensorrt_rtx", True)])
def test_neither_rtx_nor_a_run_that_wants_none_has_one(requests, tmp_path, package, wanted):
    assert build(tmp_path, f"{package}-fp32", timing_cache=wanted) == {}
    assert [request["timing_cache"] for request in requests] == [False]

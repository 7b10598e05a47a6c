"""Every backend at every precision, built once from the residual network."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from core.backends import BACKEND_NAMES
from deploy.bundle.types import BuildOptions, Bundle, Precision
from deploy.targets import get_backend
from deploy.targets.base import Backend
from deploy.targets.tensorrt.session import trt_session

COMBINATIONS = [(name, precision) for name in BACKEND_NAMES for precision in get_backend(name).precisions]


@dataclass(frozen=True)
class Built:
    """A backend, the bundle it built, and the ONNX that the bundle was built from."""

    backend: Backend
    precision: Precision
    bundle: Bundle
    source: Path

    def build(self, onnx: Path, out: Path) -> Bundle:
        """Build another bundle with the same backend and precision."""
        return self.backend.build(onnx, out, BuildOptions(self.precision))


@pytest.fixture(scope="session", params=COMBINATIONS, ids="-".join)
def built(request, exported, tmp_path_factory) -> Built:
    """One backend at one precision; skipped with the backend's own reason where it cannot be built."""
    name, precision = request.param
    backend = get_backend(name)
    missing = backend.available(precision)
    if missing is not None:
        pytest.skip(f"{name}-{precision}: {missing}")
    source = exported.source(precision, backend.target)
    out = tmp_path_factory.mktemp("engines") / f"{name}-{precision}"
    return Built(backend, precision, backend.build(source, out, BuildOptions(precision)), source)


@pytest.fixture
def runnable(built) -> Built:
    """`built`, where its engine can be opened too."""
    missing = built.backend.runnable(built.precision)
    if missing is not None:
        pytest.skip(f"{built.backend.name}-{built.precision}: {missing}")
    return built


@pytest.fixture
def no_loading(monkeypatch) -> Callable[[Backend], list[str]]:
    """Replace a backend's engine loader by one that only records its calls."""

    def forbid(backend: Backend) -> list[str]:
        calls: list[str] = []
        target = {
            "openvino": "openvino.Core",
            "onnxruntime": "onnxruntime.InferenceSession",
            "tensorrt": "deploy.targets.tensorrt.backend.trt_session",
            "tensorrt_rtx": "deploy.targets.tensorrt.backend.trt_session",
        }[backend.name]

        def record(*args: object, **kwargs: object) -> None:
            calls.append(target)
            raise AssertionError(f"{target} was called")

        monkeypatch.setattr(target, record)
        return calls

    return forbid


@pytest.fixture
def opened(monkeypatch):
    """Return a function that opens a TensorRT session on a `trt_doubles.Machine`."""

    @contextmanager
    def open_on(machine, **options):
        for name, module in (
            ("pycuda", ModuleType("pycuda")),
            ("pycuda.driver", machine.cuda),
            ("cuda", ModuleType("cuda")),
            ("cuda.bindings", ModuleType("cuda.bindings")),
            ("cuda.bindings.driver", machine.driver),
        ):
            monkeypatch.setitem(sys.modules, name, module)
        for package, module in (("pycuda", machine.cuda), ("cuda.bindings", machine.driver)):
            monkeypatch.setattr(sys.modules[package], "driver", module, raising=False)
        with trt_session(machine.trt, "logger", b"plan", **options) as session:
            yield session

    return open_on

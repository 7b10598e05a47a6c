"""TensorRT's behaviour beyond the contract: it builds where it cannot run, and says why."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext

import onnx
import pytest
from onnx import TensorProto, helper

from core.errors import UserError
from deploy.bundle.store import write_bundle
from deploy.bundle.types import BuildOptions
from deploy.hardware.cuda_driver import Driver, Gpu
from deploy.targets import get_backend, packages
from deploy.targets.tensorrt import backend as trt_backend
from deploy.targets.tensorrt.backend import TRTBackend
from deploy.targets.tensorrt.vendor import Vendor
from tests.unit.deploy.hardware.cuda_doubles import install

TENSORRT, RTX = get_backend("tensorrt"), get_backend("tensorrt_rtx")


@pytest.fixture(params=[TENSORRT, RTX], ids=lambda backend: backend.name)
def backend(request):
    missing = request.param.available("int8")
    if missing is not None:
        pytest.skip(f"{missing}")
    return request.param


@pytest.fixture
def no_gpu(monkeypatch):
    install(monkeypatch, None)


@pytest.fixture
def all_packages(monkeypatch):
    monkeypatch.setattr(trt_backend, "missing_package", lambda name: None)


def test_without_a_gpu_rtx_builds_but_says_why_it_does_not_run(all_packages, no_gpu):
    assert RTX.available("int8") is None
    missing = RTX.runnable("int8")
    assert missing is not None
    assert "no NVIDIA driver" in missing.why
    assert missing.fix


def test_without_a_gpu_full_tensorrt_cannot_even_build(all_packages, no_gpu):
    missing = TENSORRT.available("int8")
    assert missing is not None
    assert "TensorRT builds on the GPU it builds for: no NVIDIA driver" in missing.why
    assert TENSORRT.runnable("int8") == missing


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt_rtx"])
def test_each_asks_for_its_own_package(monkeypatch, no_gpu, name):
    monkeypatch.setattr(packages.util, "find_spec", lambda package: None if package == name else object())
    missing = get_backend(name).available("fp32")
    assert str(missing) == f"the Python package {name} is not installed; fix: pip install {name}"
    other = {"tensorrt": RTX, "tensorrt_rtx": TENSORRT}[name]
    assert name not in str(other.available("fp32")).split()


def test_refused_graph_says_which_operator(backend, tmp_path):
    value = helper.make_tensor_value_info
    node = helper.make_node("NoSuchOperator", ["x"], ["y"], name="odd", domain="com.example")
    graph = helper.make_graph(
        [node], "g", [value("x", TensorProto.FLOAT, [1, 4])], [value("y", TensorProto.FLOAT, [1, 4])]
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.example", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "odd.onnx")
    with pytest.raises(UserError, match="NoSuchOperator") as caught:
        backend.build(tmp_path / "odd.onnx", tmp_path / "engine", BuildOptions("fp32"))
    assert "odd.onnx" in caught.value.what
    assert "NoSuchOperator" in caught.value.why
    assert not (tmp_path / "engine").exists()


def test_building_keeps_the_log_off_the_terminal(backend, exported, tmp_path, capfd):
    bundle = backend.build(exported.placed, tmp_path / "engine", BuildOptions("int8"))
    captured = capfd.readouterr()
    assert "LayerType" not in captured.out + captured.err
    assert "image_QuantizeLinear" in backend.layers(bundle)[0].origin


class Older(TRTBackend):
    """TensorRT of any version, and its GPU."""

    def __init__(self, version, gpu=None):
        super().__init__(TENSORRT.vendor)
        self._version, self._gpu = version, gpu

    def version(self):
        """The given version."""
        return self._version

    def device(self, precision):
        """The given GPU, or none."""
        return {"gpu": self._gpu and {"name": self._gpu.name, "compute_capability": self._gpu.compute_capability}}


A10, A30 = Gpu("NVIDIA A10", 24_000, "8.6"), Gpu("NVIDIA A30", 24_000, "8.0")
A40 = Gpu("NVIDIA A40", 48_000, "8.6")


@pytest.mark.parametrize(
    ("compatible", "here", "opens"),
    [
        ("none", [A10], True),
        ("none", [A40], False),
        ("same_compute_capability", [A40], True),
        ("same_compute_capability", [A30], False),
        ("ampere_plus", [A30], True),
        ("none", [], True),
    ],
)
def test_engine_of_another_gpu_is_refused(monkeypatch, tmp_path, compatible, here, opens):
    (tmp_path / "m.onnx").touch()
    options = BuildOptions("fp32", tensorrt={"hardware_compatibility": compatible})

    def fill(folder):
        for name in TRTBackend.files:
            (folder / name).write_bytes(b"plan")
        return {}

    bundle = write_bundle(tmp_path / "engine", Older("tensorrt 10.9.0", A10), options, tmp_path / "m.onnx", fill)
    monkeypatch.setattr(trt_backend, "look", lambda: Driver(tuple(here)))
    monkeypatch.setattr(trt_backend, "trt_session", lambda *_, **__: nullcontext("session"))
    for method in ("module", "logger"):
        monkeypatch.setattr(Vendor, method, lambda self: None)
    monkeypatch.setattr(Vendor, "version", lambda self: "tensorrt 10.9.0")
    refused = nullcontext() if opens else pytest.raises(UserError, match=r"built on NVIDIA A10 .* have NVIDIA A")
    with refused, TENSORRT.open(bundle) as session:
        assert session == "session"


def test_rtx_engines_are_bound_to_no_gpu_that_is_here(monkeypatch):
    monkeypatch.setattr(trt_backend, "look", lambda: Driver((A10, A30)))
    assert RTX.device("int8") == {"gpu": None}
    assert TENSORRT.device("int8") == {"gpu": {"name": "NVIDIA A10", "compute_capability": "8.6"}}


@pytest.mark.parametrize(
    ("built", "own", "compatible", "opens"),
    [
        ("tensorrt 10.9.0.34", "tensorrt 10.13.2", True, True),
        ("tensorrt 10.9.0.34", "tensorrt 11.0.0.114", True, True),
        ("tensorrt 10.13.2", "tensorrt 10.9.0.34", True, False),
        ("tensorrt 10.9.0", "tensorrt_rtx 11.0", True, False),
        ("tensorrt 10.9.0.34", "tensorrt 10.13.2", False, False),
    ],
)
def test_version_compatible_engine_opens_with_later_versions(monkeypatch, tmp_path, built, own, compatible, opens):
    onnx = tmp_path / "m.onnx"
    onnx.touch()

    def fill(folder):
        for name in TRTBackend.files:
            (folder / name).write_bytes(b"plan")
        return {}

    options = BuildOptions("fp32", tensorrt={"version_compatible": compatible})
    bundle = write_bundle(tmp_path / "engine", Older(built), options, onnx, fill)
    opened = []

    @contextmanager
    def session(trt, logger, engine, ready, **wanted):
        opened.append((engine, wanted))
        yield None

    monkeypatch.setattr(trt_backend, "trt_session", session)
    for method in ("module", "logger"):
        monkeypatch.setattr(Vendor, method, lambda self: None)
    monkeypatch.setattr(Vendor, "version", lambda self: own)
    backend = get_backend(own.split(" ")[0])
    with nullcontext() if opens else pytest.raises(UserError, match="built with"), backend.open(bundle):
        pass
    assert opened == ([(b"plan", {"cuda_graph": False, "host_code": True})] if opens else [])

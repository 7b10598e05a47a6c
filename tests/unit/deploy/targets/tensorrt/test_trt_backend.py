"""What TensorRT does beyond the contract: it builds where it cannot run, and says why."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import onnx
import pytest
from onnx import TensorProto, helper

from core.errors import UserError
from deploy.bundle.store import write_bundle
from deploy.hardware.cuda_driver import Driver, Gpu
from deploy.targets.base import BuildOptions
from deploy.targets.tensorrt import backend as trt_backend
from deploy.targets.tensorrt.backend import TRTBackend
from tests.unit.deploy.hardware.cuda_doubles import install


@pytest.fixture
def backend():
    missing = TRTBackend().available("int8")
    if missing is not None:
        pytest.skip(f"{missing}")
    return TRTBackend()


@pytest.fixture
def no_gpu(monkeypatch):
    install(monkeypatch, None)


def test_without_a_gpu_rtx_builds_but_says_why_it_does_not_run(monkeypatch, no_gpu):
    monkeypatch.setattr(trt_backend, "vendor_package", lambda: "tensorrt_rtx")
    monkeypatch.setattr(trt_backend, "missing_package", lambda name: None)
    assert TRTBackend().available("int8") is None
    missing = TRTBackend().runnable("int8")
    assert missing is not None
    assert "no NVIDIA driver" in missing.why
    assert missing.fix


def test_without_a_gpu_full_tensorrt_cannot_even_build(monkeypatch, no_gpu):
    monkeypatch.setattr(trt_backend, "vendor_package", lambda: "tensorrt")
    missing = TRTBackend().available("int8")
    assert missing is not None
    assert "builds on the GPU it builds for: no NVIDIA driver" in missing.why
    assert TRTBackend().runnable("int8") == missing


def test_without_either_package_the_fix_is_the_one_that_needs_no_gpu(monkeypatch):
    monkeypatch.setattr(trt_backend, "vendor_package", lambda: None)
    missing = TRTBackend().available("fp32")
    assert missing is not None
    assert missing.fix == "pip install tensorrt-rtx"


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
        self._version, self._gpu = version, gpu

    def version(self):
        """As told."""
        return self._version

    def device(self, precision):
        """As told."""
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
    options = BuildOptions("fp32", trt={"hardware_compatibility": compatible})

    def fill(folder):
        (folder / trt_backend.ENGINE).write_bytes(b"plan")
        return {}

    bundle = write_bundle(tmp_path / "engine", Older("tensorrt 10.9.0", A10), options, tmp_path / "m.onnx", fill)
    monkeypatch.setattr(trt_backend, "look", lambda: Driver(tuple(here)))
    monkeypatch.setattr(trt_backend, "trt_session", lambda *_, **__: nullcontext("session"))
    monkeypatch.setattr(trt_backend, "polygraphy_trt", lambda: SimpleNamespace(get_trt_logger=lambda: None))
    monkeypatch.setattr(trt_backend, "vendor_version", lambda: "tensorrt 10.9.0")
    refused = nullcontext() if opens else pytest.raises(UserError, match=r"built on NVIDIA A10 .* have NVIDIA A")
    with refused, TRTBackend().open(bundle) as session:
        assert session == "session"


def test_rtx_engines_are_bound_to_no_gpu_that_is_here(monkeypatch):
    monkeypatch.setattr(trt_backend, "look", lambda: Driver((A10, A30)))
    monkeypatch.setattr(trt_backend, "vendor_package", lambda: "tensorrt_rtx")
    assert TRTBackend().device("int8") == {"gpu": None}
    monkeypatch.setattr(trt_backend, "vendor_package", lambda: "tensorrt")
    assert TRTBackend().device("int8") == {"gpu": {"name": "NVIDIA A10", "compute_capability": "8.6"}}


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
        (folder / trt_backend.ENGINE).write_bytes(b"plan")
        return {}

    options = BuildOptions("fp32", trt={"version_compatible": compatible})
    bundle = write_bundle(tmp_path / "engine", Older(built), options, onnx, fill)
    opened = []

    @contextmanager
    def session(trt, logger, engine, **wanted):
        opened.append((engine, wanted))
        yield None

    monkeypatch.setattr(trt_backend, "trt_session", session)
    monkeypatch.setattr(trt_backend, "polygraphy_trt", lambda: SimpleNamespace(get_trt_logger=lambda: None))
    monkeypatch.setattr(trt_backend, "vendor_version", lambda: own)
    with nullcontext() if opens else pytest.raises(UserError, match="built with"), TRTBackend().open(bundle):
        pass
    assert opened == ([(b"plan", {"cuda_graph": False, "host_code": True})] if opens else [])

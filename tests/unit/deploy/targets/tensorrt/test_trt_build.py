"""Options that each TensorRT's builder gets, recorded by a double of Polygraphy with the real names."""

from __future__ import annotations

import inspect
from enum import Enum
from importlib import util
from types import SimpleNamespace

import pytest

from core.errors import UserError
from deploy.bundle.types import BuildOptions
from deploy.targets import get_backend
from deploy.targets.tensorrt import backend as trt_backend
from deploy.targets.tensorrt import build as trt_build
from deploy.targets.tensorrt import vendor as vendor_module
from deploy.targets.tensorrt.build import build_engine, polygraphy_trt
from deploy.targets.tensorrt.vendor import Vendor

if util.find_spec("polygraphy") is None:
    pytest.skip("polygraphy is not installed", allow_module_level=True)
polygraphy = polygraphy_trt("tensorrt_rtx")  # chooses its TensorRT at the first import

TRT = SimpleNamespace(
    MemoryPoolType=Enum("MemoryPoolType", "WORKSPACE DLA_MANAGED_SRAM"),
    ProfilingVerbosity=Enum("ProfilingVerbosity", "NONE LAYER_NAMES_ONLY DETAILED"),
    BuilderFlag=Enum("BuilderFlag", "TF32 VERSION_COMPATIBLE"),
    HardwareCompatibilityLevel=Enum("HardwareCompatibilityLevel", "NONE AMPERE_PLUS"),
    ComputeCapability=Enum("ComputeCapability", "SM75 SM86"),
)


class Recorder:
    """A double of `polygraphy.backend.trt`; `asked` records the arguments of each of its functions."""

    def __init__(self):
        self.asked = {}
        self.targets = []
        image = SimpleNamespace(name="image", shape=(-1, 3, 8, 8))
        self.network = SimpleNamespace(num_inputs=1, get_input=[image].__getitem__)

    def network_from_onnx_path(self, path, **options):
        self.asked["network"] = {"path": path, **options}
        return ("builder", self.network, "parser")

    def CreateConfig(self, **options):
        self.asked["config"] = options
        return options

    def PostprocessConfig(self, config, func):
        made = SimpleNamespace(num_compute_capabilities=0, set_compute_capability=self._target)
        func("builder", self.network, made)
        return config

    def engine_bytes_from_network(self, network, **options):
        self.asked["build"] = options
        return b"engine"

    def Profile(self):
        return polygraphy.Profile()

    def _target(self, target, index):
        self.targets.append((index, target.name))
        return True


@pytest.fixture
def ask(monkeypatch):
    """`ask(version, options)` builds with that TensorRT and returns the recorder."""

    def build(version, options, timing_cache=None):
        recorder = Recorder()
        package = version.split(" ")[0]
        vendor = get_backend(package).vendor
        monkeypatch.setattr(Vendor, "version", lambda self: version)
        monkeypatch.setattr(vendor_module.util, "find_spec", lambda name: object())
        monkeypatch.setattr(trt_build, "polygraphy_trt", {package: recorder}.__getitem__)
        monkeypatch.setattr("polygraphy.mod.trt_importer.lazy_import_trt", lambda: TRT)
        how = {"package": package, "strongly_typed": vendor.strongly_typed(), "timing_cache": timing_cache}
        assert build_engine("model.onnx", options, lambda line: None, **how) == b"engine"
        return recorder

    return build


def names(function) -> set[str]:
    return set(inspect.signature(function).parameters)


def test_recorder_takes_what_polygraphy_takes(ask):
    trt = {"batch": {"opt": 2, "max": 4}, "version_compatible": True, "hardware_compatibility": "ampere_plus"}
    recorder = ask("tensorrt 8.6.1", BuildOptions("int8", tensorrt={**trt, "optimization_level": 4}))
    arguments = names(polygraphy.CreateConfig.__init__) | names(polygraphy.CreateConfig.__mro__[1].__init__)
    assert set(recorder.asked["config"]) <= arguments
    assert len(recorder.asked["config"]) == 9
    assert set(recorder.asked["network"]) <= names(polygraphy.NetworkFromOnnxPath.__init__)
    assert set(recorder.asked["build"]) <= names(polygraphy.EngineBytesFromNetwork.__init__)
    assert names(polygraphy.PostprocessConfig.__init__) >= {"config", "func"}


@pytest.mark.parametrize(
    ("precision", "fallback", "flags"),
    [
        ("fp32", "fp16", {"int8": False, "fp16": False}),
        ("fp16", "fp16", {"int8": False, "fp16": True}),
        ("int8", "fp16", {"int8": True, "fp16": True}),
        ("int8", "fp32", {"int8": True, "fp16": False}),
    ],
)
def test_precision_is_a_flag_in_8_6_and_in_the_graph_since(ask, precision, fallback, flags):
    options = BuildOptions(precision, fallback_precision=fallback)
    old = ask("tensorrt 8.6.1", options).asked
    assert old["network"]["strongly_typed"] is False
    assert {key: old["config"][key] for key in flags} == flags
    for version in ("tensorrt 10.0.1", "tensorrt 11.1.0", "tensorrt_rtx 1.7.1"):
        new = ask(version, options).asked
        assert new["network"]["strongly_typed"] is True
        assert not set(flags) & set(new["config"])


def test_workspace_and_verbosity_are_always_set(ask):
    config = ask("tensorrt 10.9.0", BuildOptions("fp32", workspace_mib=3)).asked["config"]
    assert config["memory_pool_limits"] == {TRT.MemoryPoolType.WORKSPACE: 3 * 2**20}
    assert config["profiling_verbosity"] is TRT.ProfilingVerbosity.DETAILED


def test_profile_goes_over_the_batch(ask):
    options = BuildOptions("fp32", tensorrt={"batch": {"min": 2, "opt": 3, "max": 5}})
    (profile,) = ask("tensorrt 10.9.0", options).asked["config"]["profiles"]
    shapes = profile["image"]
    assert [tuple(shape) for shape in (shapes.min, shapes.opt, shapes.max)] == [(n, 3, 8, 8) for n in (2, 3, 5)]


def test_timing_cache_is_read_where_there_is_one_and_always_written(ask, tmp_path):
    cache = tmp_path / "timing.cache"
    first = ask("tensorrt 10.9.0", BuildOptions("fp32"), cache).asked
    assert first["config"]["load_timing_cache"] is None
    assert first["build"]["save_timing_cache"] == str(cache)
    cache.write_bytes(b"timed")
    assert ask("tensorrt 10.9.0", BuildOptions("fp32"), cache).asked["config"]["load_timing_cache"] == str(cache)


def test_without_a_timing_cache_none_is_written(ask):
    asked = ask("tensorrt_rtx 1.7.1", BuildOptions("fp32")).asked
    assert asked["config"]["load_timing_cache"] is None
    assert asked["build"]["save_timing_cache"] is None


def test_targets_are_set_behind_polygraphy(ask):
    recorder = ask("tensorrt_rtx 1.7.1", BuildOptions("fp32", tensorrt={"compute_capabilities": ["7.5", "8.6"]}))
    assert recorder.targets == [(0, "SM75"), (1, "SM86")]


def test_an_option_of_the_other_tensorrt_ends_before_a_process_is_started(monkeypatch, tmp_path):
    monkeypatch.setattr(trt_backend, "run_in_child", lambda *_: pytest.fail("started"))
    options = BuildOptions("fp32", tensorrt={"compute_capabilities": ["8.6"]})
    with pytest.raises(UserError, match="only with TensorRT-RTX"):
        get_backend("tensorrt").build(tmp_path / "m.onnx", tmp_path / "engine", options)

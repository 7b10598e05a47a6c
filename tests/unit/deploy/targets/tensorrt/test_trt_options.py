"""`deploy.tensorrt` as builder options and, with TensorRT-RTX installed, in engines that are really built."""

from __future__ import annotations

import gzip
import re
from enum import Enum
from types import SimpleNamespace

import pytest

from core.config.tensorrt_options import BatchConfig, TensorrtConfig
from core.errors import UserError
from deploy.apply.dynamic_batch import with_dynamic_batch
from deploy.bundle.types import BuildOptions
from deploy.targets import get_backend
from deploy.targets.tensorrt.backend import LOG
from deploy.targets.tensorrt.build import polygraphy_trt
from deploy.targets.tensorrt.options import compatibility, profiles, set_targets
from tests.unit.deploy.targets.tensorrt.trt_surface import BUILDER, NEWER, RTX_BUILDER, missing

TENSORRT, RTX = get_backend("tensorrt"), get_backend("tensorrt_rtx")


@pytest.fixture(scope="module")
def rtx():
    """The installed TensorRT-RTX."""
    return pytest.importorskip("tensorrt_rtx", reason="pip install tensorrt-rtx")


@pytest.fixture(scope="module")
def dynamic(exported, tmp_path_factory):
    """The placed residual network with a dynamic batch."""
    target = tmp_path_factory.mktemp("dynamic") / "placed.onnx"
    with_dynamic_batch(exported.source("int8", "tensorrt"), target)
    return target


def log_of(bundle) -> str:
    return gzip.decompress((bundle.dir / LOG).read_bytes()).decode()


def test_installed_rtx_has_every_name(rtx):
    for surface in (BUILDER, NEWER, RTX_BUILDER):
        assert missing(rtx, surface) == []


def test_a_missing_name_would_be_noticed(rtx):
    assert missing(rtx, {"BuilderFlag": ("TF32", "NO_SUCH_FLAG"), "NoSuchClass": ("X",)}) == [
        "BuilderFlag.NO_SUCH_FLAG",
        "NoSuchClass.X",
    ]


def test_defaults_leave_everything_to_the_builder():
    wanted = TensorrtConfig()
    TENSORRT.vendor.refuse(wanted)
    RTX.vendor.refuse(wanted)
    assert compatibility(SimpleNamespace(), wanted) == {}
    assert profiles(None, None, wanted.batch) is None
    set_targets(None, None, wanted.compute_capabilities)


Level = Enum("Level", "NONE AMPERE_PLUS")
TRT_10_0 = SimpleNamespace(BuilderFlag=Enum("BuilderFlag", "TF32 VERSION_COMPATIBLE"), HardwareCompatibilityLevel=Level)
TRT_8_5 = SimpleNamespace(BuilderFlag=Enum("BuilderFlag", "TF32 FP16"))


def test_options_by_the_names_of_the_installed_version():
    wanted = TensorrtConfig(optimization_level=5, version_compatible=True, hardware_compatibility="ampere_plus")
    assert compatibility(TRT_10_0, wanted) == {
        "builder_optimization_level": 5,
        "version_compatible": True,
        "hardware_compatibility_level": Level.AMPERE_PLUS,
    }


@pytest.mark.parametrize(
    ("module", "wanted", "lacking", "known"),
    [
        (TRT_10_0, {"hardware_compatibility": "same_compute_capability"}, "SAME_COMPUTE_CAPABILITY", "AMPERE_PLUS"),
        (TRT_8_5, {"hardware_compatibility": "ampere_plus"}, "AMPERE_PLUS", "nothing"),
        (TRT_8_5, {"version_compatible": True}, "VERSION_COMPATIBLE", "TF32, FP16"),
    ],
)
def test_option_that_a_version_lacks_is_refused_with_what_it_has(module, wanted, lacking, known):
    with pytest.raises(UserError, match=f"{next(iter(wanted))}.*no {lacking}") as caught:
        compatibility(module, TensorrtConfig(**wanted))
    assert known in caught.value.why


@pytest.mark.parametrize(
    ("taking", "refusing", "wanted"),
    [
        (TENSORRT, RTX, {"version_compatible": True}),
        (TENSORRT, RTX, {"hardware_compatibility": "ampere_plus"}),
        (RTX, TENSORRT, {"compute_capabilities": ["8.6"]}),
    ],
)
def test_option_of_the_other_tensorrt_is_refused(taking, refusing, wanted):
    config = TensorrtConfig(**wanted)
    taking.vendor.refuse(config)
    with pytest.raises(UserError, match=f"deploy.tensorrt.{next(iter(wanted))}") as caught:
        refusing.vendor.refuse(config)
    assert caught.value.why
    assert f"leave {refusing.name} out of deploy.backends" in caught.value.fix


def test_targets_reach_the_builder_config_each_once(rtx):
    config = rtx.Builder(rtx.Logger(rtx.Logger.ERROR)).create_builder_config()
    set_targets(rtx, config, ["7.5", "8.6", "7.5", "12.0"])
    assert config.num_compute_capabilities == 3
    assert [config.get_compute_capability(index).name for index in range(3)] == ["SM75", "SM86", "SM120"]


@pytest.mark.parametrize("capability", ["9.0", "10.0", "6.1"])
def test_target_that_rtx_does_not_build_for_is_refused_with_those_it_does(rtx, capability):
    config = rtx.Builder(rtx.Logger(rtx.Logger.ERROR)).create_builder_config()
    with pytest.raises(UserError, match=f"no SM{capability.replace('.', '')}") as caught:
        set_targets(rtx, config, ["8.6", capability])
    assert "SM75, SM80, SM86, SM89, SM120, SM121" in caught.value.why


def test_wrong_target_ends_a_build_and_leaves_nothing(rtx, exported, tmp_path):
    options = BuildOptions("fp32", tensorrt={"compute_capabilities": ["9.0"]})
    with pytest.raises(UserError, match="no SM90"):
        RTX.build(exported.fp32, tmp_path / "engines" / "hopper", options)
    assert list((tmp_path / "engines").iterdir()) == []


def test_engine_for_named_gpus(rtx, exported, tmp_path):
    trt = {"compute_capabilities": ["7.5", "8.9"], "optimization_level": 1}
    bundle = RTX.build(exported.fp32, tmp_path / "engine", BuildOptions("fp32", tensorrt=trt))
    assert bundle.manifest["options"]["tensorrt"] == trt
    assert "Number of target compute capabilities: 2" in log_of(bundle)


def test_profile_covers_every_input():
    backend = SimpleNamespace(Profile=lambda: recorded)
    recorded = SimpleNamespace(added=[], add=lambda *shapes: recorded.added.append(shapes))
    inputs = [SimpleNamespace(name="a", shape=(-1, 3, 8, 8)), SimpleNamespace(name="b", shape=(-1, 2))]
    network = SimpleNamespace(num_inputs=2, get_input=inputs.__getitem__)
    assert profiles(backend, network, BatchConfig(opt=2, max=4)) == [recorded]
    assert recorded.added == [
        ("a", (1, 3, 8, 8), (2, 3, 8, 8), (4, 3, 8, 8)),
        ("b", (1, 2), (2, 2), (4, 2)),
    ]


def test_int8_engine_takes_every_batch_of_its_profile(rtx, dynamic, tmp_path):
    """The builder's log shows the profile of the finished engine."""
    options = BuildOptions("int8", tensorrt={"batch": {"min": 1, "opt": 2, "max": 4}})
    bundle = RTX.build(dynamic, tmp_path / "engine", options)
    (image,) = re.findall(r"Name: image, IOMode: Input, .*", log_of(bundle))
    shapes = re.findall(r"(\w+)Shape: \[(\d+),3,32,32\]", image)
    assert shapes == [("Min", "1"), ("Opt", "2"), ("Max", "4")]
    convolutions = [layer for layer in RTX.layers(bundle) if layer.kind == "Conv"]
    assert {layer.precision for layer in convolutions} == {"int8"}


def test_batch_for_a_graph_that_has_a_fixed_one_is_refused(rtx, exported):
    backend = polygraphy_trt("tensorrt_rtx")
    _, network, _ = backend.network_from_onnx_path(str(exported.fp32), strongly_typed=True)
    with pytest.raises(UserError, match="batch of input image is 1"):
        profiles(backend, network, BatchConfig(opt=2, max=4))

"""TensorRT calibration caches: the documented format, and a Q/DQ graph that quantizes by exactly those ranges."""

import struct

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from core.cli.naming import command
from core.errors import UserError
from deploy.apps.import_cache import import_cache
from deploy.apps.place import Choices
from deploy.importing.calibration_cache import read_calibration_cache
from deploy.plan.plan import read_plan
from tests.faults.commands import call
from tests.nets.picture_nets import network

AMAX = {"image": 2.5, "features": 3.7, "r2": 1.9, "sum": 6.1, "c3": 5.0}


def write(path, amax, header="TRT-8601-EntropyCalibration2"):
    lines = [f"{name}: {struct.pack('>f', np.float32(value) / np.float32(127)).hex()}" for name, value in amax.items()]
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def source(tmp_path):
    return network(tmp_path / "net.onnx", outputs=("map",))


def scales_of(path):
    graph = onnx.load(path).graph
    values = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    return {node.input[0]: values[node.input[1]] for node in graph.node if node.op_type == "QuantizeLinear"}


@pytest.mark.parametrize(
    ("header", "version", "calibrator"),
    [
        ("TRT-8601-EntropyCalibration2", "8601", "EntropyCalibration2"),
        ("TRT-100300-EntropyCalibration2", "100300", "EntropyCalibration2"),
        ("TRT-7103-MinMaxCalibration", "7103", "MinMaxCalibration"),
        ("TRT-8503-EntropyCalibration", "8503", "EntropyCalibration"),
    ],
)
def test_headers_and_bit_patterns(tmp_path, header, version, calibrator):
    names = {"image": 2.5, "(Unnamed Layer* 3) [Convolution]_output": 1.25, "a: b": 3.0}
    found = read_calibration_cache(write(tmp_path / "calib.cache", names, header))
    assert (found.version, found.calibrator) == (version, calibrator)
    assert {name: float(scale.values * np.float32(127)) for name, scale in found.scales.items()} == pytest.approx(names)
    (tmp_path / "one.cache").write_text(f"{header}\nx: 3c010a14\n")  # 0x3c010a14 is the float32 next to 1 / 127
    assert read_calibration_cache(tmp_path / "one.cache").scales["x"].values == pytest.approx(1 / 127, rel=1e-3)


def test_the_graph_quantizes_by_the_cache_s_own_ranges(tmp_path, source):
    cache = write(tmp_path / "calib.cache", AMAX | {"map": 9.0, "gone": 1.0, "/conv/Unnamed": 2.0})
    found = import_cache(cache, source, tmp_path / "out", Choices(target="onnxruntime"))
    plan = read_plan(tmp_path / "out" / "plan.json", tmp_path / "out" / "float.onnx")
    steps = {name: np.float32(value) / np.float32(127) for name, value in AMAX.items()}
    assert {name: np.float32(plan.tensors[name].scale) for name in AMAX} == steps
    assert {plan.tensors[name].origin for name in AMAX} == {"tensorrt-EntropyCalibration2"}
    assert all(len(plan.tensors[name].scale) == len(found.applied.graph.tensors()[f"{name}_quantized"].values)
               for name in ("w1", "w2", "w3"))  # fmt: skip
    assert found.without_counterpart == ("gone", "/conv/Unnamed") and found.unused == ("map",)
    assert not found.without_range
    import_cache(cache, source, tmp_path / "trt", Choices())
    written = scales_of(tmp_path / "trt" / "tensorrt.onnx")
    assert written.keys() >= {"image", "sum"}
    assert {name: np.float32(value) for name, value in written.items()} == {name: steps[name] for name in written}


def test_a_tensor_without_a_range_stays_in_float_and_is_named(tmp_path, source, capsys):
    cache = write(tmp_path / "calib.cache", {name: value for name, value in AMAX.items() if name != "sum"} | {"sum": 0})
    assert call("deploy.__main__", "import-cache", cache, source, tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert "1 tensors have no range in the cache and stay in float: sum" in printed
    assert f"next: {command('lint', str(tmp_path / 'out' / 'tensorrt.onnx'))}" in printed
    assert "sum" not in scales_of(tmp_path / "out" / "tensorrt.onnx")
    assert call("deploy.__main__", "lint", tmp_path / "out" / "tensorrt.onnx") == 0


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "begins with nothing"),
        ("image: 3c010a14\n", "begins with 'image"),
        ("TRT-8601-EntropyCalibration2\nimage 3c010a14\n", "eight hex digits"),
        ("TRT-8601-EntropyCalibration2\nimage: 3c01\n", "eight hex digits"),
        ("TRT-8601-EntropyCalibration2\nimage: 7fc00000\n", "its scale is nan"),
        ("TRT-8601-EntropyCalibration2\nimage: 7f800000\n", "its scale is inf"),
        ("TRT-8601-EntropyCalibration2\nimage: bc010a14\n", "its scale is -"),
        ("TRT-8601-EntropyCalibration2\nimage: 3c010a14\nimage: 3c010a14\n", "listed twice"),
        ("TRT-8601-EntropyCalibration2\nimage: 00000000\n", "holds no ranges"),
    ],
)
def test_damaged_caches(tmp_path, text, word):
    (tmp_path / "calib.cache").write_text(text)
    with pytest.raises(UserError) as caught:
        read_calibration_cache(tmp_path / "calib.cache")
    assert word in str(caught.value) and caught.value.fix


def test_a_cache_of_another_network_and_a_file_that_is_not_there(tmp_path, source):
    with pytest.raises(UserError, match="another network") as caught:
        import_cache(write(tmp_path / "calib.cache", {"x": 1.0}), source, tmp_path / "out", Choices())
    assert "none of its tensors: x" in caught.value.why and not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="cannot be read"):
        read_calibration_cache(tmp_path / "nowhere")

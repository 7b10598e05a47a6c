"""The estimate of an engine's time: by hand, its table of devices, and the command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.studies.roofline_check import rank_correlation
from core.errors import UserError
from deploy.apps.roofline import Device, Throughput, estimate, find_device
from deploy.targets.base import LayerInfo, Tensor

ROOT = Path(__file__).parents[4]
NAMES = ["RTX 4090", "RTX 5090", "L4", "A100", "H100", "Orin"]
# 1 byte in 1 ns, so 1000 bytes in 1 µs; 1 multiply-add in 1 ns for FP16, a half for INT8.
DEVICE = Device(bandwidth_gb_s=1, tops=Throughput(int8=0.004, fp16=0.002, fp32=0.001), launch_us=0.5, source="made up")


def layer(precision: str, kind: str = "Conv", side: int = 10) -> LayerInfo:
    """16 → 16 channels, 1×1."""
    image, weights = Tensor((1, 16, side, side), "int8"), Tensor((16, 16, 1, 1), "int8")
    return LayerInfo(f"{kind} {precision}", kind, precision, inputs=(image,), constants=(weights,), outputs=(image,))


def test_a_layer_takes_the_longer_of_bytes_and_products_and_a_launch():
    layers = [layer("int8"), layer("fp16"), layer("fp32"), layer("int8", "kgen"), layer("int8", "kgen", side=1)]
    found = estimate(layers, "int8", "made up", DEVICE)
    moved, products = (2 * 1600 + 256) / 1e3, 16 * 16 * 100 / 1e3
    assert [each.us - 0.5 for each in found.layers] == pytest.approx(
        [products / 2, products, products * 2, moved, (2 * 16 + 256) / 1e3]
    )
    assert [each.bound for each in found.layers] == ["products", "products", "products", "bytes", "launch"]
    assert found.us == pytest.approx(sum(each.us for each in found.layers))
    assert found.bound_by("products") == 3


def test_an_engine_without_shapes_is_refused():
    with pytest.raises(UserError, match="lists no shapes"):
        estimate([LayerInfo("c", "Conv", "int8")], "int8", "made up", DEVICE)


@pytest.mark.parametrize("name", NAMES)
def test_known_devices(name):
    found, device = find_device(name)
    assert found == name
    assert device.tops.int8 >= 1.9 * device.tops.fp16 > 3 * device.tops.fp32 > 0
    assert device.source


def test_a_device_of_ones_own(tmp_path):
    own = tmp_path / "my.yaml"
    own.write_text(json.dumps({"mine": DEVICE.model_dump()}))
    assert find_device(str(own)) == ("mine", DEVICE)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "not a table of devices"),
        ("a: {bandwidth_gb_s: 1}", "tops is missing"),
        ("{}", "0 devices"),
        ("a: [", "not a table of devices"),
    ],
)
def test_wrong_tables_are_refused(tmp_path, content, message):
    own = tmp_path / "my.yaml"
    own.write_text(content)
    with pytest.raises(UserError) as caught:
        find_device(str(own))
    assert message in f"{caught.value} {caught.value.why}"


def test_unknown_devices_are_refused_with_those_known():
    with pytest.raises(UserError, match="no device 'RTX 4091'") as caught:
        find_device("RTX 4091")
    assert "did you mean RTX 4090?" in caught.value.fix
    with pytest.raises(UserError) as caught:
        find_device("abacus")
    assert all(name in caught.value.fix for name in NAMES)
    with pytest.raises(UserError, match="no file"):
        find_device("absent.yaml")


def test_command_says_that_it_is_an_estimate(tmp_path):
    tensor = {"Dimensions": [1, 16, 8, 8], "Datatype": "Half"}
    weights = {"Type": "Half", "Count": 256}
    listed = {"Name": "c", "LayerType": "Convolution", "Inputs": [tensor], "Outputs": [tensor], "Weights": weights}
    path = tmp_path / "layers.json"
    path.write_text(json.dumps({"Layers": [listed]}))
    command = [sys.executable, "-m", "deploy", "inspect", str(path), "--device", "L4"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "estimate" in told
    assert "Not measured" in told
    assert "L4 as listed" in told
    as_json = json.loads(subprocess.run([*command, "--json"], cwd=ROOT, capture_output=True, check=True).stdout)
    assert "not a measurement" in as_json["estimate"]["label"]
    moved = 2 * 16 * 64 * 2 + 256 * 2
    assert as_json["work"]["bytes_moved"] == moved
    assert as_json["estimate"]["us"]["as listed"] == pytest.approx(0.5 + moved / 300e3, abs=0.01)


def test_rank_correlation():
    assert rank_correlation([1, 2, 3], [10, 20, 90]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert rank_correlation([1, 1, 2, 3], [1, 2, 3, 3]) == pytest.approx(8 / 9)

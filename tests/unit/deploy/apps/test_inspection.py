"""Counts of layers, the reasons joined to them, and the gate."""

import json

import pytest

from core.errors import GateMissed, UserError
from deploy.apps.inspection import ENGINES_CHOICE, _reasons, inspect_bundle, layers_beside, summarize
from deploy.bundle.types import Bundle
from deploy.targets.base import LayerInfo, Tensor


def layer(name: str, kind: str, precision: str, output: str, origin: tuple[str, ...] = ()) -> LayerInfo:
    """A layer that writes one small tensor."""
    return LayerInfo(name, kind, precision, origin=origin, outputs=(Tensor((1, 4, 2, 2), output),))


LAYERS = [
    layer("quantize", "QuantizeLinear", "fp32", "int8"),
    layer("a", "Conv", "int8", "int8", ("/a/Conv", "/layer1/Add")),
    layer("b", "Conv", "int8", "fp32", ("/b/Conv", "/spaddle")),
    layer("c", "Conv", "fp32", "fp32", ("/c/Conv",)),
    layer("d", "Conv", "fp16", "fp16", ("/d/Conv",)),
    layer("__myl_MulMinMaxRounCast_myl0_3", "kgen", "fp32", "int8"),
    layer("__myl_MulAddReluMulCast_myl0_5", "kgen", "fp32", "fp16"),
]


def test_what_layers_amount_to():
    found = summarize(LAYERS, "int8", {"/c/Conv": "small groups: too few channels"})
    assert (found.convolutions, found.int8_percent) == (4, 50.0)
    assert found.conversions == ("quantize", "__myl_MulMinMaxRounCast_myl0_3")
    assert found.fused_adds == ("a",)
    assert found.float_outputs == ("b",)
    assert {conv.name: conv.why for conv in found.float_convolutions} == {
        "c": "small groups: too few channels",
        "d": ENGINES_CHOICE,
    }
    json.dumps(found.to_json())


def test_float_engine_says_that_it_is_one():
    found = summarize(LAYERS[3:4], "fp32", {})
    assert [conv.why for conv in found.float_convolutions] == ["the engine is built for fp32"]


def test_gate_names_what_missed_it():
    found = summarize(LAYERS, "int8", {"/c/Conv": "skipped"})
    found.require(50)
    with pytest.raises(GateMissed, match=r"50\.0 % .* not 95 %") as caught:
        found.require(95)
    assert "c (skipped)" in caught.value.why


def test_reasons_come_from_the_run(tmp_path, monkeypatch):
    (tmp_path / "runs" / "r").mkdir(parents=True)
    skips = {"skips": [{"node": "/c/Conv", "rule": "small_groups", "why": "1 channel"}]}
    (tmp_path / "runs" / "r" / "openvino.placement.json").write_text(json.dumps(skips))
    monkeypatch.setattr("deploy.targets.openvino.backend.OpenVINOBackend.layers", lambda self, bundle: LAYERS[3:4])
    bundle = Bundle(tmp_path / "engines" / "r" / "openvino-int8", "openvino", "int8")
    assert inspect_bundle(bundle).float_convolutions[0].why == "small_groups: 1 channel"


def test_a_float_bias_and_what_is_fused_are_no_reasons(tmp_path):
    skips = [
        {"node": "/c/Conv", "rule": "small-groups", "why": "1 channel"},
        {"node": "/c/Conv", "rule": "never-bias", "why": "bias stays float"},
        {"node": "/c/Conv", "rule": "weighted-ops", "why": "input 0 stays float"},
        {"node": "/d/Conv", "rule": "never-bias", "why": "bias stays float"},
        {"node": "/d/Relu", "rule": "conv-bn-act", "why": "fused into the convolution before it"},
    ]
    (tmp_path / "placement.json").write_text(json.dumps({"skips": skips}))
    layers = [LAYERS[3], layer("d", "Conv", "fp32", "fp32", ("/d/Conv", "/d/Relu"))]
    found = summarize(layers, "int8", _reasons(tmp_path / "placement.json"))
    assert [conv.why for conv in found.float_convolutions] == ["small-groups: 1 channel", ENGINES_CHOICE]


def test_int8_is_compared_with_half_precision_beside_it(tmp_path, monkeypatch):
    sides = {"fp16": 10, "int8": 30}

    def layers(self, bundle):
        side = sides[bundle.precision]
        return [LayerInfo("a", "Conv", bundle.precision, outputs=(Tensor((1, 1, side, side), "fp32"),))]

    monkeypatch.setattr("deploy.targets.tensorrt.backend.TRTBackend.layers", layers)
    monkeypatch.setattr("deploy.apps.inspection.read_bundle", lambda folder: Bundle(folder, "tensorrt", "fp16"))
    bundle = Bundle(tmp_path / "engines" / "r" / "tensorrt-int8", "tensorrt", "int8")
    assert inspect_bundle(bundle).caution == ""
    beside = tmp_path / "engines" / "r" / "tensorrt-fp16"
    beside.mkdir(parents=True)
    (beside / "manifest.json").write_text("{}")
    assert inspect_bundle(bundle).caution.startswith("INT8 moves more bytes than fp16")
    assert list(layers_beside(bundle, ("fp32", "fp16", "int8"))) == ["fp16"]
    sides["int8"] = 10
    assert inspect_bundle(bundle).caution == ""


def test_an_engine_of_another_version_beside_it_is_left_out(tmp_path, monkeypatch):
    def refuse(folder):
        raise UserError("built with another version")

    (tmp_path / "r" / "tensorrt-fp16").mkdir(parents=True)
    (tmp_path / "r" / "tensorrt-fp16" / "manifest.json").write_text("{}")
    monkeypatch.setattr("deploy.apps.inspection.read_bundle", refuse)
    assert layers_beside(Bundle(tmp_path / "r" / "tensorrt-int8", "tensorrt", "int8"), ("fp16",)) == {}

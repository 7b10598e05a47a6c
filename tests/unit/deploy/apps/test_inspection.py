"""What layers amount to, the reasons joined to them, and the gate."""

import json

import pytest

from core.errors import GateMissed
from deploy.apps.inspection import ENGINES_CHOICE, inspect_bundle, summarize
from deploy.targets.base import Bundle, LayerInfo

LAYERS = [
    LayerInfo("quantize", "QuantizeLinear", "fp32"),
    LayerInfo("a", "Conv", "int8", origin=("/a/Conv", "/layer1/Add"), output="int8"),
    LayerInfo("b", "Conv", "int8", origin=("/b/Conv", "/spaddle"), output="fp32"),
    LayerInfo("c", "Conv", "fp32", origin=("/c/Conv",), output="fp32"),
    LayerInfo("d", "Conv", "fp16", origin=("/d/Conv",)),
    LayerInfo("__myl_MulMinMaxRounCast_myl0_3", "kgen", "fp32"),
    LayerInfo("__myl_MulAddReluMulCast_myl0_5", "kgen", "fp32"),
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

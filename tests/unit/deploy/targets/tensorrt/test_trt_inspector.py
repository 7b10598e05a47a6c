"""Reading the EngineInspector's JSON. The lists are invented, with the keys of the named versions.

Keys of 8.x: the layer lists beside NVIDIA's trt-engine-explorer. Keys of RTX: its builder's output.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from core.errors import GateMissed, UserError
from deploy.apps.inspection import ENGINES_CHOICE, NOT_TOLD, inspect_layer_list
from deploy.bundle.types import Bundle
from deploy.targets.base import LayerInfo, Tensor, Unavailable
from deploy.targets.tensorrt import backend as trt_backend
from deploy.targets.tensorrt.backend import BACKEND, TRTBackend
from deploy.targets.tensorrt.build_log import from_build_log
from deploy.targets.tensorrt.inspector import engine_information, from_information

ROOT = Path(__file__).parents[5]
INT8 = "Thirty-two wide channel vectorized row major Int8 format"
FP16 = "Channel major FP16 format where channel % 8 == 0"
FP32 = "Row major linear FP32"


def old(name: str, kind: str, inputs: list[str], output: str, **more: object) -> dict[str, object]:
    """A layer as TensorRT 8.x writes it."""

    def tensor(datatype: str) -> dict[str, object]:
        return {"Name": "t", "Location": "Device", "Dimensions": [1, 32, 8, 8], "Format/Datatype": datatype}

    tensors = {"Inputs": [tensor(item) for item in inputs], "Outputs": [tensor(output)]}
    return {"Name": name, "LayerType": kind, **tensors, **more}


def new(name: str, kind: str, inputs: list[str], output: str, weights: str, origin: str) -> dict[str, object]:
    """A layer as RTX writes it: the largest constant holds the weights."""

    def tensor(datatype: str, dimensions: list[int]) -> dict[str, object]:
        return {"Name": "t", "Dimensions": dimensions, "Datatype": datatype, "Format": "(NHWC) Channel major format"}

    return {
        "Name": name,
        "LayerType": kind,
        "Inputs": [tensor(item, [1, 16, 8, 8]) for item in inputs],
        "Constants": [tensor("Float", [1, 16, 1, 1]), tensor(weights, [16, 16, 3, 3])],
        "Outputs": [tensor(output, [1, 16, 8, 8])],
        "TacticName": "t",
        "StreamId": 0,
        "Metadata": origin,
    }


OLD = [
    old("QuantizeLinear_2", "Reformat", [FP32], INT8, ParameterType="Reformat", Origin="QDQ"),
    old(
        "stem.weight + QuantizeLinear_7 + Conv_9 + MaxPool_12",
        "ConvActPool",
        [INT8],
        INT8,
        ParameterType="ConvActPool",
        ConvWeights={"Type": "Int8", "Count": 9408},
    ),
    old(
        "a.weight + QuantizeLinear_20 + Conv_22 + Add_42 + PWN(Relu_43)",
        "CaskConvolution",
        [FP16, INT8],
        FP32,
        ParameterType="Convolution",
        Weights={"Type": "Int8", "Count": 36864},
    ),
    old(
        "Conv_50",
        "CaskConvolution",
        [FP16],
        FP16,
        ParameterType="Convolution",
        Weights={"Type": "Half", "Count": 36864},
    ),
    old("Reformatting CopyNode for Output Tensor 0 to Conv_50", "NoOp", [FP16], FP32),
]


def information(layers: list[object]) -> str:
    """The result of `get_engine_information`."""
    return json.dumps({"Layers": layers, "Bindings": ["image", "logits"]})


def test_layers_of_8_x():
    quantize, stem, residual, half = from_information(information(OLD), "engine")
    assert (quantize.kind, quantize.precision, quantize.output) == ("Reformat", "fp32", "int8")
    assert (stem.kind, stem.precision, stem.output) == ("Conv", "int8", "int8")
    assert stem.origin == ("QuantizeLinear_7", "Conv_9", "MaxPool_12")
    assert (residual.kind, residual.precision, residual.output) == ("Conv", "int8", "fp32")
    assert residual.origin == ("QuantizeLinear_20", "Conv_22", "Add_42", "Relu_43")
    image, weights = Tensor((1, 32, 8, 8), "fp16"), Tensor((36864,), "fp16")
    detail = f"CaskConvolution({FP16})"
    assert half == LayerInfo("Conv_50", "Conv", "fp16", detail, ("Conv_50",), (image,), (weights,), (image,))


def test_metadata_of_8_6_and_later_is_better_than_the_name():
    metadata = "[ONNX Layer: /c/Conv]\u001e[ONNX Layer: /c/Relu]"
    layer = old("w + q + /c/Conv", "CaskConvolution", ["Int8"], "Half", Weights={"Type": "Int8"}, Metadata=metadata)
    assert from_information(information([layer]), "engine")[0].origin == ("/c/Conv", "/c/Relu")
    raw = information([layer]).replace("\\u001e", "\u001e")  # some versions do not escape the separator
    assert from_information(raw, "engine")[0].origin == ("/c/Conv", "/c/Relu")


def test_inspector_and_build_log_say_the_same():
    layers = [
        new("/c/Conv_myl0_4", "correlation", ["Int8"], "Float", "Int8", "[ONNX Layer: /c/Conv]"),
        new("__myl_MulAddRelu_myl0_5", "kgen", ["Float"], "Int8", "Half", "[ONNX Layer: /c/Conv][ONNX Layer: /c/Relu]"),
        new("__myl_CorrAdd_myl0_6", "runtime_fusion", ["Half", "Int8"], "Half", "Half", ""),
        new("entry^bb^wait^4_myl0_1", "wait", [], "Half", "Half", ""),
    ]
    told = from_information(information(layers), "engine")
    assert told == from_build_log([as_log_line(layer) for layer in layers])
    assert [layer.kind for layer in told] == ["Conv", "kgen", "Conv"]
    assert [layer.precision for layer in told] == ["int8", "fp32", "fp16"]


def as_log_line(layer: dict) -> str:
    """A layer of `new` as the builder logs it."""

    def listed(key: str) -> str:
        tensors = (f"Name: t, Dimensions: {str(item['Dimensions']).replace(' ', '')}" for item in layer[key])
        types = (f", Datatype: {item['Datatype']}, Format: {item['Format']}" for item in layer[key])
        return ", ".join(f"{{ {name}{kind} }}" for name, kind in zip(tensors, types, strict=True))

    parts = ", ".join(f"{key}: [ {listed(key)}]" for key in ("Inputs", "Constants", "Outputs"))
    return f"    Name: {layer['Name']}, LayerType: {layer['LayerType']}, {parts}, Metadata: {layer['Metadata']}"


def as_11(layers: list[dict]) -> str:
    """The list as TensorRT 11.x writes it: format and type in two keys, and the engine's tensors as objects.

    Source: NVIDIA TensorRT 11 documentation, "Migrating IEngineInspector Usage from TensorRT 10.x to 11.x".
    """

    def split(tensor: dict) -> dict:
        datatype = {INT8: "Int8", FP16: "Half", FP32: "Float"}[tensor["Format/Datatype"]]
        kept = {key: value for key, value in tensor.items() if key != "Format/Datatype"}
        return {**kept, "DataType": datatype, "Format": "Row major linear FP32 format (kLINEAR)"}

    renamed = [{**layer, **{key: list(map(split, layer[key])) for key in ("Inputs", "Outputs")}} for layer in layers]
    image = {
        "Name": "image",
        "IOMode": "Input",
        "DataType": "Float",
        "Dimensions": [1, 3, 8, 8],
        "Location": "Device",
        "IsShapeInferenceIO": False,
        "ProfileInfo": [{"MinShape": [1, 3, 8, 8], "OptShape": [1, 3, 8, 8], "MaxShape": [1, 3, 8, 8]}],
    }
    return json.dumps({"Layers": renamed, "I/O Tensors": [image]})


@pytest.mark.parametrize("key", ["Datatype", "DataType", "Format/Datatype", "Format/DataType"])
def test_every_spelling_of_a_type_is_read(key):
    text = information(OLD).replace("Format/Datatype", key)
    assert from_information(text, "engine") == from_information(information(OLD), "engine")


def test_layers_of_11_x_are_those_of_8_x():
    def facts(layer: LayerInfo) -> LayerInfo:
        return replace(layer, detail="")  # words of the version

    told = [facts(layer) for layer in from_information(as_11(OLD), "engine")]
    assert told == [facts(layer) for layer in from_information(information(OLD), "engine")]


def test_dynamic_sides_count_as_one():
    (layer,) = from_information(information(OLD[3:4]).replace("[1, 32, 8, 8]", "[-1, 32, 8, 8]"), "engine")
    assert layer.outputs == (Tensor((1, 32, 8, 8), "fp16"),)


def test_other_profiles_repeat_the_first():
    repeated = [{**layer, "Name": f"{layer['Name']} [profile 1]"} for layer in OLD]
    assert from_information(information(OLD + repeated), "engine") == from_information(information(OLD), "engine")


def test_names_alone_prove_nothing():
    with pytest.raises(UserError, match="names the layers and nothing else") as caught:
        from_information(information(["Conv_0 + Relu_1", "MaxPool_2"]), "engine")
    assert "detailed" in caught.value.fix


@pytest.mark.parametrize(
    ("text", "message"),
    [("not json", "not JSON"), ("[]", "no layers"), ('{"files": {}}', "no layers"), ("", "not JSON")],
)
def test_other_files_are_refused(text, message):
    with pytest.raises(UserError, match=message):
        from_information(text, "some.json")


class Runtime:
    """A runtime that loads plans that begin with `ok`, and lists their layers."""

    def __init__(self, logger: object) -> None:
        self.engine_host_code_allowed = False

    def deserialize_cuda_engine(self, engine: bytes) -> object:
        """None where TensorRT cannot load."""
        if not engine.startswith(b"ok"):
            return None
        extra = [] if not self.engine_host_code_allowed else OLD[1:2]
        inspector = SimpleNamespace(get_engine_information={"as JSON": information(OLD[:1] + extra)}.__getitem__)
        return SimpleNamespace(create_engine_inspector=lambda: inspector)


TRT = SimpleNamespace(Runtime=Runtime, LayerInformationFormat=SimpleNamespace(JSON="as JSON"))


def test_asking_an_engine():
    told = engine_information(TRT, None, b"ok engine", host_code=False)
    assert [layer.kind for layer in from_information(told, "engine")] == ["Reformat"]
    assert len(from_information(engine_information(TRT, None, b"ok", host_code=True), "engine")) == 2
    assert engine_information(TRT, None, b"of another GPU", host_code=False) is None


def test_the_double_has_the_names_of_the_vendor():
    trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    assert trt.LayerInformationFormat.JSON
    assert all(
        hasattr(owner, name)
        for owner, name in [
            (trt.Runtime, "deserialize_cuda_engine"),
            (trt.Runtime, "engine_host_code_allowed"),
            (trt.ICudaEngine, "create_engine_inspector"),
            (trt.EngineInspector, "get_engine_information"),
        ]
    )


@pytest.mark.parametrize(
    ("gpu", "told", "expected"),
    [
        (True, information(OLD[1:2]), "int8"),
        (True, None, "fp16"),
        (False, information(OLD[1:2]), "fp16"),
    ],
)
def test_layers_are_the_inspectors_where_the_engine_loads(monkeypatch, tmp_path, gpu, told, expected):
    line = as_log_line(new("/c/Conv_myl0_4", "correlation", ["Half"], "Half", "Half", ""))
    (tmp_path / trt_backend.LOG).write_bytes(gzip.compress(line.encode()))
    monkeypatch.setattr(trt_backend, "check_bundle", lambda *_: None)
    monkeypatch.setattr(trt_backend, "unsupported", lambda driver, vendor: None if gpu else Unavailable("no GPU"))
    monkeypatch.setattr(TRTBackend, "version", lambda self: "tensorrt 10.9.0")
    monkeypatch.setattr(TRTBackend, "_inspected", lambda self, bundle: told)
    manifest = {"version": "tensorrt 10.9.0", "options": {}}
    (layer,) = BACKEND.layers(Bundle(tmp_path, "tensorrt", "int8", manifest))
    assert layer.precision == expected


def test_a_list_from_elsewhere_gets_the_same_report(tmp_path):
    path = tmp_path / "layers.json"
    path.write_text(information(OLD), encoding="utf-8")
    found = inspect_layer_list(path)
    assert (found.convolutions, round(found.int8_percent)) == (3, 67)
    assert found.conversions == ("QuantizeLinear_2",)
    assert found.fused_adds == ("a.weight + QuantizeLinear_20 + Conv_22 + Add_42 + PWN(Relu_43)",)
    assert found.float_outputs == found.fused_adds
    assert [conv.why for conv in found.float_convolutions] == [NOT_TOLD]
    with pytest.raises(GateMissed, match=r"66\.7 %"):
        found.require(95)


def test_reasons_for_a_list_come_from_the_placement_it_was_built_with(tmp_path):
    path, report = tmp_path / "layers.json", tmp_path / "m.placement.json"
    path.write_text(information(OLD), encoding="utf-8")
    report.write_text('{"skips": [{"node": "Conv_50", "rule": "config", "why": "named in skip"}]}', encoding="utf-8")
    assert inspect_layer_list(path, report).float_convolutions[0].why == "config: named in skip"
    report.write_text('{"skips": []}', encoding="utf-8")
    assert inspect_layer_list(path, report).float_convolutions[0].why == ENGINES_CHOICE
    for wrong in (path, tmp_path / "absent.json"):
        with pytest.raises(UserError, match="not a placement report"):
            inspect_layer_list(path, wrong)


def test_command_on_a_list(tmp_path):
    path = tmp_path / "layers.json"
    path.write_text(information(OLD), encoding="utf-8")
    command = [sys.executable, "-m", "deploy", "inspect", str(path), "--fail-under", "95"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert told.returncode == 1
    assert "convolutions: 2 of 3 in INT8 (66.7 %)" in told.stdout
    assert "66.7 % of the convolutions compute in INT8, not 95 %" in told.stderr

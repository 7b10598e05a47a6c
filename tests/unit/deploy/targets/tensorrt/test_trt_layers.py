"""Reading the build log. Lines have the shape of real ones: RTX lists constants, full TensorRT states weights."""

from __future__ import annotations

import pytest

from deploy.targets.tensorrt.build_log import from_build_log

WEIGHTS = "[16,16,3,3]"


def tensor(name: str, datatype: str, dimensions: str = "[1,16,8,8]") -> str:
    """A tensor as RTX writes it."""
    layout = (
        f"Strides: [1024,1,128,16], StrideOrder: [3,0,2,1], Datatype: {datatype}, Format: (NHWC) Channel major format"
    )
    return f"{{ Name: {name}, Dimensions: {dimensions}, {layout} }}"


SCALE = tensor("scale", "Float", "[1,16,1,1]")


def rtx(kind: str, inputs: list[str], constants: list[str], name: str = "/c/Conv_myl0_1", origin: str = "") -> str:
    """A layer line of TensorRT-RTX."""
    return (
        f"    Name: {name}, LayerType: {kind}, Inputs: [ {', '.join(inputs)}], Constants: [ {', '.join(constants)}], "
        f"Outputs: [ {tensor('out', 'Float')}], TacticName: __myelin_CASK_STUB, StreamId: 0, Metadata: {origin}"
    )


def full(kind: str, datatype: str, weights: str, origin: str = "") -> str:
    """A layer line of TensorRT 8.6 and 10."""
    values = f"Location: Device, Dimensions: [1,16,8,8], Format/Datatype: {datatype}"
    return (
        f"Name: w + q + /c/Conv, LayerType: {kind}, Inputs: [ {{ Name: in, {values} }}], Outputs: [ {{ Name: out, "
        f"{values} }}], ParameterType: Convolution, Kernel: [3,3], Groups: 1, {weights}HasBias: 1, HasReLU: 1, "
        f"TacticName: sm80_xmma, TacticValue: 0x9ae0c0d2fb3a01e5, StreamId: 0, Metadata: {origin}"
    )


def only(line: str):
    """The one layer in `line`."""
    (layer,) = from_build_log([line])
    return layer


@pytest.mark.parametrize(
    ("datatype", "precision"),
    [("Int8", "int8"), ("Float", "fp32"), ("Half", "fp16"), ("BFloat16", "bf16"), ("Int64", "unknown")],
)
def test_rtx_convolution(datatype, precision):
    layer = only(rtx("correlation", [tensor("x", datatype)], [SCALE, tensor("w", datatype, WEIGHTS)]))
    assert (layer.name, layer.kind, layer.precision) == ("/c/Conv_myl0_1", "Conv", precision)
    assert layer.detail == f"correlation({datatype})"


@pytest.mark.parametrize(
    ("datatype", "weights", "precision"),
    [
        ("Thirty-two wide channel vectorized row major Int8 format", "Int8", "int8"),
        ("Row major Int8 format", "Int8", "int8"),
        ("Half", "Half", "fp16"),
        ("Row major linear FP32", "Float", "fp32"),
    ],
)
def test_full_tensorrt_convolution(datatype, weights, precision):
    layer = only(full("CaskConvolution", datatype, f'Weights: {{"Type": "{weights}", "Count": 864}}, '))
    assert (layer.name, layer.kind, layer.precision) == ("w + q + /c/Conv", "Conv", precision)
    assert layer.detail == f"CaskConvolution({datatype})"


@pytest.mark.parametrize("order", [("Float", "Int8"), ("Int8", "Float")])
def test_residual_does_not_hide_what_the_convolution_computes_in(order):
    inputs = [tensor(f"in{index}", datatype) for index, datatype in enumerate(order)]
    assert only(rtx("correlation", inputs, [SCALE, tensor("w", "Int8", WEIGHTS)])).precision == "int8"
    assert only(rtx("correlation", inputs, [SCALE, tensor("w", "Float", WEIGHTS)])).precision == "fp32"


def test_int8_weights_alone_are_no_int8_convolution():
    line = rtx("correlation", [tensor("x", "Half")], [tensor("w", "Int8", WEIGHTS), SCALE])
    assert only(line).precision == "fp16"


def test_convolution_in_a_kernel_made_at_build_time_is_still_a_convolution():
    inputs = [tensor("x", "Float")]
    constants = [SCALE, tensor("w", "Float", WEIGHTS)]
    layer = only(rtx("runtime_fusion", inputs, constants, name="__myl_CorrMulAddRelu_myl0_5"))
    assert (layer.kind, layer.precision) == ("Conv", "fp32")


def test_pointwise_kernel_is_no_convolution_though_a_convolution_is_in_its_origin():
    line = rtx(
        "kgen", [tensor("x", "Float")], [SCALE], "__myl_MulAddReluConc_myl0_7", "[ONNX Layer: /blocks/0/conv1/Conv]"
    )
    layer = only(line)
    assert (layer.kind, layer.precision) == ("kgen", "fp32")


@pytest.mark.parametrize("separator", ["\x1f", "\x1e"])
def test_origin_lists_every_onnx_node_once(separator):
    origin = separator.join(f"[ONNX Layer: {name}]" for name in ("/c/Conv", "/c/Relu", "/c/Conv"))
    assert only(rtx("correlation", [tensor("x", "Int8")], [tensor("w", "Int8", WEIGHTS)], origin=origin)).origin == (
        "/c/Conv",
        "/c/Relu",
    )
    assert only(full("CaskConvolution", "Half", "", origin)).origin == ("/c/Conv", "/c/Relu")


def test_other_lines_and_synchronisation_are_left_out():
    lines = [
        "Name: entry^bb^wait^4_myl0_1, LayerType: wait, Inputs: [], Constants: [], Outputs: [], StreamId: 4",
        "Name: entry^bb^signal^3_myl0_0, LayerType: signal, Inputs: [], Constants: [], Outputs: [], StreamId: 0",
        "Engine generation completed in 0.2 seconds.",
        "",
    ]
    assert from_build_log(lines) == []


def test_layer_without_inputs_is_of_unknown_precision():
    layer = only("Name: c, LayerType: constant, Inputs: [], Constants: [], Outputs: [ { Name: o }], TacticName: ")
    assert (layer.kind, layer.precision, layer.detail) == ("constant", "unknown", "constant()")

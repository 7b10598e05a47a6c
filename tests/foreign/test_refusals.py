"""Graphs that cannot be re-placed are refused with the names of the nodes, before anything is written."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from core.errors import UserError
from deploy.placement.rule_sets import select
from tests.foreign.builder import WEIGHTS, Builder, per_channel
from tests.nets.placing import place

INT8 = np.int8(0)
ZEROS = np.zeros(4, np.int8)


def conv_of(builder, x, axis=0, steps=None):
    steps = per_channel(WEIGHTS["c1"], axis) if steps is None else steps
    zero = np.zeros(np.shape(steps), np.int8)
    attrs = {"axis": axis} if np.ndim(steps) else {}
    w = builder.pair(builder.const("w", WEIGHTS["c1"]), steps, zero, "wd", **attrs)
    builder.conv(x, w, "c1")
    return builder


def integer_conv(b):
    parameters = ["image", b.const("s", np.float32(0.1)), b.const("z", np.uint8(0))]
    b.add("QuantizeLinear", parameters, "q")
    b.add("ConvInteger", ["q", b.const("w", np.ones((4, 3, 1, 1), np.uint8))], "acc")
    b.add("Cast", ["acc"], "c1", to=TensorProto.FLOAT)


def qlinear_op(b):
    s, z = b.const("s", np.float32(0.1)), b.const("z", np.uint8(0))
    q = b.add("QuantizeLinear", ["image", s, z], "q")
    b.add("QLinearGlobalAveragePool", [q, s, z, s, z], "pool", domain="com.microsoft", channels_last=1)
    b.add("DequantizeLinear", ["pool", s, z], "c1")


def computed_scale(b):
    amax = b.add("ReduceMax", [b.add("Abs", ["image"], "abs")], "amax", keepdims=0)
    step = b.add("Div", [amax, b.const("steps", np.float32(127))], "step")
    b.add("QuantizeLinear", ["image", step, b.const("z", INT8)], "xd_q")
    conv_of(b, b.add("DequantizeLinear", ["xd_q", step, "z"], "xd"))


def inside_if(b):
    inner = Builder()
    inner.pair("image", 0.1, INT8, "branch")
    result = helper.make_tensor_value_info("branch", TensorProto.FLOAT, (1, 3, 8, 8))
    body = helper.make_graph(inner.nodes, "body", [], [result], inner.constants)
    flag = b.add("Greater", [b.add("ReduceMax", ["image"], "amax", keepdims=0), b.const("zero", np.float32(0))], "flag")
    b.add("If", [flag], "gated", then_branch=body, else_branch=body)
    conv_of(b, "gated")


def not_calibrated(b):
    conv_of(b, b.pair("image", np.nan, INT8, "xd"))


def zero_scale(b):
    conv_of(b, b.pair("image", 0, INT8, "xd"))


def sixteen_bits(b):
    conv_of(b, b.pair("image", 0.1, np.int16(0), "xd"))


def seven_scales(b):
    conv_of(b, b.pair("image", np.full(7, 0.1, np.float32), np.zeros(7, np.int8), "xd", axis=1))


def axis_beyond_the_rank(b):
    conv_of(b, b.pair("image", np.full(3, 0.1, np.float32), np.zeros(3, np.int8), "xd", axis=7))


def wrong_axis(b):
    conv_of(b, b.pair("image", 0.1, INT8, "xd"), axis=1)


def two_scales(b):
    left = b.pair("image", 0.1, INT8, "left")
    right = b.pair("image", 0.2, INT8, "right")
    conv_of(b, left)
    b.nodes[-1].output[0] = "first"
    b.add("Add", ["first", b.add("Conv", [right, "wd"], "other", pads=[1] * 4)], "c1")


REFUSED = {
    "integer operator": (integer_conv, 17, "acc_ConvInteger", "integer operators"),
    "integer operator of another layout": (qlinear_op, 17, "pool_QLinearGlobalAveragePool", "integer operators"),
    "dynamic scale": (computed_scale, 17, "xd_q_QuantizeLinear", "computed"),
    "inside If": (inside_if, 17, "gated_If", "inside If or Loop"),
    "not calibrated": (not_calibrated, 17, "xd_q_QuantizeLinear, xd_DequantizeLinear", "finite and positive"),
    "scale of zero": (zero_scale, 17, "xd_q_QuantizeLinear", "finite and positive"),
    "seven scales": (seven_scales, 17, "xd_q_QuantizeLinear", "one scale for each channel"),
    "axis beyond the rank": (axis_beyond_the_rank, 17, "xd_q_QuantizeLinear", "one scale for each channel"),
    "16 bits": (sixteen_bits, 21, "xd_q_QuantizeLinear", "neither int8 nor uint8"),
    "input channels": (wrong_axis, 17, "c1_Conv", "each output channel"),
    "two scales for two convs": (two_scales, 17, "left_DequantizeLinear: 0.1", "right_DequantizeLinear: 0.2"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(tmp_path, name):
    build, opset, node, reason = REFUSED[name]
    builder = Builder()
    build(builder)
    source = builder.save(tmp_path / "m.onnx", opset=opset, output="c1", shape=(1, 4, 8, 8), ir_version=10)
    with pytest.raises(UserError) as caught:
        place(source, select())
    said = f"{caught.value} {caught.value.why}"
    assert node in said
    assert reason in said


def test_blocked_scales_are_refused(tmp_path):
    b = Builder()
    steps = np.full((4, 3, 3, 1), 0.1, np.float32)
    conv_of(b, b.pair("image", 0.1, INT8, "xd"), axis=3, steps=steps)
    for node in b.nodes:
        if node.name.startswith("wd"):
            node.attribute.append(helper.make_attribute("block_size", 3))
    source = b.save(tmp_path / "m.onnx", opset=21, output="c1", shape=(1, 4, 8, 8), ir_version=10)
    with pytest.raises(UserError, match="wd_q_QuantizeLinear, wd_DequantizeLinear") as caught:
        place(source, select())
    assert "blocked" in caught.value.why


def test_an_operator_that_the_converter_does_not_know_is_named(tmp_path):
    b = Builder()
    conv_of(b, b.pair("image", 0.1, INT8, "xd"))
    b.nodes[-1].output[0] = "y"
    b.add("Imaginary", ["y"], "c1")
    source = b.save(tmp_path / "m.onnx", opset=13, output="c1", shape=(1, 4, 8, 8))
    with pytest.raises(UserError, match="opset 13") as caught:
        place(source, select())
    assert "Imaginary" in caught.value.why
    assert "17" in caught.value.fix


def test_files_of_long_lists_are_cut(tmp_path):
    b = Builder()
    for index in range(8):
        b.pair("image", np.nan, INT8, f"p{index}")
    b.add("Sum", [f"p{index}" for index in range(8)], "c1")
    source = b.save(tmp_path / "m.onnx", output="c1", shape=(1, 3, 8, 8))
    with pytest.raises(UserError, match="and 11 more"):
        place(source, select())
    assert onnx.load(source).graph.node

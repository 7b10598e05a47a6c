"""Single export forms of toolkits, each in the smallest graph."""

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from onnx import TensorProto

from deploy.graph import onnx_graph
from deploy.graph.value_range import non_negative
from deploy.importing.foreign import to_pairs
from deploy.importing.strip import strip
from deploy.importing.weight_layout import carry_to_folded
from deploy.placement.rule_sets import select
from tests.foreign.builder import BIASES, WEIGHTS, Builder, per_channel
from tests.foreign.test_toolkits import image, placed_file
from tests.nets.exported import reference
from tests.nets.placing import place

INT8, UINT8 = np.int8(0), np.uint8(0)
CONV = {"output": "c1", "shape": (1, 4, 8, 8)}


def weight(b):
    return b.pair(b.const("w", WEIGHTS["c1"]), per_channel(WEIGHTS["c1"]), np.zeros(4, np.int8), "wd", axis=0)


def placed(b, tmp_path, **options):
    source = b.save(tmp_path / "source.onnx", **options)
    result = placed_file(source, tmp_path / "placed.onnx")
    expected, got = reference(source, image()), reference(tmp_path / "placed.onnx", image())
    return result, np.abs(got - expected).max() / np.abs(expected).max()


# between Q and DQ


def test_max_pool_and_reshapes_between_q_and_dq_move_behind_it(tmp_path):
    b = Builder()
    parameters = [b.const("s", np.float32(0.03)), b.const("z", INT8)]
    b.add("QuantizeLinear", ["image", *parameters], "q")
    b.add("MaxPool", ["q"], "pooled", kernel_shape=[3, 3], pads=[1] * 4)
    b.add("Reshape", ["pooled", b.const("flat", np.int64([1, 3, 64]))], "flat_q")
    b.add("Reshape", ["flat_q", b.const("image_shape", np.int64([1, 3, 8, 8]))], "back")
    b.conv(b.add("DequantizeLinear", ["back", *parameters], "xd"), weight(b), "c1")
    result, error = placed(b, tmp_path, **CONV)
    assert error < 1e-6
    assert len(result.plan.weights) == 1


def test_one_q_that_feeds_dqs_before_and_behind_a_copy(tmp_path):
    b = Builder()
    direct = b.pair("image", 0.03, INT8, "xd")
    b.add("MaxPool", ["xd_q"], "pooled", kernel_shape=[3, 3], pads=[1] * 4)
    behind = b.add("DequantizeLinear", ["pooled", "xd_s", "xd_z"], "pooled_d")
    w = weight(b)
    left = b.add("Conv", [direct, w], "left", pads=[1] * 4)
    right = b.add("Conv", [behind, w], "right", pads=[1] * 4)
    b.add("Add", [left, right], "c1")
    result, error = placed(b, tmp_path, **CONV)
    assert error < 1e-6
    (weights,) = result.plan.weights.values()
    assert len(weights.uses) == 2


# two pairs on one tensor


def two_pairs(first, second, second_op):
    b = Builder()
    b.conv(b.pair("image", first, INT8, "a"), weight(b), "c1")
    b.add(second_op, [b.pair("image", second, INT8, "b")], "gate")
    graph = gs.import_onnx(b.model(**CONV))
    graph.outputs.append(graph.tensors()["gate"])
    return strip(graph)


@pytest.mark.parametrize(("first", "second", "kept"), [(0.1, 0.3, 0.1), (0.3, 0.1, 0.3), (0.1, 0.1001, 0.1001)])
def test_scale_of_the_pair_that_feeds_a_conv_is_kept(first, second, kept):
    assert two_pairs(first, second, "Sigmoid")["image"].values == np.float32(kept)


def test_requantized_tensor_has_the_scale_that_the_conv_reads(tmp_path):
    b = Builder()
    b.conv(b.pair(b.pair("image", 0.01, INT8, "a"), 0.03, INT8, "b"), weight(b), "c1")
    graph = to_pairs(onnx_graph.load(b.save(tmp_path / "m.onnx", **CONV)))
    assert strip(graph)["image"].values == np.float32(0.03)


# outputs


def test_quantized_output_keeps_its_name_and_its_tensor_the_other_readers_scale(tmp_path):
    b = Builder()
    b.conv(b.pair("image", 0.03, INT8, "xd"), weight(b), "c1")
    b.pair("c1", 0.2, INT8, "features")
    b.add("DequantizeLinear", ["features_q", "features_s", "features_z"], "again")
    w2 = b.pair(b.const("w2", WEIGHTS["c2"]), 0.02, INT8, "w2d")
    b.conv("again", w2, "c2")
    model = b.model(output="features", shape=(1, 4, 8, 8))
    model.graph.output.append(onnx.helper.make_tensor_value_info("c2", TensorProto.FLOAT, (1, 4, 8, 8)))
    onnx.save(model, tmp_path / "m.onnx")
    result = placed_file(tmp_path / "m.onnx", tmp_path / "placed.onnx")
    assert [tensor.name for tensor in result.graph.outputs] == ["features", "c2"]
    assert len(result.plan.weights) == 2


def test_quantized_input_that_is_an_output_too_goes_through_an_identity(tmp_path):
    b = Builder()
    b.conv(b.pair("image", 0.03, INT8, "xd"), weight(b), "c1")
    model = b.model(**CONV)
    model.graph.output.append(onnx.helper.make_tensor_value_info("xd", TensorProto.FLOAT, (1, 3, 8, 8)))
    onnx.save(model, tmp_path / "m.onnx")
    result = placed_file(tmp_path / "m.onnx", tmp_path / "placed.onnx")
    assert [tensor.name for tensor in result.graph.outputs] == ["c1", "xd"]
    assert [tensor.name for tensor in result.graph.inputs] == ["image"]


# scales that move to other tensors


def test_scale_before_a_relu_is_the_one_behind_it(tmp_path):
    b = Builder()
    b.conv(b.pair("image", 0.03, INT8, "xd"), weight(b), "c1")
    b.add("Relu", [b.pair("c1", 0.1, INT8, "cd")], "r")
    b.conv("r", b.pair(b.const("w2", WEIGHTS["c2"]), 0.02, INT8, "w2d"), "c2")
    result, error = placed(b, tmp_path, output="c2", shape=(1, 4, 8, 8))
    assert error < 1e-5
    assert len(result.plan.weights) == 2


@pytest.mark.parametrize(
    ("op", "shape", "axis", "moved"),
    [("Reshape", (4, 1, 3, 3), 0, 0), ("Reshape", (1, 4, 9), 0, 1), ("Reshape", (2, 2, 9), 0, None)],
)
def test_axis_follows_a_reshape_until_channels_are_split(tmp_path, op, shape, axis, moved):
    values = np.ones((4, 9), np.float32)
    b = Builder()
    wd = b.pair(b.const("w", values), [0.1, 0.2, 0.3, 0.4], np.zeros(4, np.int8), "wd", axis=axis)
    b.add(op, [wd, b.const("shape", np.int64(shape))], "reshaped")
    b.add("Identity", ["reshaped"], "y")
    graph = to_pairs(onnx_graph.load(b.save(tmp_path / "m.onnx", output="y", shape=shape)))
    found = carry_to_folded(graph, strip(graph))
    name = graph.outputs[0].name
    assert (found[name].axis if name in found else None) == moved


def test_what_has_no_scale_stays_float_and_is_named(tmp_path):
    b = Builder()
    b.conv(b.pair("image", 0.03, INT8, "xd"), weight(b), "c1")
    b.conv("c1", b.const("w2", WEIGHTS["c2"]), "c2")
    source = b.save(tmp_path / "m.onnx", output="c2", shape=(1, 4, 8, 8))
    result = place(source, select())
    (skip,) = [skip for skip in result.plan.skips if skip.rule == "scales"]
    assert skip.node == "c2_Conv"
    assert len(result.plan.weights) == 1


# half precision, old opsets


@pytest.mark.parametrize("half", [TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_half_precision_around_the_pairs_becomes_float32(tmp_path, half):
    numpy_half = onnx.helper.tensor_dtype_to_np_dtype(half)
    b = Builder()
    step = b.const("s", np.asarray(0.03, numpy_half))
    x = b.add("Cast", ["image"], "x16", to=half)
    b.add("QuantizeLinear", [x, step, b.const("z", INT8)], "q")
    steps = b.const("ws", per_channel(WEIGHTS["c1"]).astype(numpy_half))
    w = b.const("w", WEIGHTS["c1"].astype(numpy_half))
    b.add("QuantizeLinear", [w, steps, b.const("wz", np.zeros(4, np.int8))], "wq", axis=0)
    b.add("DequantizeLinear", ["wq", "ws", "wz"], "wd", axis=0)
    bias = b.const("bias", BIASES["c1"].astype(numpy_half))
    b.conv(b.add("DequantizeLinear", ["q", "s", "z"], "xd"), "wd", "c1", bias)
    b.add("Cast", ["c1"], "y", to=TensorProto.FLOAT)
    source = b.save(tmp_path / "m.onnx", opset=19, output="y", shape=(1, 4, 8, 8), ir_version=9)
    result = placed_file(source, tmp_path / "placed.onnx")
    kinds = [node.op for node in result.graph.nodes]
    assert "Cast" not in kinds
    assert result.graph.outputs[0].name == "y"
    assert len(result.plan.weights) == 1
    model = onnx.load(tmp_path / "placed.onnx")
    assert {item.data_type for item in model.graph.initializer} == {TensorProto.FLOAT, TensorProto.INT8}


def test_opset_10_of_per_tensor_toolkits_is_raised(tmp_path):
    b = Builder()
    w = b.pair(b.const("w", WEIGHTS["c1"]), 0.02, INT8, "wd")
    b.conv(b.pair("image", 0.03, INT8, "xd"), w, "c1")
    result, error = placed(b, tmp_path, opset=10, ir_version=5, **CONV)
    assert error < 1e-6
    assert result.graph.opset == 17


# clamps at zero


@pytest.mark.parametrize(
    ("chain", "known"),
    [
        (["Relu"], True),
        (["Sigmoid", "GlobalAveragePool"], True),
        (["Relu", "Transpose"], True),
        (["Abs", "Identity", "Sqrt"], True),
        (["Tanh"], False),
        ([], False),
        (["Relu", "Neg"], False),
    ],
)
def test_non_negative_by_the_operators_above(chain, known):
    tensor = gs.Variable("x", np.float32)
    for index, op in enumerate(chain):
        output = gs.Variable(f"t{index}", np.float32)
        gs.Node(op, inputs=[tensor], outputs=[output])
        tensor = output
    assert non_negative(tensor) is known


@pytest.mark.parametrize(("whole", "known"), [(1.0, True), (0.5, False)])
def test_one_minus_a_sigmoid_is_not_negative(whole, known):
    x, part, rest = (gs.Variable(name, np.float32) for name in ("x", "s", "r"))
    gs.Node("Sigmoid", inputs=[x], outputs=[part])
    gs.Node("Sub", inputs=[gs.Constant("one", np.float32([whole])), part], outputs=[rest])
    assert non_negative(rest) is known


def test_clip_at_zero_and_sums_of_such():
    x, six, both = (gs.Variable(name, np.float32) for name in ("x", "six", "both"))
    gs.Node("Clip", inputs=[x, gs.Constant("low", np.zeros((), np.float32))], outputs=[six])
    gs.Node("Add", inputs=[six, gs.Constant("c", np.float32([0, 1]))], outputs=[both])
    assert non_negative(six) and non_negative(both)

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest

from core.errors import UserError
from deploy.checks.verify import verify, violations
from deploy.graph import onnx_graph
from deploy.placement.partial import ONE_SIDE
from deploy.plan.plan import SkippedNode


def first(graph, op):
    return next(node for node in graph.nodes if node.op == op)


def conv(graph):
    return next(node for node in graph.nodes if node.name == "blocks.0.conv1")


def write(graph, path):
    """Verify without ONNX's checker: these graphs are broken on purpose."""
    onnx.save(gs.export_onnx(graph), str(path))
    return path


@pytest.fixture
def graph(exported):
    return onnx_graph.load(exported.placed)


def scale_of(value):
    def breaks(graph):
        first(graph, "QuantizeLinear").inputs[1].values = np.array(value, np.float32)

    return breaks


def zero_point(value):
    def breaks(graph):
        first(graph, "QuantizeLinear").inputs[2].values = value

    return breaks


def no_zero_point(graph):
    node = first(graph, "QuantizeLinear")
    node.inputs = node.inputs[:2]


def second_pair(graph):
    (dq,) = (node for node in graph.nodes if node.name == "stem_DequantizeLinear")
    q = dq.inputs[0].inputs[0]
    integers, floats = gs.Variable("twice_q", np.int8), gs.Variable("twice_dq", np.float32)
    graph.nodes.append(gs.Node("QuantizeLinear", "twice", inputs=list(q.inputs), outputs=[integers]))
    graph.nodes.append(gs.Node("DequantizeLinear", "twice_DQ", inputs=[integers, *q.inputs[1:]], outputs=[floats]))
    reader = dq.outputs[0].outputs[-1]
    reader.inputs = [floats if tensor is dq.outputs[0] else tensor for tensor in reader.inputs]


def reader_of_integers(graph):
    peeked = gs.Variable("peeked", np.float32)
    graph.nodes.append(gs.Node("Cast", "peek", {"to": 1}, [first(graph, "QuantizeLinear").outputs[0]], [peeked]))
    graph.outputs.append(peeked)


def integers_as_an_output(graph):
    integers = gs.Variable("dead_q", np.int8)
    inputs = [graph.outputs[0], *first(graph, "QuantizeLinear").inputs[1:]]
    graph.nodes.append(gs.Node("QuantizeLinear", "dead", inputs=inputs, outputs=[integers]))
    graph.outputs.append(integers)


def quantized_output(graph):
    graph.outputs = [first(graph, "DequantizeLinear").outputs[0]]


def quantized_bias(graph):
    parameters = conv(graph).inputs[1].inputs[0].inputs[1:]
    bias = gs.Constant("bias_quantized", np.zeros(16, np.int8))
    floats = gs.Variable("bias_dq", np.float32)
    graph.nodes.append(gs.Node("DequantizeLinear", "bias_DQ", {"axis": 0}, [bias, *parameters], [floats]))
    conv(graph).inputs[2] = floats


def per_channel_activation(graph):
    dq = conv(graph).inputs[0].inputs[0]
    scale = gs.Constant("many_scales", np.full(16, 0.1, np.float32))
    zeros = gs.Constant("many_zeros", np.zeros(16, np.int8))
    for node in (dq, dq.inputs[0].inputs[0]):
        node.inputs = [node.inputs[0], scale, zeros]
        node.attrs["axis"] = 1


def float_weight(graph):
    conv(graph).inputs[1] = gs.Constant("float_weight", np.zeros((16, 16, 3, 3), np.float32))


def float_activation(graph):
    dq = conv(graph).inputs[0].inputs[0]
    conv(graph).inputs[0] = dq.inputs[0].inputs[0].inputs[0]


def widest_weight(graph):
    stored = conv(graph).inputs[1].inputs[0].inputs[0]
    values = stored.values.copy()
    values.flat[0] = -128
    stored.values = values


def unequal_pair(graph):
    q = first(graph, "QuantizeLinear")
    dq = q.outputs[0].outputs[0]
    dq.inputs = [dq.inputs[0], gs.Constant("other", np.array(q.inputs[1].values * 2)), dq.inputs[2]]


def computed_scale(graph):
    q = first(graph, "QuantizeLinear")
    computed = gs.Variable("computed", np.float32, ())
    graph.nodes.append(gs.Node("Abs", "abs", inputs=[q.inputs[1]], outputs=[computed]))
    for node in (q, q.outputs[0].outputs[0]):
        node.inputs = [node.inputs[0], computed, node.inputs[2]]


def weight_along_its_inputs(graph):
    conv(graph).inputs[1].inputs[0].attrs["axis"] = 1


BREAKS = {
    "Q and DQ differ": (unequal_pair, "Q and DQ have the same scale and zero-point"),
    "computed scale": (computed_scale, "scales and zero-points are constants"),
    "weight scales along the input channels": (
        weight_along_its_inputs,
        "a weight has its scales per output channel",
    ),
    "zero-point of 3": (zero_point(np.array(3, np.int8)), "symmetric INT8"),
    "uint8": (zero_point(np.array(0, np.uint8)), "symmetric INT8"),
    "no zero-point, which means uint8": (no_zero_point, "symmetric INT8"),
    "nan scale": (scale_of(np.nan), "scales are finite and positive"),
    "infinite scale": (scale_of(np.inf), "scales are finite and positive"),
    "zero scale": (scale_of(0), "scales are finite and positive"),
    "negative scale": (scale_of(-0.1), "scales are finite and positive"),
    "two pairs on a tensor": (second_pair, "one Q/DQ pair per tensor"),
    "integers read by another op": (reader_of_integers, "a Q feeds only its DQ"),
    "Q without DQ": (integers_as_an_output, "a Q feeds only its DQ"),
    "DQ on the output": (quantized_output, "graph outputs stay float"),
    "quantized bias": (quantized_bias, "biases stay float"),
    "per-channel activation": (per_channel_activation, "activations have one scale"),
    "weight in float": (float_weight, "both operands are quantized or none"),
    "activation in float": (float_activation, "both operands are quantized or none"),
    "weight of -128": (widest_weight, "weights use the narrow range"),
}


def test_placed_graph_breaks_nothing(exported, graph):
    assert list(violations(graph)) == []
    verify(exported.placed, exported.plan)


@pytest.mark.parametrize("name", BREAKS)
def test_one_break_is_one_kind_of_violation(graph, name):
    breaks, invariant = BREAKS[name]
    breaks(graph)
    assert {item.invariant for item in violations(graph)} == {invariant}


@pytest.mark.parametrize("name", BREAKS)
def test_verify_refuses_the_file_and_names_the_invariant(exported, graph, tmp_path, name):
    breaks, invariant = BREAKS[name]
    breaks(graph)
    with pytest.raises(UserError, match="Q/DQ invariants") as caught:
        verify(write(graph, tmp_path / "m.onnx"), exported.plan)
    assert invariant in caught.value.why


@pytest.mark.parametrize(
    ("unsigned", "value", "allowed"),
    [
        ("non-negative", np.uint8(0), False),  # the image has negative values
        ("non-negative", np.uint8(128), False),
        ("always", np.uint8(128), True),
        ("always", np.uint8(0), False),
        ("always", np.uint8(127), False),
    ],
)
def test_unsigned_types_of_a_signed_tensor(graph, unsigned, value, allowed):
    zero_point(np.array(value))(graph)
    assert {item.invariant for item in violations(graph, unsigned)} == (set() if allowed else {"symmetric INT8"})


def test_unsigned_type_of_a_relu(graph):
    q = next(
        n for n in graph.nodes if n.op == "QuantizeLinear" and n.inputs[0].inputs and n.inputs[0].inputs[0].op == "Relu"
    )
    q.inputs[2].values = np.array(0, np.uint8)
    assert list(violations(graph, "non-negative")) == []
    assert {item.invariant for item in violations(graph)} == {"symmetric INT8"}


def test_violation_names_its_node(graph):
    widest_weight(graph)
    (found,) = violations(graph)
    assert found.node == "blocks.0.conv1.weight_DequantizeLinear"
    assert "-128" in found.detail


def test_lost_pair_is_noticed_though_every_invariant_holds(exported, graph, tmp_path):
    head = next(node for node in graph.nodes if node.name == "head")
    head.inputs[0] = head.inputs[0].inputs[0].inputs[0].inputs[0].inputs[0]
    head.inputs[1] = gs.Constant("head_float", np.zeros(head.inputs[1].shape, np.float32))
    graph.cleanup()
    assert list(violations(graph)) == []
    with pytest.raises(UserError, match="breaks 1 Q/DQ") as caught:
        verify(write(graph, tmp_path / "m.onnx"), exported.plan)
    assert "no Q/DQ pair goes missing" in caught.value.why
    assert "13 placed, 11 in the file" in caught.value.why


def test_pair_too_many_is_noticed_too(exported):
    fewer = exported.plan.without(["head.weight"])
    with pytest.raises(UserError, match="breaks 1 Q/DQ"):
        verify(exported.placed, fewer)


def test_long_lists_are_cut(exported, graph, tmp_path):
    for node in graph.nodes:
        if node.op == "QuantizeLinear":
            node.inputs = node.inputs[:2]
    with pytest.raises(UserError, match="breaks 7 Q/DQ") as caught:
        verify(write(graph, tmp_path / "m.onnx"), exported.plan)
    assert caught.value.why.count("symmetric INT8") == 5


def test_unequal_scales_in_a_group_are_noticed(exported):
    tensors = dict(exported.plan.tensors)
    for name in list(exported.plan.activations)[:2]:
        tensors[name] = tensors[name].model_copy(update={"group": "both"})
    tied = exported.plan.model_copy(update={"tensors": tensors})
    with pytest.raises(UserError, match="breaks 1 Q/DQ") as caught:
        verify(exported.placed, tied)
    assert "a group has one range" in caught.value.why


def tied(exported, names):
    """The plan, with these tensors in one group."""
    group = {name: exported.plan.tensors[name].model_copy(update={"group": "both"}) for name in names}
    return exported.plan.model_copy(update={"tensors": {**exported.plan.tensors, **group}})


def own_parameters(node):
    """Give a Q or DQ unshared constants; returns them, scale first."""
    node.inputs = [
        node.inputs[0],
        *(gs.Constant(f"{node.name}_own{index}", np.array(t.values)) for index, t in enumerate(node.inputs[1:])),
    ]
    return node.inputs[1:]


def pairs_of(graph, names):
    """The Q and DQ of each tensor, with one set of parameters for the two."""
    for q in (next(n for n in graph.nodes if n.op == "QuantizeLinear" and n.inputs[0].name == name) for name in names):
        parameters = own_parameters(q)
        for dq in q.outputs[0].outputs:
            dq.inputs = [dq.inputs[0], *parameters]
        yield parameters


def test_parameters_are_compared_by_value(graph):
    dq = first(graph, "QuantizeLinear").outputs[0].outputs[0]
    scale, zero = own_parameters(dq)
    assert list(violations(graph)) == []
    scale.values = scale.values * 2
    assert {item.invariant for item in violations(graph)} == {"Q and DQ have the same scale and zero-point"}
    scale.values, zero.values = scale.values / 2, zero.values.astype(np.int16)
    assert "Q and DQ have the same scale and zero-point" in {item.invariant for item in violations(graph)}


def test_a_scale_that_only_the_dq_computes(graph):
    dq = first(graph, "QuantizeLinear").outputs[0].outputs[0]
    computed = gs.Variable("computed", np.float32, ())
    graph.nodes.append(gs.Node("Abs", "abs", inputs=[dq.inputs[1]], outputs=[computed]))
    dq.inputs = [dq.inputs[0], computed, dq.inputs[2]]
    expected = {"scales and zero-points are constants", "Q and DQ have the same scale and zero-point"}
    assert {item.invariant for item in violations(graph)} == expected


@pytest.mark.parametrize(
    ("unsigned", "kinds"), [("never", "not int8 with zero-point 0"), ("always", "not int8 or uint8 (always)")]
)
def test_the_element_types_that_are_allowed_are_named(graph, unsigned, kinds):
    zero_point(np.array(3, np.int8))(graph)
    assert all(kinds in item.detail for item in violations(graph, unsigned))


@pytest.mark.parametrize(("zero_at", "share"), [(128, 1.0), (0, 127 / 255)])
def test_a_group_has_one_range_whatever_its_number_formats(exported, graph, tmp_path, zero_at, share):
    quantized = [node.inputs[0] for node in graph.nodes if node.op == "QuantizeLinear"]
    relus = [tensor.name for tensor in quantized if tensor.inputs and tensor.inputs[0].op == "Relu"]
    names = [next(iter(exported.plan.activations)), relus[0]]
    (scale, _), (other, zero) = pairs_of(graph, names)
    other.values, zero.values = np.array(scale.values * share, np.float32), np.array(zero_at, np.uint8)
    verify(write(graph, tmp_path / "same.onnx"), tied(exported, names), "always")
    other.values = np.array(other.values * 1.01, np.float32)
    with pytest.raises(UserError) as caught:
        verify(write(graph, tmp_path / "other.onnx"), tied(exported, names), "always")
    assert "a group has one range" in caught.value.why


def test_small_ranges_of_a_group_are_compared_too(exported, graph, tmp_path):
    names = list(exported.plan.activations)[:2]
    for (scale, _), value in zip(pairs_of(graph, names), (0.001, 0.002), strict=True):
        scale.values = np.array(value, np.float32)
    with pytest.raises(UserError) as caught:
        verify(write(graph, tmp_path / "m.onnx"), tied(exported, names))
    assert "a group has one range" in caught.value.why


def test_a_member_of_a_group_that_has_no_q_is_left_out(exported):
    names = [next(iter(exported.plan.activations)), next(iter(exported.plan.weights))]
    verify(exported.placed, tied(exported, names))


@pytest.mark.parametrize(("rule", "allowed"), [(ONE_SIDE, True), ("gates", False)])
def test_one_side_may_stay_float_where_the_config_says_so(exported, graph, tmp_path, rule, allowed):
    float_weight(graph)
    skips = (SkippedNode(node="blocks.0.conv1", rule=rule, why="as the test says"),)
    with pytest.raises(UserError) as caught:  # the weight's pair is always lost
        verify(write(graph, tmp_path / "m.onnx"), exported.plan.model_copy(update={"skips": skips}))
    assert ("both operands are quantized or none" in caught.value.why) != allowed


def test_the_only_quantized_side_keeps_its_rules(graph):
    float_activation(graph)
    assert list(violations(graph, halved={"blocks.0.conv1"})) == []


def test_a_lone_activation_has_one_scale(graph):
    per_channel_activation(graph)
    float_weight(graph)
    (found,) = {item for item in violations(graph, halved={"blocks.0.conv1"})}
    assert found.invariant == "activations have one scale" and found.detail == conv(graph).inputs[0].name


@pytest.mark.parametrize(("count", "allowed"), [(1, True), (2, False), (16, False)])
def test_the_axis_matters_where_there_are_several_scales(graph, count, allowed):
    dq = conv(graph).inputs[1].inputs[0]
    scale, zero = own_parameters(dq)
    scale.values, zero.values = np.full(count, 0.1, np.float32), np.zeros(count, np.int8)
    del dq.attrs["axis"]
    found = [item.detail for item in violations(graph)]
    assert found == ([] if allowed else ["axis 1, not 0"])

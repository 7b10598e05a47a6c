import numpy as np
import onnx_graphsurgeon as gs
import pytest

from core.errors import UserError
from deploy.apply.insert import insert
from deploy.graph import onnx_graph
from deploy.importing.strip import strip
from deploy.placement.planning import decide
from deploy.placement.rules import RULES
from deploy.plan.plan import QuantizationPlan
from deploy.plan.scale import Scale, quantize_array
from tests.nets import qdq_graphs as graphs
from tests.nets.exported import image, reference

INT8, UINT8 = np.int8(0), np.uint8(0)


def kinds(graph):
    return [node.op for node in graph.nodes]


def stripped_weight(graph):
    """Name and values of the only Conv's weight after `strip`."""
    (conv,) = (node for node in graph.nodes if node.op == "Conv")
    return conv.inputs[1].name, conv.inputs[1].values


# strip: the remaining graph


def test_strip_leaves_the_float_graph():
    graph = graphs.one_conv()
    scales = strip(graph)
    assert kinds(graph) == ["Conv"]
    assert scales.keys() == {"x", "w"}
    np.testing.assert_array_equal(stripped_weight(graph)[1], graphs.weight())


def test_strip_keeps_symmetric_int8_scales_bit_for_bit():
    scales = strip(graphs.one_conv(scale=0.1234567))
    assert scales["x"].values == np.float32(0.1234567)
    assert scales["x"].values.shape == ()
    assert scales["x"].axis is None
    np.testing.assert_array_equal(scales["w"].values, np.abs(graphs.weight()).max(axis=(1, 2, 3)) / np.float32(127))
    assert scales["w"].axis == 0


def test_strip_takes_a_pair_off_a_graph_output():
    x, w = graphs.image(), gs.Constant("w", graphs.weight())
    conv = graphs.conv(x, w, "c")
    nodes = [conv, *graphs.pair(conv.outputs[0], 0.1, INT8, "c")]
    graph = graphs.graph(nodes, x, nodes[-1].outputs[0])
    assert len(strip(graph)) == 1
    assert kinds(graph) == ["Conv"]
    assert graph.outputs == graph.nodes[0].outputs


def test_float_graph_has_no_scales():
    x = graphs.image()
    conv = graphs.conv(x, gs.Constant("w", graphs.weight()))
    assert strip(graphs.graph([conv], x, conv.outputs[0])) == {}


# strip: foreign ranges


def test_uint8_scale_keeps_its_amax():
    amax = 5.1
    scale = strip(graphs.one_conv(amax / 255, UINT8))["x"]
    assert scale.values * 127 == pytest.approx(amax)


def test_missing_zero_point_means_uint8():
    scale = strip(graphs.one_conv(1 / 255, None))["x"]
    assert scale.values * 127 == pytest.approx(1)


@pytest.mark.parametrize(
    ("zero_point", "amax_steps"),
    [
        (np.uint8(128), 127),
        (np.uint8(127), 128),
        (np.uint8(100), 155),
        (np.uint8(255), 255),
        (np.int8(-128), 255),
        (np.int8(10), 138),
    ],
)
def test_asymmetric_range_is_covered_by_the_symmetric_one(zero_point, amax_steps):
    scale = strip(graphs.one_conv(0.01, zero_point))["x"]
    assert scale.values * 127 == pytest.approx(0.01 * amax_steps)


def pair_after(op, zero_point):
    """Kinds of the nodes left of `x ─▶ Conv ─▶ op ─▶ Q ─▶ DQ ─▶ Sigmoid`; `op` None leaves it out."""
    x = graphs.image()
    nodes = [graphs.conv(x, gs.Constant("w", graphs.weight()), "c")]
    if op is not None:
        nodes.append(gs.Node(op, "op", {}, [nodes[0].outputs[0]], [gs.Variable("o", np.float32, (1, 4, 8, 8))]))
    nodes += graphs.pair(nodes[-1].outputs[0], 0.1, zero_point, "q")
    nodes.append(gs.Node("Sigmoid", "s", {}, [nodes[-1].outputs[0]], [gs.Variable("y", np.float32, (1, 4, 8, 8))]))
    graph = graphs.graph(nodes, x, nodes[-1].outputs[0])
    strip(graph)
    return kinds(graph)


@pytest.mark.parametrize("zero_point", [UINT8, np.int8(-128), None])
def test_relu_that_a_range_from_zero_stood_for_comes_back(zero_point):
    assert pair_after(None, zero_point) == ["Conv", "Relu", "Sigmoid"]
    assert pair_after("Relu", zero_point) == ["Conv", "Relu", "Sigmoid"]


@pytest.mark.parametrize("zero_point", [INT8, np.uint8(128), np.uint8(1)])
def test_range_with_negatives_stands_for_no_relu(zero_point):
    assert pair_after(None, zero_point) == ["Conv", "Sigmoid"]


def test_int8_weight_behind_a_lone_dq_becomes_float_again():
    x = graphs.image()
    integers = np.random.default_rng(0).integers(-127, 128, (4, 3, 3, 3)).astype(np.int8)
    scales = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    dq = graphs.stored(integers, scales, np.zeros(4, np.int8), "w_quantized", axis=0)
    conv = graphs.conv(x, dq.outputs[0])
    graph = graphs.graph([dq, conv], x, conv.outputs[0])
    found = strip(graph)
    name, values = stripped_weight(graph)
    assert name == "w"
    np.testing.assert_array_equal(values, integers * scales.reshape(4, 1, 1, 1))
    np.testing.assert_array_equal(quantize_array(values, found["w"]), integers)


def test_uint8_weight_is_centred():
    x = graphs.image()
    integers = np.full((4, 3, 3, 3), 130, np.uint8)
    dq = graphs.stored(integers, np.float32(0.5), np.uint8(128), "w")
    conv = graphs.conv(x, dq.outputs[0])
    graph = graphs.graph([dq, conv], x, conv.outputs[0])
    scale = strip(graph)["w"]
    np.testing.assert_array_equal(stripped_weight(graph)[1], np.full((4, 3, 3, 3), 1.0, np.float32))
    assert scale.values * 127 == pytest.approx(0.5 * 128)


def test_int8_weight_without_zero_point_is_int8():
    x = graphs.image()
    integers = np.random.default_rng(0).integers(-127, 128, (4, 3, 3, 3)).astype(np.int8)
    dq = graphs.stored(integers, np.float32(0.5), None, "w")
    conv = graphs.conv(x, dq.outputs[0])
    assert strip(graphs.graph([dq, conv], x, conv.outputs[0]))["w"].values == np.float32(0.5)


# strip: refusals


def test_dq_that_no_q_feeds_is_refused():
    x = gs.Variable("x", np.int8, graphs.SHAPE)
    (_, dq) = graphs.pair(gs.Variable("unused", np.float32, graphs.SHAPE), 0.1, INT8, "x")
    dq.inputs[0] = x
    conv = graphs.conv(dq.outputs[0], gs.Constant("w", graphs.weight()))
    with pytest.raises(UserError, match="no QuantizeLinear feeds") as caught:
        strip(graphs.graph([dq, conv], x, conv.outputs[0]))
    assert "x_DQ" in caught.value.what


def test_q_without_dq_is_refused():
    x = graphs.image()
    q, _ = graphs.pair(x, 0.1, INT8, "x")
    with pytest.raises(UserError, match="do not form pairs") as caught:
        strip(graphs.graph([q], x, q.outputs[0]))
    assert "x_Q" in caught.value.why


def test_two_scales_on_one_tensor_are_refused():
    x, w = graphs.image(), gs.Constant("w", graphs.weight())
    first, second = graphs.pair(x, 0.1, INT8, "a"), graphs.pair(x, 0.2, INT8, "b")
    left, right = graphs.conv(first[1].outputs[0], w, "y"), graphs.conv(second[1].outputs[0], w, "z")
    graph = graphs.graph([*first, *second, left, right], x, left.outputs[0], right.outputs[0])
    with pytest.raises(UserError, match="tensor x is quantized with two different scales"):
        strip(graph)


def test_one_scale_twice_on_one_tensor_is_one_scale():
    x, w = graphs.image(), gs.Constant("w", graphs.weight())
    first, second = graphs.pair(x, 0.1, INT8, "a"), graphs.pair(x, 0.1, INT8, "b")
    left, right = graphs.conv(first[1].outputs[0], w, "y"), graphs.conv(second[1].outputs[0], w, "z")
    graph = graphs.graph([*first, *second, left, right], x, left.outputs[0], right.outputs[0])
    assert strip(graph).keys() == {"x"}


def test_other_element_types_are_refused():
    with pytest.raises(UserError, match="int16 is not supported"):
        strip(graphs.one_conv(0.1, np.int16(0)))


# quantize


@pytest.mark.parametrize(
    ("value", "steps"), [(0.0, 0), (0.5, 0), (1.5, 2), (2.5, 2), (-0.5, 0), (-1.5, -2), (126.6, 127), (-128.0, -127)]
)
def test_quantize_rounds_to_even_and_clips_to_the_narrow_range(value, steps):
    result = quantize_array(np.array([value], np.float32), Scale(np.array(1.0, np.float32)))
    assert result.dtype == np.int8
    assert result == [steps]


def test_quantize_scales_along_the_axis():
    values = np.ones((2, 3), np.float32)
    scale = Scale(np.array([1, 0.5, 0.25], np.float32), axis=1)
    np.testing.assert_array_equal(quantize_array(values, scale), [[1, 2, 4], [1, 2, 4]])


# strip and insert


def test_round_trip_keeps_the_numerics(exported, tmp_path):
    graph = onnx_graph.load(exported.qdq)
    scales = strip(graph)
    graph = onnx_graph.clean(graph)
    plan, _ = decide(onnx_graph.view(graph), QuantizationPlan().with_scales(scales, "test"), RULES)
    insert(graph, plan)
    onnx_graph.save(graph, tmp_path / "again.onnx")
    feeds = {"image": image()}
    np.testing.assert_allclose(
        reference(tmp_path / "again.onnx", feeds), reference(exported.qdq, feeds), rtol=0, atol=1e-5
    )


def test_insert_stores_weights_as_int8_and_shares_one_pair_per_tensor(exported):
    graph = onnx_graph.load(exported.placed)
    convolutions = [node for node in graph.nodes if node.op == "Conv"]
    for node in convolutions:
        integers = node.inputs[1].inputs[0].inputs[0]
        assert isinstance(integers, gs.Constant)
        assert integers.values.dtype == np.int8
        assert node.inputs[1].inputs[0].inputs[1].values.shape == (node.inputs[1].shape[0],)
    sources = [node.inputs[0].name for node in graph.nodes if node.op == "QuantizeLinear"]
    assert len(sources) == len(set(sources)) == len(exported.plan.activations)

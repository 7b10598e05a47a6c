"""Rewrites keep the function and the scales that still hold; look-alikes stay unchanged."""

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from deploy.graph.onnx_graph import op_node
from deploy.plan.plan import QuantizationPlan
from deploy.plan.scale import Scale, quantize_array
from deploy.rewrites.bn_as_conv import bn_as_conv
from deploy.rewrites.fold_bn_through_add import fold_bn_through_add
from tests.property.random_graphs import run

SIDES = (1, 4, 6, 6)
RANDOM = np.random.default_rng(3)
FACTORS = np.float32([2, -0.5, 0.01, 3])
FEEDS = {name: RANDOM.standard_normal(SIDES, dtype=np.float32) for name in ("x", "z")}


class Net:
    """Nodes between inputs x and z, both 1×4×6×6, and an output."""

    def __init__(self):
        self.x, self.z = (gs.Variable(name, np.float32, SIDES) for name in ("x", "z"))
        self.nodes = []

    def op(self, kind, inputs, **attrs):
        result = gs.Variable(f"{kind}{len(self.nodes)}", np.float32, SIDES)
        self.nodes.append(gs.Node(kind, f"n{len(self.nodes)}", attrs, inputs, [result]))
        return result

    def conv(self, source):
        number = len(self.nodes)
        values = RANDOM.standard_normal((4, 4, 1, 1)).astype(np.float32)
        bias = gs.Constant(f"b{number}", RANDOM.standard_normal(4).astype(np.float32))
        return self.op("Conv", [source, gs.Constant(f"w{number}", values), bias], kernel_shape=[1, 1])

    def norm(self, source, gamma=FACTORS):
        number = len(self.nodes)
        values = (gamma, [0.5, -1, 2, 0], [1, -1, 0, 0.3], [0.5, 1, 2, 4])
        constants = [gs.Constant(f"bn{number}_{i}", np.float32(value)) for i, value in enumerate(values)]
        return self.op("BatchNormalization", [source, *constants])

    def graph(self, *outputs):
        return gs.Graph(
            list(self.nodes), inputs=[self.x, self.z], outputs=list(outputs), opset=18, ir_version=8
        ).toposort()


def head(gamma=FACTORS):
    """PIDNet's: BatchNorm of a sum of two 1×1 convolutions."""
    net = Net()
    return net, net.op("Relu", [net.norm(net.op("Add", [net.conv(net.x), net.conv(net.z)]), gamma)])


def pyramid():
    """PIDNet's: BatchNorm of a pool."""
    net = Net()
    pooled = net.op("AveragePool", [net.x], kernel_shape=[3, 3], pads=[1] * 4)
    return net, net.conv(net.op("Relu", [net.norm(pooled)]))


def kinds(graph):
    return [node.op for node in graph.nodes]


def same(before, after):
    for name, values in before.items():
        np.testing.assert_allclose(after[name], values, rtol=0, atol=2e-5)


def test_batchnorm_behind_an_add_is_folded_into_both_convolutions():
    net, result = head()
    graph = net.graph(result)
    expected = run(graph, FEEDS)
    fold_bn_through_add(graph, QuantizationPlan())
    assert sorted(kinds(graph)) == ["Add", "Conv", "Conv", "Relu"]
    outputs = {node.outputs[0].name for node in graph.nodes if node.op == "Conv"}
    assert outputs == {"Conv0_folded", "Conv1_folded"}, "values that changed are not taken for those of the old name"
    same(expected, run(graph, FEEDS))


def test_weights_keep_their_integers_and_tensors_that_changed_lose_their_scales():
    net, result = head()
    graph = net.graph(result)
    first, second = (node for node in graph.nodes if node.op == "Conv")
    before = {conv.inputs[1].name: conv.inputs[1].values.copy() for conv in (first, second)}
    weight_scale = Scale(np.float32([0.1, 0.2, 0.3, 0.4]), 0)
    one = Scale(np.float32(0.1))
    total = graph.nodes[2].outputs[0].name
    scales = dict.fromkeys(before, weight_scale) | dict.fromkeys(["x", first.outputs[0].name, total, "Relu4"], one)
    _, plan = fold_bn_through_add(graph, QuantizationPlan().with_scales(scales, "test"))
    kept = plan.scales()
    assert kept.keys() == {*before, "x", "Relu4"}
    for conv in (first, second):
        name = conv.inputs[1].name
        signs = np.sign(FACTORS).reshape(-1, 1, 1, 1)
        now = quantize_array(conv.inputs[1].values, kept[name])
        np.testing.assert_array_equal(now, quantize_array(before[name], weight_scale) * signs)


def second_reader_of_the_sum():
    net, result = head()
    return net.graph(result, net.op("Abs", [net.nodes[2].outputs[0]]))


def second_reader_of_a_convolution():
    net, result = head()
    return net.graph(result, net.op("Abs", [net.nodes[0].outputs[0]]))


def sum_is_an_output():
    net, result = head()
    return net.graph(result, net.nodes[2].outputs[0])


def input_that_is_no_convolution():
    net = Net()
    return net.graph(net.norm(net.op("Add", [net.conv(net.x), net.z])))


def doubled_convolution():
    net = Net()
    tensor = net.conv(net.x)
    return net.graph(net.norm(net.op("Add", [tensor, tensor])))


def zero_factor():
    net, result = head(np.float32([1, 0, 1, 1]))
    return net.graph(result)


LOOK_ALIKES = [
    second_reader_of_the_sum,
    second_reader_of_a_convolution,
    sum_is_an_output,
    input_that_is_no_convolution,
    doubled_convolution,
    zero_factor,
]


@pytest.mark.parametrize("make", LOOK_ALIKES)
def test_look_alikes_stay(make):
    graph = make()
    before = kinds(graph)
    fold_bn_through_add(graph, QuantizationPlan())
    assert kinds(graph) == before and "BatchNormalization" in before


def test_batchnorm_becomes_a_depthwise_convolution_whose_weight_is_exact():
    net, result = pyramid()
    graph = net.graph(result)
    expected = run(graph, FEEDS)
    _, plan = bn_as_conv(graph, QuantizationPlan())
    scales = plan.scales()
    assert "BatchNormalization" not in kinds(graph)
    same(expected, run(graph, FEEDS))
    (conv,) = (node for node in graph.nodes if op_node(node).attrs["groups"] == 4)
    weight = conv.inputs[1]
    integers = quantize_array(weight.values, scales[weight.name])
    assert set(np.abs(integers).ravel()) == {127}
    np.testing.assert_allclose(integers.ravel() * scales[weight.name].values, weight.values.ravel(), rtol=1e-6)


def test_batchnorm_of_vectors_stays():
    source = gs.Variable("x", np.float32, (2, 4))
    constants = [gs.Constant(f"c{i}", np.float32([1, 2, 3, 4])) for i in range(4)]
    result = gs.Variable("y", np.float32, (2, 4))
    node = gs.Node("BatchNormalization", "bn", inputs=[source, *constants], outputs=[result])
    graph = gs.Graph([node], inputs=[source], outputs=[result], opset=18, ir_version=8)
    assert bn_as_conv(graph, QuantizationPlan())[1].tensors == {} and kinds(graph) == ["BatchNormalization"]

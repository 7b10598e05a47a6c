import numpy as np
import onnx_graphsurgeon as gs
import pytest

from deploy.apply.number_formats import as_unsigned
from deploy.graph.opgraph import DEQUANTIZE, QUANTIZE
from deploy.importing.strip import strip
from tests.property.random_graphs import run

SCALE = np.float32(0.05)


def pair(graph, name, tensor):
    parameters = [gs.Constant(f"{name}_s", np.array(SCALE)), gs.Constant(f"{name}_z", np.array(0, np.int8))]
    integers, floats = gs.Variable(f"{name}_q", np.int8, (1, 4)), gs.Variable(f"{name}_d", np.float32, (1, 4))
    graph.nodes += [
        gs.Node(QUANTIZE, f"{name}_Q", inputs=[tensor, *parameters], outputs=[integers]),
        gs.Node(DEQUANTIZE, f"{name}_D", inputs=[integers, *parameters], outputs=[floats]),
    ]
    return floats


def two_pairs():
    """A pair on the input and one on its Relu."""
    x = gs.Variable("x", np.float32, (1, 4))
    positive = gs.Variable("r", np.float32, (1, 4))
    graph = gs.Graph([gs.Node("Relu", "relu", inputs=[x], outputs=[positive])], inputs=[x], opset=18, ir_version=8)
    graph.outputs = [pair(graph, "signed", x), pair(graph, "positive", positive)]
    return graph.toposort()


def types(graph):
    return {node.name: (node.inputs[2].values.dtype.name, int(node.inputs[2].values)) for node in graph.nodes[1:]}


@pytest.mark.parametrize(
    ("unsigned", "signed", "positive"),
    [
        ("never", ("int8", 0), ("int8", 0)),
        ("non-negative", ("int8", 0), ("uint8", 0)),
        ("always", ("uint8", 128), ("uint8", 0)),
    ],
)
def test_types(unsigned, signed, positive):
    graph = two_pairs()
    as_unsigned(graph, unsigned)
    found = types(graph)
    assert found["signed_Q"] == found["signed_D"] == signed
    assert found["positive_Q"] == found["positive_D"] == positive


@pytest.mark.parametrize("unsigned", ["non-negative", "always"])
def test_values_stay_within_one_trained_step(unsigned):
    plain, other = two_pairs(), two_pairs()
    as_unsigned(other, unsigned)
    x = {"x": np.linspace(-9, 9, 4000, dtype=np.float32).reshape(1000, 4)}
    for graph in (plain, other):
        graph.inputs[0].shape = ("n", 4)
        for tensor in graph.tensors().values():
            if not isinstance(tensor, gs.Constant):
                tensor.shape = ("n", 4)
    before, after = run(plain, x), run(other, x)
    np.testing.assert_array_equal(after["signed_d"], before["signed_d"])
    assert np.abs(after["positive_d"] - before["positive_d"]).max() <= SCALE
    assert after["positive_d"].max() == pytest.approx(before["positive_d"].max())  # saturates at the same value


@pytest.mark.parametrize("unsigned", ["never", "non-negative", "always"])
def test_stripping_gives_the_trained_scales_back(unsigned):
    graph = two_pairs()
    as_unsigned(graph, unsigned)
    scales = strip(graph)
    found = [float(scale.values) for scale in scales.values()]  # `strip` names both after the graph's outputs
    assert len(scales) == 2 and found == pytest.approx([SCALE, SCALE])


def swish_pair(amax):
    x = gs.Variable("x", np.float32, (1, 4))
    y = gs.Variable("y", np.float32, (1, 4))
    graph = gs.Graph([gs.Node("HardSwish", "swish", {}, [x], [y])], inputs=[x], opset=18, ir_version=8)
    graph.outputs = [pair(graph, "p", y)]
    graph.nodes[1].inputs[1].values = graph.nodes[2].inputs[1].values = np.array(amax / 127, np.float32)
    return graph.toposort()


@pytest.mark.parametrize("amax", [0.5, 1.0, 6.0, 40.0])
def test_a_floor_gives_finer_steps_over_the_same_range(amax):
    plain, fine = swish_pair(amax), swish_pair(amax)
    as_unsigned(plain, "always")
    as_unsigned(fine, "always", floors=True)
    (scale,), zero = fine.nodes[1].inputs[1].values.reshape(-1), int(fine.nodes[1].inputs[2].values)
    assert types(fine)["p_Q"] == types(fine)["p_D"] and zero < 128
    assert scale * (255 - zero) == pytest.approx(amax) and -scale * zero <= -0.375
    x = {"x": np.linspace(-5, min(amax, 5), 4000, dtype=np.float32).reshape(1000, 4)}
    for graph in (plain, fine):
        for tensor in graph.tensors().values():
            if not isinstance(tensor, gs.Constant):
                tensor.shape = ("n", 4)
    values = x["x"] * np.clip(x["x"] / 6 + 0.5, 0, 1)
    errors = [np.abs(np.minimum(values, amax) - run(graph, x)["p_d"]).max() for graph in (plain, fine)]
    assert errors[1] <= scale / 2 + 1e-6 < errors[0] + 1e-6


def test_a_range_that_the_floor_fills_stays_as_it_is():
    graph = swish_pair(0.3)  # clipped below the floor's magnitude
    as_unsigned(graph, "non-negative", floors=True)
    assert types(graph)["p_Q"] == ("int8", 0)

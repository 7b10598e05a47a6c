import pytest

from deploy.placement.decide import placement
from deploy.placement.rules.base import WeightUse
from deploy.placement.rules.weighted import RULE
from tests.rules.notation import net, quantized, whys


@pytest.mark.parametrize(
    ("kind", "attrs", "axis"),
    [
        ("Conv", {}, 0),
        ("ConvTranspose", {}, 1),
        ("Gemm", {"transB": 1}, 0),
        ("Gemm", {"transB": 0}, 1),
        ("MatMul", {}, 1),
    ],
)
def test_fires_with_the_output_channel_axis(kind, attrs, axis):
    graph = net(f"y = {kind}(x, w)", "y", {"w": (8, 4)}, y=attrs)
    assert quantized(graph, RULE) == {("x", "y")}
    assert [item.use for item in placement(graph, (RULE,)).weights] == [WeightUse("w", "y", 1, axis)]


@pytest.mark.parametrize(
    ("text", "attrs", "why"),
    [
        ("y = Conv(x, v)", {}, "the weight is computed, not constant"),
        ("y = MatMul(x, w)", {}, "only a matrix has an output-channel axis that all products share"),
        ("y = Conv(c_image, w)", {}, "the input is constant; the whole op folds away"),
        (
            "y = ConvTranspose(x, w)",
            {"groups": 2},
            "a grouped ConvTranspose has no per-output-channel axis in ONNX layout",
        ),
    ],
)
def test_skips_say_why(text, attrs, why):
    graph = net(text, "y", y=attrs)
    assert quantized(graph, RULE) == set()
    assert whys(graph, RULE) == {"y": why}


def test_look_alike_matmul_of_two_activations_is_untouched():
    graph = net("y = MatMul(x, v)", "y")
    assert quantized(graph, RULE) == set() and whys(graph, RULE) == {}


def test_grouped_convolution_fires():
    assert quantized(net("y = Conv(x, w)", "y", y={"groups": 4}), RULE) == {("x", "y")}

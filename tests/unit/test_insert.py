import torch
from torch import nn
from torch.nn import functional as F

from deploy.profiles import select
from deploy.rules import RULES
from qat import fx_graph
from qat.insert import insert
from qat.quantizers import Mode, quantizers
from tests.nets.residual import residual_net

EXAMPLE = torch.zeros(1, 3, 32, 32)


def test_one_quantizer_a_tensor_and_one_a_weight():
    model = fx_graph.trace(residual_net(), EXAMPLE)
    where = insert(model, RULES)
    found = quantizers(model)
    assert len(found) == len(where.by_tensor) + len(where.weights) == 7 + 6
    assert "quantizers.stem" in found, "the stem feeds a convolution and a residual Add through one quantizer"
    stem = next(node for node in model.graph.nodes if node.target == "quantizers.stem")
    assert {user.name for user in stem.users} == {"blocks_0_conv1", "add"}


def test_parameters_keep_their_names_and_values():
    plain = residual_net()
    model = fx_graph.trace(residual_net(), EXAMPLE)
    insert(model, RULES)
    state = model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in plain.state_dict().items())
    assert [name for name, _ in model.named_parameters() if "quantizer" not in name] == [
        name for name, _ in plain.named_parameters()
    ]


def test_float_mode_computes_exactly_what_the_float_model_does():
    plain = residual_net()
    model = fx_graph.trace(residual_net(), EXAMPLE)
    insert(model, RULES)
    for quantizer in quantizers(model).values():
        quantizer.set_mode(Mode.FLOAT)
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(model(x), plain(x), rtol=0, atol=1e-6)


def test_rules_and_skip_patterns_decide():
    model = fx_graph.trace(residual_net(), EXAMPLE)
    insert(model, select(disable=["residual-add"]), skip=["blocks.0.*", "head"])
    names = quantizers(model)
    assert "head.weight_quantizer" not in names and "blocks.0.conv1.weight_quantizer" not in names
    assert "blocks.1.conv1.weight_quantizer" in names


def test_functional_convolution_gets_its_weight_quantized():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 3, 3, 3))

        def forward(self, x):
            return F.conv2d(x, self.weight, padding=1)

    model = fx_graph.trace(Functional(), EXAMPLE)
    insert(model, RULES)
    weight = quantizers(model)["quantizers.weight"]
    assert weight.axis == 0 and weight.amax.shape == (4,)
    assert [str(node.target) for node in model.graph.nodes if node.op == "call_module"] == [
        "quantizers.x",
        "quantizers.weight",
    ]


def test_transposed_convolution_and_linear():
    model = nn.Sequential(nn.ConvTranspose2d(3, 6, 2, stride=2), nn.Flatten(), nn.Linear(6 * 16 * 16, 2))
    expected = model(torch.ones(1, 3, 8, 8))
    traced = fx_graph.trace(model, torch.zeros(1, 3, 8, 8))
    insert(traced, RULES)
    found = quantizers(traced)
    assert found["0.weight_quantizer"].axis == 1 and found["2.weight_quantizer"].axis == 0
    for quantizer in found.values():
        quantizer.set_mode(Mode.FLOAT)
    torch.testing.assert_close(traced(torch.ones(1, 3, 8, 8)), expected)

import torch
from torch import nn
from torch.nn import functional as F

from deploy.checks.verify import verify
from deploy.graph import onnx_graph
from deploy.placement.rule_sets import select
from deploy.placement.rules import RULES
from qat.calibration.approaches import finish
from qat.export import export_onnx
from qat.quantization.insert import insert
from qat.quantization.quantizers import Mode, quantizers
from qat.tracing import fx_graph
from tests.nets.placing import place
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


class Branches(nn.Module):
    """Two convolutions joined in front of a third."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)
        self.join = nn.Conv2d(8, 4, 1)

    def forward(self, x):
        return self.join(torch.cat([self.left(x), 9 * self.right(x)], 1))


def test_tied_tensors_share_one_quantizer_and_so_one_range(tmp_path):
    model = fx_graph.trace(Branches(), EXAMPLE)
    where = insert(model, RULES)
    assert where.groups == (("cat", "left", "mul"),)
    shared = [node for node in model.graph.nodes if node.target == "quantizers.left"]
    assert {str(node.args[0]) for node in shared} == {"left", "mul", "cat"}
    quantizer = quantizers(model)["quantizers.left"]
    assert not {"quantizers.mul", "quantizers.cat"} & quantizers(model).keys()
    for each in quantizers(model).values():
        each.set_mode(Mode.TRACK)
    model.train()(torch.randn(2, 3, 8, 8))
    finish(model)
    export_onnx(model, EXAMPLE, tmp_path / "m.onnx", 18)
    placed = place(tmp_path / "m.onnx", RULES)
    onnx_graph.save(placed.graph, tmp_path / "placed.onnx")
    verify(tmp_path / "placed.onnx", placed.plan)
    assert len(placed.plan.groups) == 1 and placed.widened == () == placed.unused
    steps = {float(node.inputs[1].values) for node in placed.graph.nodes if node.op == "QuantizeLinear"}
    assert len(steps) == 2 and any(abs(step - float(quantizer.scale)) < 1e-9 for step in steps)

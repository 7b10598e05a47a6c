import operator

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from core.errors import UserError
from deploy.graph.opgraph import commutes
from qat.tracing import fx_graph
from qat.tracing.inputs import apply
from tests.nets.residual import residual_net

EXAMPLE = torch.zeros(1, 3, 32, 32)


def test_view_uses_onnx_kinds_and_module_paths():
    graph = fx_graph.view(fx_graph.trace(residual_net(), EXAMPLE))
    assert graph.node("blocks.0.conv1").kind == "Conv"
    assert graph.node("blocks.0.conv1").inputs == ("stem", "blocks.0.conv1.weight")
    assert graph.constants["stem.weight"] == (16, 3, 3, 3)
    kinds = [node.kind for node in graph.nodes]
    assert kinds.count("Add") == 2 and kinds.count("BatchNormalization") == 5 and kinds.count("Resize") == 1


def test_sizes_are_no_operators():
    graph = fx_graph.view(fx_graph.trace(residual_net(), EXAMPLE))
    assert {node.kind for node in graph.nodes} == {"Conv", "BatchNormalization", "Relu", "Add", "Resize"}
    assert [edge.node for edge in graph.uses("relu")] == ["head"], "reading a shape is not reading the tensor"


def test_a_sum_in_place_is_written_to_a_tensor_of_its_own():
    class Residual(nn.Module):
        def forward(self, x):
            y = torch.relu(x)
            y += x
            y *= 2
            return y.add_(1)

    traced = fx_graph.trace(Residual(), EXAMPLE)
    assert [node.target for node in traced.graph.nodes if node.op.startswith("call")] == [
        torch.relu,
        operator.add,
        operator.mul,
        "add",
    ]


class Branches(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class TwoOutputs(nn.Module):
    def forward(self, x):
        return x, x + 1


class Aliasing(nn.Module):
    """The sum sees the rectified tensor only because the ReLU works in place."""

    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        y = x * 2
        self.relu(y)
        return y + 1


class AddingInPlace(nn.Module):
    """The product sees the sum only because `+=` works in place."""

    def forward(self, x):
        y = z = x * 2
        y += 1
        return y * z


class Slices(nn.Module):
    """The sum sees the rectified channel only because it is a part of the same memory."""

    def forward(self, x):
        y = x * 2
        y[:, 0].relu_()
        return y + 1


def test_what_is_read_after_it_was_overwritten_is_the_new_value():
    model, image = Aliasing(), torch.full((1, 3, 8, 8), -1.0)
    expected = model(image)
    assert torch.equal(fx_graph.trace(model, image)(image), expected)
    assert torch.equal(model(image), expected) and model.relu.inplace, "the network itself is as it was"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Branches(), "neither torch.fx nor torch.export can trace"),
        (TwoOutputs(), "returns 2 outputs"),
        (Slices(), "computes something else"),
        (AddingInPlace(), "computes something else"),
    ],
)
def test_what_cannot_be_traced_is_refused(model, message):
    with pytest.raises(UserError, match=message):
        fx_graph.trace(model, torch.full((1, 3, 8, 8), -1.0))


def test_a_module_called_twice_is_two_operators():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x):
            return self.conv(self.conv(x))

    graph = fx_graph.view(fx_graph.trace(Twice(), EXAMPLE))
    assert [node.name for node in graph.nodes] == ["conv", "conv_1"]
    assert graph.nodes[1].inputs[1] == "conv.weight"


class Shapes(nn.Module):
    def __init__(self):
        super().__init__()
        self.zero, self.one, self.mirror = nn.ZeroPad2d(1), nn.ConstantPad2d(1, 1.0), nn.ReflectionPad2d(1)

    def forward(self, x):
        x = self.mirror(self.one(self.zero(x)))
        x = F.pad(F.pad(x, (1, 1, 1, 1), "replicate"), (1, 1), value=2.0)
        x = F.interpolate(F.interpolate(x, None, 2.0, "bilinear"), scale_factor=2)
        x = F.conv2d(x, torch.ones(3, 1, 1, 1), None, 1, 0, 1, 3)
        return x.permute(0, 2, 3, 1).flatten(1).sum(dim=1)


def test_attributes_are_read_however_they_are_given():
    nodes = [n for n in fx_graph.view(fx_graph.trace(Shapes(), EXAMPLE)).nodes if not n.kind.startswith("torch.")]
    assert [node.kind for node in nodes] == ["Pad"] * 5 + ["Resize"] * 2 + ["Conv", "Transpose", "Reshape", "ReduceSum"]
    assert [commutes(node) for node in nodes[:7]] == [True, False, True, True, False, False, True]
    assert nodes[7].attrs["groups"] == 3


class Optional(nn.Module):
    """A network that branches on missing arguments, as transformers do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)

    def forward(self, image=None, weight=None, *, labels=None, size=(1, 1), named=True):
        x = self.conv(image)
        if weight is not None:
            x = x * weight
        if labels is not None:
            return {"loss": F.cross_entropy(x, labels)}
        x = F.adaptive_avg_pool2d(x, size)
        return {"out": x} if named else x


@pytest.mark.parametrize(
    ("example", "kinds"),
    [
        (torch.ones(1, 3, 4, 4), ["Conv", "GlobalAveragePool"]),
        ((torch.ones(1, 3, 4, 4), torch.ones(1)), ["Conv", "Mul", "GlobalAveragePool"]),
        ({"weight": torch.ones(1), "image": torch.ones(1, 3, 4, 4)}, ["Conv", "Mul", "GlobalAveragePool"]),
    ],
)
def test_parameters_that_are_not_given_are_constants(example, kinds):
    model = Optional()
    traced = fx_graph.trace(model, example, one_output=False)
    assert [node.kind for node in fx_graph.view(traced).nodes] == kinds
    assert torch.equal(apply(traced, example)["out"], apply(model, example)["out"])

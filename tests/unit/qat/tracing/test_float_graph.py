"""The float ONNX graph of a traced network: names, aliases, weights, inputs, outputs and values."""

from collections import Counter

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.torch_version import TorchVersion

from core.errors import UnsupportedEnvironment, UserError
from deploy.placement.rules import RULES
from deploy.plan.plan import QuantizationPlan
from deploy.plan.scale import Scale
from qat.calibration.approaches import finish
from qat.export import planned
from qat.quantization.insert import insert
from qat.quantization.quantizers import quantizers
from qat.tracing import fx_graph
from qat.tracing.export import _reason, float_graph, named_inputs, value_names
from tests.nets.residual import residual_net

IMAGE = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def exported(model, example=IMAGE, **options):
    """The traced network and its float graph."""
    traced = fx_graph.trace(model, example, **options)
    return traced, float_graph(traced, example, 18)[0]


def run(graph, feeds):
    """Every output by name, nothing fused."""
    model = gs.export_onnx(graph)
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    arrays = {name: value.numpy() for name, value in feeds.items()}
    return dict(zip([tensor.name for tensor in graph.outputs], session.run(None, arrays), strict=True))


def names(graph):
    """Operator by node name."""
    return {node.name: node.op for node in graph.nodes}


def close(got, expected):
    np.testing.assert_allclose(got, expected.detach().numpy(), rtol=0, atol=1e-4)


def only(graph, name):
    (node,) = (node for node in graph.nodes if node.name == name)
    return node


@pytest.fixture(scope="module")
def residual():
    return exported(residual_net())


def test_nodes_tensors_and_weights_are_called_as_in_the_network(residual):
    _, graph = residual
    assert [tensor.name for tensor in (*graph.inputs, *graph.outputs)] == ["image", "logits"]
    convolutions = {"stem", "head", *(f"blocks.{block}.conv{i}" for block in (0, 1) for i in (1, 2))}
    assert {name for name, kind in names(graph).items() if kind == "Conv"} == convolutions
    assert only(graph, "stem").outputs[0].name == "stem"
    folded = only(graph, "blocks.1.conv2")
    assert folded.inputs[1].name == "blocks.1.conv2.weight"
    assert folded.outputs[0].name == "blocks.1.bn2", "a folded BatchNorm names the result"
    assert names(graph)["pre"] == "BatchNormalization"
    assert only(graph, "head").inputs[1].shape == [5, 16, 1, 1]


def test_every_tensor_of_the_graph_is_a_value_of_the_network_or_a_parameter(residual):
    model, graph = residual
    known = {*value_names(model).values(), *(name for name, _ in model.named_parameters())}
    activations = {tensor.name for node in graph.nodes for tensor in node.outputs}
    weights = {node.inputs[1].name for node in graph.nodes if node.op == "Conv"}
    assert activations | weights <= known


@pytest.mark.parametrize("opset", [18, 19, 20])
def test_the_graph_computes_what_torch_computes(opset):
    model = fx_graph.trace(residual_net(), IMAGE)
    graph, _ = float_graph(model, IMAGE, opset)
    assert graph.opset == opset
    close(run(graph, {"image": IMAGE})["logits"], model(IMAGE))


def test_the_network_is_left_as_it_was(residual):
    model, _ = residual
    model.train()
    code, state = model.code, {name: value.clone() for name, value in model.state_dict().items()}
    float_graph(model, IMAGE, 18)
    assert model.training and model.code == code
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in state.items())
    model.eval()


class Aliases(nn.Module):
    """Dropout, Identity and a contiguous copy: values of the traced network without separate tensors."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)
        self.drop, self.same, self.act = nn.Dropout(), nn.Identity(), nn.ReLU()

    def forward(self, x):
        y = self.same(self.drop(self.conv(self.same(x))))
        return self.drop(self.head(self.drop(self.act(y)).contiguous()))


def test_copies_of_a_value_have_its_name():
    model, graph = exported(Aliases())
    assert names(graph) == {"conv": "Conv", "act": "Relu", "head": "Conv"}
    assert [node.outputs[0].name for node in graph.nodes] == ["conv", "act", "logits"]
    close(run(graph, {"image": IMAGE})["logits"], model(IMAGE))


def test_readers_of_a_copy_are_quantized_where_the_value_is():
    model = fx_graph.trace(Aliases(), IMAGE)
    insert(model, RULES)
    assert quantizers(model).keys() == {
        "quantizers.x",
        "quantizers.act",
        "conv.weight_quantizer",
        "head.weight_quantizer",
    }
    for quantizer in quantizers(model).values():
        quantizer.set_amax(4.0, "test")
    finish(model)
    _, plan = planned(model, IMAGE, 18)
    assert {name: [use.node for use in item.uses] for name, item in plan.activations.items()} == {
        "image": ["conv"],
        "act": ["head"],
    }


class Functional(nn.Module):
    """Parameters that no layer owns, two levels deep."""

    def __init__(self):
        super().__init__()
        self.kernel, self.inner = nn.Parameter(torch.randn(4, 3, 3, 3)), nn.Module()
        self.inner.matrix = nn.Parameter(torch.randn(5, 4))
        self.register_buffer("gain", torch.rand(1, 4, 1, 1))

    def forward(self, x):
        x = F.conv2d(x, self.kernel, padding=1) * self.gain
        return F.linear(x.mean((2, 3)), self.inner.matrix)


def test_weights_of_functions_keep_their_paths():
    model, graph = exported(Functional())
    assert only(graph, "conv2d").inputs[1].name == "kernel"
    assert only(graph, "linear").inputs[1].name == "inner.matrix"
    assert only(graph, "mul").inputs[1].name == "gain"
    close(run(graph, {"image": IMAGE})["logits"], model(IMAGE))


def test_weights_of_functions_are_planned_by_their_paths():
    model = fx_graph.trace(Functional(), IMAGE)
    insert(model, RULES)
    for quantizer in quantizers(model).values():
        quantizer.set_amax(4.0, "test")
    finish(model)
    _, plan = planned(model, IMAGE, 18)
    assert {name: item.axis for name, item in plan.weights.items()} == {"kernel": 0, "inner.matrix": 0}


class Equal(nn.Module):
    """Two layers that start from the same weights."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)
        self.right.load_state_dict(self.left.state_dict())

    def forward(self, x):
        return self.left(x) * torch.sigmoid(self.right(x))


def test_equal_weights_of_two_layers_keep_their_own_names():
    _, graph = exported(Equal())
    for name in ("left", "right"):
        assert [tensor.name for tensor in only(graph, name).inputs[1:]] == [f"{name}.weight", f"{name}.bias"]


def test_a_synchronized_batch_norm_is_folded_as_any_other():
    plain, converted = residual_net(), nn.SyncBatchNorm.convert_sync_batchnorm(residual_net())
    assert sum(type(module) is nn.SyncBatchNorm for module in converted.modules()) == 5
    (_, graph), (model, other) = exported(plain), exported(converted)
    assert names(other) == names(graph)
    for name in ("blocks.0.conv1", "blocks.1.conv2"):
        np.testing.assert_array_equal(only(other, name).inputs[1].values, only(graph, name).inputs[1].values)
    close(run(other, {"image": IMAGE})["logits"], model(IMAGE))


class Several(nn.Module):
    """Two inputs and three results, one of which other layers read."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(1, 4, 1), nn.Conv2d(4, 2, 1)

    def forward(self, color, depth):
        joined = self.first(color) + self.second(depth)
        return {"out": self.head(torch.relu(joined)), "joined": joined, "gate": torch.sigmoid(joined)}


@pytest.mark.parametrize("by_name", [False, True])
def test_several_inputs_and_outputs_keep_their_names_and_order(by_name):
    color, depth = IMAGE, torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    example = {"depth": depth, "color": color} if by_name else (color, depth)
    model, graph = exported(Several(), example, one_output=False)
    assert [(tensor.name, tuple(tensor.shape)) for tensor in graph.inputs] == [
        ("color", (1, 3, 16, 16)),
        ("depth", (1, 1, 16, 16)),
    ]
    assert [tensor.name for tensor in graph.outputs] == ["head", "add", "sigmoid"]
    got = run(graph, named_inputs(model, example))
    expected = model(color, depth)
    for name, key in (("head", "out"), ("add", "joined"), ("sigmoid", "gate")):
        close(got[name], expected[key])


class Twice(nn.Module):
    """A layer that is called twice, and operators that become several ONNX nodes."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 4), nn.GELU()
        self.stem = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        return self.act(self.norm(self.conv(self.conv(self.stem(x)))))


def test_a_layer_called_twice_is_two_nodes_with_one_weight():
    model, graph = exported(Twice())
    first, second = only(graph, "conv"), only(graph, "conv_1")
    assert first.inputs[1] is second.inputs[1] and first.inputs[1].name == "conv.weight"
    close(run(graph, {"image": IMAGE})["logits"], model(IMAGE))


def test_nodes_of_one_operator_carry_its_name():
    _, graph = exported(Twice())
    owners = Counter(name.partition("/")[0] for name in names(graph))
    assert owners.keys() == {"stem", "conv", "conv_1", "norm", "act"}
    assert owners["norm"] > 1 and owners["act"] > 1
    assert {"norm", "act"} <= names(graph).keys(), "the node that makes the result has the plain name"


def test_scales_of_weights_follow_their_batch_norm():
    model = fx_graph.trace(residual_net(), IMAGE)
    weight = model.get_submodule("blocks.0.conv1").weight.detach()
    scale = (weight.abs().amax((1, 2, 3)) / 127).numpy()
    own = QuantizationPlan().adding({"blocks.0.conv1.weight": Scale(scale, 0), "stem": Scale(np.float32(0.5))}, "given")
    graph, plan = float_graph(model, IMAGE, 18, own)
    norm = model.get_submodule("blocks.0.bn1")
    factor = (norm.weight / (norm.running_var + norm.eps).sqrt()).abs().detach().numpy()
    carried = plan.tensors["blocks.0.conv1.weight"]
    np.testing.assert_allclose(carried.scale, scale * factor, rtol=1e-6)
    assert (carried.axis, carried.origin) == (0, "given") and plan.tensors["stem"] == own.tensors["stem"]
    folded = only(graph, "blocks.0.conv1").inputs[1].values
    steps, before = folded / np.reshape(carried.scale, (-1, 1, 1, 1)), weight.numpy() / scale.reshape(-1, 1, 1, 1)
    np.testing.assert_array_equal(np.rint(np.abs(steps)), np.rint(np.abs(before)), "integers changed")


def test_quantizers_leave_no_trace_in_the_float_graph(residual):
    _, expected = residual
    model = fx_graph.trace(residual_net(), IMAGE)
    insert(model, RULES)
    for quantizer in quantizers(model).values():
        quantizer.set_amax(0.01, "test")
    graph, _ = float_graph(model, IMAGE, 18)
    assert gs.export_onnx(graph).SerializeToString() == gs.export_onnx(expected).SerializeToString()


class Whole(nn.Module):
    """A module that stays one operator: torch.fx does not see the tensor between its two convolutions."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        return self.head(self.inner(x))


def test_a_tensor_inside_a_module_that_is_kept_whole_stays_float_and_says_so():
    model = fx_graph.trace(Whole(), IMAGE, leaf=lambda module: isinstance(module, nn.Sequential))
    where = insert(model, RULES)
    assert quantizers(model).keys() == {"head.weight_quantizer", "quantizers.inner"}
    hidden = [skip for skip in where.skips if "torch.fx does not see" in skip.why]
    assert len(hidden) == 2 and all(skip.node.startswith("inner") for skip in hidden)


def test_a_plan_on_the_graph_of_another_network_is_refused():
    _, graph = exported(residual_net())
    with pytest.raises(UserError, match="which the traced network does not have"):
        insert(fx_graph.trace(Aliases(), IMAGE), RULES, graph=graph)


class Unsupported(nn.Module):
    def forward(self, x):
        return torch.linalg.eigvals(x).real


def test_an_operator_without_onnx_form_is_refused():
    with pytest.raises(UserError, match=r"torch\.onnx cannot export the network") as refused:
        exported(Unsupported())
    assert "linalg_eig" in refused.value.why and "stack trace" not in refused.value.why


def test_an_old_pytorch_is_refused_by_its_version(monkeypatch):
    monkeypatch.setattr(torch, "__version__", TorchVersion("2.5.1+cu124"))
    with pytest.raises(UnsupportedEnvironment, match=r"PyTorch 2\.5\.1\+cu124 cannot export") as refused:
        exported(Unsupported())
    assert "2.6" in refused.value.fix


def test_advice_to_read_a_stack_trace_is_left_out():
    error = RuntimeError("Error when translating node %a. See the stack trace for more information.")
    error.__cause__ = ValueError("no such operator: b\n(Refer to the full stack trace above for more information.)")
    assert _reason(error) == "no such operator: b"
    error.__cause__ = None
    assert _reason(error) == "Error when translating node %a."

"""Networks in the style of other projects: functions, subclasses, several outputs, quantizers of another toolkit."""

from __future__ import annotations

import copy

import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from core.errors import UserError
from qat.export import export_onnx
from qat.quantization.quantizers import quantizers
from qat.sensitivity.measure.distance import distance, scores
from qat.sensitivity.network.adopted import adopted
from qat.sensitivity.network.functional import functional_weights
from qat.sensitivity.network.save import load, quantization_of, save
from qat.sensitivity.network.subject import make_subject, quantize_layers
from qat.sensitivity.network.weights import load_weights
from qat.sensitivity.pipeline import analyse
from qat.sensitivity.report.charts import axis_over
from qat.tracing import fx_graph
from tests.sensitivity.users import PLAIN, RESIDUAL, UNTRACEABLE, write_user

FUNCTIONAL = """
class Part(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 8, 3, 3) / 8)
        self.bias = nn.Parameter(torch.zeros(8))

    def forward(self, x):
        return nn.functional.conv2d(x, self.weight, self.bias, padding=1)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.conv2, self.conv3, self.conv4 = Part(), Part(), Part()
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        x = torch.relu(self.conv1(x))
        x = torch.relu(self.conv2(x))
        x = torch.relu(self.conv3(x))
        x = torch.relu(self.conv4(x))
        return self.fc(x.mean((2, 3)))
"""
BRANCHING = FUNCTIONAL.replace(
    "torch.relu(self.conv1(x))\n", "torch.relu(self.conv1(x)) * (2 if x.sum() > 1e9 else 1)\n"
)
POOLED = PLAIN.replace("x = torch.relu(self.conv2(x))", "x = nn.functional.max_pool2d(torch.relu(self.conv2(x)), 2)")
HEADS = PLAIN.replace("return self.fc(x.mean((2, 3)))", "return {'out': self.fc(x.mean((2, 3))), 'aux': x}")
CRITERION = """
def get_criterion():
    def loss(output, target):
        return nn.functional.cross_entropy(output["out"] if isinstance(output, dict) else output, target)
    return loss
"""
SHOWN = {"calibration": {"method": "max", "images": 6}, "exact_top": 2, "full_top": 0}


@pytest.mark.parametrize("mode", ["one_in", "one_out"])
@pytest.mark.parametrize(("net", "group"), [(FUNCTIONAL, "conv3"), (BRANCHING, "conv3.weight_quantized")])
def test_a_fragile_function_comes_first(tmp_path, net, group, mode) -> None:
    found = analyse(write_user(tmp_path, net, fragile="conv3", mode=mode))
    assert found.ranking.groups[0].group == group
    assert len(found.evaluator.groups) == 5


@pytest.mark.parametrize("net", [FUNCTIONAL, BRANCHING, UNTRACEABLE, HEADS], ids=["calls", "branch", "layers", "heads"])
def test_what_was_analysed_is_saved_and_comes_back(tmp_path, net) -> None:
    found = analyse(write_user(tmp_path, net, extra=CRITERION))
    subject, image = found.subject, torch.ones(1, 3, 8, 8)
    kept = frozenset(group.name for group in subject.groups[1:])
    with subject.only(kept), torch.no_grad():
        expected = subject.model(image)
        path = save(subject.model, quantization_of(subject, kept, image), tmp_path / "best.pt", met=True)
    got = load(path, found.user.model())(image)
    for name in expected if isinstance(expected, dict) else ():
        assert torch.equal(got[name], expected[name])
    assert isinstance(expected, dict) or torch.equal(got, expected)
    assert (subject.form == "layers") == (net in (BRANCHING, UNTRACEABLE))


def test_a_layer_behind_pooling_is_one_group_with_its_input(tmp_path) -> None:
    groups = {group.name: group for group in analyse(write_user(tmp_path, POOLED, **SHOWN)).evaluator.groups}
    assert len(groups["conv3"].quantizers) == 2
    assert {"conv1", "conv2", "conv3", "conv4", "fc"} <= set(groups)


class Plain(nn.Conv2d):
    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, padding=1)


class Centred(nn.Conv2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, self.weight - self.weight.mean(), self.bias)


class Padded(nn.Conv2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(F.pad(x, (0, 1, 0, 1)), self.weight, self.bias)


class Unusual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.plain, self.centred, self.padded = Plain(3), Centred(3, 3, 1), Padded(3, 4, 2)
        self.up = nn.ConvTranspose1d(4, 2, 2, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.up(self.padded(self.centred(self.plain(x))).flatten(2))


def test_subclasses_of_layers_are_quantized_where_they_compute_as_the_layer_does() -> None:
    model, image = Unusual().eval(), torch.randn(2, 3, 4, 4)
    weights = functional_weights(model, image)
    assert weights == (("padded.weight", 0),)
    quantized = quantize_layers(copy.deepcopy(model), weights)
    owners = {name.rpartition(".")[0] for name in quantizers(quantized)}
    assert owners == {"plain", "padded.weight_quantized", "up"}
    assert torch.equal(quantized(image), model(image))
    assert isinstance(quantized.plain, Plain)


def test_a_user_s_subclass_is_one_operator_of_the_traced_graph() -> None:
    model = nn.Sequential(Plain(3), nn.ReLU(), Plain(3)).eval()
    targets = [node.target for node in fx_graph.trace(model, torch.randn(1, 3, 4, 4)).graph.nodes]
    assert targets == ["input", "0", "1", "2", "output"]


def test_float_weights_do_not_fit_a_quantized_network_nor_the_other_way_round(tmp_path) -> None:
    model = nn.Linear(2, 2)
    torch.save(model.state_dict(), tmp_path / "float.pt")
    model.register_module("weight_quantizer", nn.Module())
    model.weight_quantizer.register_buffer("_amax", torch.ones(1))
    torch.save(model.state_dict(), tmp_path / "quantized.pt")
    for network, file, fix in ((model, "float.pt", "let it take model_path"), (nn.Linear(2, 2), "quantized.pt", "mto")):
        with pytest.raises(UserError, match="does not fit") as refused:
            load_weights(network, tmp_path / file)
        assert fix in refused.value.fix


def test_one_output_channel_has_a_divergence_too() -> None:
    found = scores([distance(torch.zeros(4, 1), torch.ones(4, 1))], seed=0)
    softplus = F.softplus(torch.tensor(1.0)).item()
    assert found["kl"].value == pytest.approx(softplus - 0.5 - torch.log(torch.tensor(2.0)).item(), abs=1e-6)


def test_an_axis_over_nothing_but_zeros_has_ticks() -> None:
    assert axis_over([0.0, 0.0]).ticks(4)


MODELOPT = """
import modelopt.torch.quantization as mtq

def get_model(model_path):
    model = Net()
    model.load_state_dict(torch.load(model_path))
    images = torch.randn(24, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return mtq.quantize(model.eval(), mtq.INT8_DEFAULT_CFG, lambda network: network(images))
"""


@pytest.mark.parametrize("net", [RESIDUAL, UNTRACEABLE], ids=["traceable", "untraceable"])
def test_a_network_of_modelopt_is_analysed_and_comes_back(tmp_path, net) -> None:
    pytest.importorskip("modelopt.torch.quantization", reason="nvidia-modelopt is not installed")
    config = write_user(tmp_path, net, fragile="conv3", later=MODELOPT)
    found = analyse(config)
    subject = found.subject
    assert found.ranking.groups[0].group == "conv3"
    groups = {group.name: group for group in subject.groups}
    if net is RESIDUAL:
        assert {"conv2.input_quantizer", "conv4.input_quantizer"} <= set(groups["conv2"].quantizers)
        assert found.evaluator.trials.reuses and subject.graph is not None
        ours = adopted(subject.graph, torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1)))
        export_onnx(ours, torch.ones(1, 3, 8, 8), tmp_path / "qdq.onnx", 18)
        kinds = [node.op_type for node in onnx.load(str(tmp_path / "qdq.onnx")).graph.node]
        assert kinds.count("QuantizeLinear") == 4  # inputs of five layers, of which two share one
    assert make_subject(subject.model, torch.ones(1, 3, 8, 8), [], config).groups == subject.groups
    image, kept = torch.ones(1, 3, 8, 8), frozenset(groups) - {"conv3"}
    with subject.only(kept), torch.no_grad():
        expected = subject.model(image)
        path = save(subject.model, quantization_of(subject, kept, image), tmp_path / "best.pt", met=True)
    with subject.only(frozenset()), subject.only(frozenset(groups)), torch.no_grad():
        assert not torch.equal(subject.model(image), expected)
    scope: dict[str, object] = {}
    exec(compile("import torch\nfrom torch import nn\n" + net, "float", "exec"), scope)
    for model in (scope["Net"](), found.user.model()):  # type: ignore[operator]
        assert torch.equal(load(path, model)(image), expected)

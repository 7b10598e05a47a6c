"""Networks of pytorch-quantization: their own convolutions, ranges and modes."""

from __future__ import annotations

import onnx
import pytest
import torch
from torch import nn

from core.errors import UserError
from qat.export import export_onnx
from qat.sensitivity.finish import finish
from qat.sensitivity.network.adopted import adopted
from qat.sensitivity.network.foreign import range_of, settings_of
from qat.sensitivity.network.save import load, quantization_of, save
from qat.sensitivity.network.subject import make_subject
from qat.sensitivity.network.switches import switches
from qat.sensitivity.pipeline import analyse
from qat.sensitivity.report.results import ranges_of
from tests.sensitivity.network.pytorch_quantization_double import (
    QuantConv2d,
    QuantConvTranspose2d,
    QuantLinear,
    TensorQuantizer,
    calibrated,
)
from tests.sensitivity.users import PLAIN, RESIDUAL, UNTRACEABLE, write_user

IMAGES = torch.randn(12, 3, 8, 8, generator=torch.Generator().manual_seed(1))
CALIBRATES = """
from tests.sensitivity.network.pytorch_quantization_double import calibrated

def get_model(model_path):
    model = Net()
    model.load_state_dict(torch.load(model_path))
    return calibrated(model, torch.randn(24, 3, 8, 8, generator=torch.Generator().manual_seed(1)))
"""


def quantized(net: str) -> str:
    """A network of users.py in the layers of pytorch-quantization, with a quantizer on its sum."""
    names = (
        "from tests.sensitivity.network.pytorch_quantization_double import QuantConv2d, QuantLinear, TensorQuantizer\n"
    )
    net = net.replace("nn.Conv2d(", "QuantConv2d(").replace("nn.Linear(", "QuantLinear(")
    net = net.replace("super().__init__()", "super().__init__()\n        self.residual = TensorQuantizer()")
    return names + net.replace("y + self.conv4(x)", "self.residual(y) + self.conv4(x)")


class Up(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.up, self.fc = QuantConv2d(3, 4, 3), QuantConvTranspose2d(4, 6, 2, 2), QuantLinear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(torch.relu(self.up(torch.relu(self.conv(x)))).mean((2, 3)))


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight, self.inputs, self.rows = (
            nn.Parameter(torch.randn(4, 3)),
            TensorQuantizer(),
            TensorQuantizer(axis=0),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(self.inputs(x.mean((2, 3))), self.rows(self.weight))


class Shared(nn.Module):
    """A layer and a quantizer that are called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head, self.sum = QuantConv2d(3, 4, 3), QuantConv2d(4, 4, 1), TensorQuantizer()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.stem(x)
        b = -2 * torch.relu(a)
        return self.sum(a) + self.head(a) + (self.sum(b) + self.head(b))


@pytest.fixture
def config(tmp_path):
    return write_user(tmp_path, PLAIN)


@pytest.fixture
def up() -> Up:
    torch.manual_seed(0)
    return Up()


def subject_of(model: nn.Module, config):
    return make_subject(model, IMAGES[:1], [], config)


@pytest.mark.parametrize("mode", ["one_in", "one_out"])
@pytest.mark.parametrize("net", [PLAIN, RESIDUAL, UNTRACEABLE], ids=["plain", "residual", "untraceable"])
def test_a_fragile_layer_comes_first_and_the_network_comes_back(tmp_path, net, mode) -> None:
    found = analyse(write_user(tmp_path, quantized(net), fragile="conv3", later=CALIBRATES, mode=mode))
    subject, image = found.subject, IMAGES[:1]
    assert found.ranking.groups[0].group == "conv3"
    assert (subject.graph is None) == (net is UNTRACEABLE)
    kept = frozenset(group.name for group in subject.groups) - {"conv3"}
    with subject.only(kept), torch.no_grad():
        expected = subject.model(image)
        path = save(subject.model, quantization_of(subject, kept, image), tmp_path / "best.pt", met=True)
    assert torch.equal(load(path, found.user.model())(image), expected)


def test_it_is_exported_with_its_own_ranges(up, config, tmp_path) -> None:
    subject = subject_of(calibrated(up, IMAGES), config)
    ours = adopted(subject.graph, IMAGES[:1])
    assert torch.allclose(ours.up.weight_quantizer.amax, up.up._weight_quantizer.amax.flatten())
    export_onnx(ours, IMAGES[:1], tmp_path / "qdq.onnx", 18)
    kinds = [node.op_type for node in onnx.load(str(tmp_path / "qdq.onnx")).graph.node]
    assert kinds.count("QuantizeLinear") == 3  # weights are stored as integers


def test_ranges_in_a_file_need_no_calibrated_network(tmp_path) -> None:
    config = write_user(tmp_path, quantized(RESIDUAL))
    scope: dict[str, object] = {}
    exec((tmp_path / "my_model.py").read_text(), scope)
    model = calibrated(scope["get_model"](), IMAGES)  # type: ignore[operator]
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    found = analyse(config)
    assert torch.equal(found.subject.model(IMAGES), model(IMAGES))
    path = save(model, quantization_of(found.subject, frozenset(), IMAGES[:1]), tmp_path / "a.pt", met=True)
    assert ranges_of(load(path, found.user.model())) == ranges_of(model)


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [("_if_calib", True, "in calibration mode"), ("_fake_quant", False, "give integers")],
)
def test_a_quantizer_that_does_not_quantize_is_refused(up, config, attribute, value, message) -> None:
    setattr(calibrated(up, IMAGES).conv._input_quantizer, attribute, value)
    with pytest.raises(UserError, match=r"1 quantizers (are|give).*conv\._input_quantizer") as raised:
        subject_of(up, config)
    assert message in str(raised.value)


def test_what_its_owner_turned_off_is_no_group(up, config) -> None:
    calibrated(up, IMAGES).up._input_quantizer._if_quant = False
    up.up._weight_quantizer.disable()
    assert [group.name for group in subject_of(up, config).groups] == ["conv", "fc"]
    for quantizer in (module for module in up.modules() if isinstance(module, TensorQuantizer)):
        quantizer.disable()
    with pytest.raises(UserError, match="no quantizer to switch") as raised:
        subject_of(up, config)
    assert "6 of get_model()'s are disabled" in str(raised.value)


def test_ranges_are_those_it_computes_with() -> None:
    learned, plain = TensorQuantizer(learn_amax=True), TensorQuantizer()
    assert float(range_of(learned)) == 1  # type: ignore[arg-type]
    assert range_of(plain) is None
    plain.register_buffer("_amax", torch.tensor(3.0))
    plain._scale_amax = 0.5
    assert float(range_of(plain)) == 1.5  # type: ignore[arg-type]


def test_quantizers_of_weights_are_told_by_name_or_channel_axis() -> None:
    layer = nn.Module()
    layer._weight_quantizers = nn.ModuleList([TensorQuantizer()])
    layer._input_quantizers = nn.ModuleList([TensorQuantizer()])
    layer.own = TensorQuantizer(axis=0)
    assert {path: switch.part for path, switch in switches(layer).items()} == {
        "_weight_quantizers.0": "weight",
        "_input_quantizers.0": "activation",
        "own": "weight",
    }


def test_weights_without_a_range_are_exported_with_their_own(up, config) -> None:
    calibrated(up, IMAGES)
    del up.up._weight_quantizer._amax
    ours = adopted(subject_of(up, config).graph, IMAGES[:1])
    assert torch.allclose(ours.up.weight_quantizer.amax, up.up.weight.detach().abs().amax((0, 2, 3)))


def test_an_unsigned_range_is_covered_by_a_signed_one(up, config) -> None:
    calibrated(up, IMAGES).up._input_quantizer.unsigned = True
    ours = adopted(subject_of(up, config).graph, IMAGES[:1])
    assert float(up.up._input_quantizer.amax) in {float(amax) for [amax, *_] in ranges_of(ours).values()}


@pytest.mark.parametrize("what", ["bits", "dynamic", "channels", "axis"])
def test_what_no_engine_computes_is_not_exported(up, config, what) -> None:
    calibrated(up, IMAGES)
    if what == "bits":
        up.conv._weight_quantizer.num_bits = 4
    elif what == "dynamic":
        del up.conv._input_quantizer._amax
    elif what == "channels":
        up.conv._input_quantizer._amax = torch.full((1, 3, 1, 1), 3.0)
    else:
        up.conv._weight_quantizer._amax = torch.full((1, 3, 1, 1), 3.0)
    messages = {"bits": "num_bits is 4", "dynamic": "no range", "channels": "3 ranges", "axis": r"shape \(1, 3, 1, 1\)"}
    with pytest.raises(UserError, match=messages[what]):
        adopted(subject_of(up, config).graph, IMAGES[:1])


def test_a_weight_given_to_a_function_is_exported_with_a_range_for_each_channel(config) -> None:
    torch.manual_seed(0)
    model = Own()
    ours = adopted(subject_of(calibrated(model, IMAGES), config).graph, IMAGES[:1])
    assert sorted(map(len, ranges_of(ours).values())) == [1, 4]
    assert torch.allclose(ours(IMAGES), model(IMAGES), atol=1e-6)


def test_what_is_left_float_is_in_the_skip_list_and_batches_that_set_ranges_are_told(tmp_path) -> None:
    later = "\n_all = get_model\ndef get_model():\n    model = _all()\n    model.conv2._weight_quantizer.disable()\n"
    config = write_user(tmp_path, quantized(PLAIN), later=f"{later}    return model\n", engine=None, exact_top=1)
    found = finish(analyse(config))
    assert found.skip == ("conv2",)
    assert [note for note in found.notes if "6 quantizers have no range" in note]


def test_other_settings_of_a_quantizer_are_other_trials(up) -> None:
    before = settings_of(up)
    assert settings_of(up) == before and before.keys() == {
        path for path, _ in up.named_modules() if "quantizer" in path
    }
    up.conv._weight_quantizer.num_bits = 4
    assert settings_of(up) != before


def test_a_wrapped_network_is_loaded_as_what_it_wraps(up, config, tmp_path) -> None:
    subject = subject_of(calibrated(up, IMAGES), config)
    path = save(up, quantization_of(subject, frozenset(), IMAGES[:1]), tmp_path / "best.pt", met=True)
    assert isinstance(load(path, nn.DataParallel(Up())), Up)


def test_layers_and_quantizers_that_are_called_twice_are_quantized_twice(config) -> None:
    torch.manual_seed(0)
    model = calibrated(Shared(), IMAGES)
    model.sum._amax /= 2
    subject = subject_of(model, config)
    tied = {"head._input_quantizer", "head._weight_quantizer", "sum"}
    assert [set(group.quantizers) for group in subject.groups if "sum" in group.quantizers] == [tied]
    ours = adopted(subject.graph, IMAGES[:1])
    assert torch.allclose(ours(IMAGES), model(IMAGES), atol=1e-5)
    assert len([name for name in ranges_of(ours) if name.startswith("quantizers.")]) == 1 + 2 + 2

"""From insertion to export with every toolkit: all resume alike and give the same graph for the same ranges."""

import hashlib
import sys

import pytest
import torch

from core.config import QatConfig, TrainConfig
from core.errors import UnsupportedEnvironment
from deploy.placement.rules import RULES
from qat.calibration.approaches import finish, prepare
from qat.export import export_onnx
from qat.quantization.quantizers import Quantizer, quantizers
from qat.quantization.toolkits import with_modelopt, with_pytorch_quantization
from qat.training.pidnet_loss import PIDNetLoss
from qat.training.train import fit
from qat.training.train_plan import TrainPlan
from tests.nets.placing import place
from tests.nets.residual_graph import quantized_residual

EXAMPLE = torch.zeros(1, 3, 16, 16)


class Images(torch.utils.data.Dataset):
    """Four images of the residual network's five classes."""

    def __init__(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return 4

    def __getitem__(self, index):
        image = 2 * torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(10 * self.epoch + index))
        return image, (image[0].abs() * 2).long().clamp_max(4), torch.zeros(16, 16)


def quantized(kind):
    return quantized_residual(16, kind)


def trained(kind, folder, **settings):
    config = QatConfig(**{"epochs": 2, "observe_steps": 1, **settings})
    model = quantized(kind)
    hooks = prepare(model, config, [Images(0)[index][0].unsqueeze(0) for index in range(2)])
    plan = TrainPlan("qat", 2, 2, 0.01, 0.9, 0.0, folder / "qat.pt", folder / "metrics.jsonl", precision="fp32")
    fit(model, Images, PIDNetLoss(TrainConfig(epochs=1, crop_height_px=16, crop_width_px=16)), plan, hooks)
    finish(model)
    return model


def exported(model, target):
    export_onnx(model, EXAMPLE, target, 18)
    return hashlib.sha256(target.read_bytes()).hexdigest()


@pytest.mark.parametrize("approach", ["calibrate", "stats_only", "direct"])
def test_every_approach_ends_in_the_graph_that_the_builtin_quantizers_export(toolkit, approach, tmp_path):
    model = trained(toolkit, tmp_path, approach=approach)
    assert all(quantizer.is_set and type(quantizer) is toolkit for quantizer in quantizers(model).values())
    twin = quantized(Quantizer)
    twin.load_state_dict(model.state_dict())
    assert exported(model, tmp_path / "theirs.onnx") == exported(twin, tmp_path / "ours.onnx")
    placed = place(tmp_path / "theirs.onnx", RULES)
    assert len(placed.plan.weights) == 6 and placed.unused == ()


def test_what_is_trained_is_close_to_what_is_exported(toolkit, tmp_path):
    model = trained(toolkit, tmp_path, approach="calibrate")
    twin = quantized(Quantizer)
    twin.load_state_dict(model.state_dict())
    finish(twin)
    x = Images(5)[0][0].unsqueeze(0)
    with torch.no_grad():
        theirs, ours = model(x), twin(x)
    step = float(max(quantizer.scale.max() for quantizer in quantizers(twin).values()))
    assert float((theirs - ours).abs().max()) <= 2 * step


@pytest.mark.parametrize(
    ("load", "package"),
    [(with_modelopt.load, "modelopt"), (with_pytorch_quantization.load, "pytorch_quantization")],
)
def test_a_toolkit_that_is_missing_is_an_environment_error_with_a_way_out(load, package, monkeypatch):
    loaded = [name for name in sys.modules if name.split(".")[0] == package]
    for name in [package, *loaded]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UnsupportedEnvironment) as caught:
        load.__wrapped__()
    assert "cannot be imported" in caught.value.what and "builtin" in caught.value.fix

"""The device of the analysis, and the move of everything to it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from core.errors import UserError
from qat import device as choice
from qat.quantization.quantizers import quantizers
from qat.sensitivity import load
from qat.sensitivity.decide.engine_check import EngineModule
from qat.sensitivity.finish import finish
from qat.sensitivity.measure.task import evidence, metric_value
from qat.sensitivity.network.adopted import adopted
from qat.sensitivity.network.subject import make_subject
from qat.sensitivity.network.weights import load_weights
from qat.sensitivity.pipeline import analyse
from qat.sensitivity.user import device
from qat.sensitivity.user.data import Images
from qat.sensitivity.user.user_file import load_user_file
from qat.tracing.inputs import device_of
from tests.fake_gpu import fake_gpus
from tests.sensitivity.network.pytorch_quantization_double import QuantConv2d, QuantLinear, calibrated
from tests.sensitivity.users import PLAIN, RESIDUAL, UNTRACEABLE, write_user

EVALUATE = "\ndef evaluate(model, loader):\n    return 1.0\n"


class Recorder(nn.Module):
    """A network that records the device of its last move."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[str] = []

    def to(self, place: Any) -> Recorder:  # type: ignore[override]
        self.places.append(str(place))
        return self


def fails(_: str = "") -> None:
    raise UserError("forward() fails", why="a tensor on another device")


@pytest.mark.parametrize(
    ("wanted", "stays", "found", "places"),
    [
        ("auto", False, "cuda:0", ["cuda:0"]),
        ("auto", True, "cuda:0", []),
        ("auto", False, None, []),
        ("cuda", True, "cuda:0", ["cuda:0"]),
        ("cpu", True, "cuda:0", ["cpu"]),
    ],
)
def test_where_the_network_goes(monkeypatch, wanted, stays, found, places) -> None:
    monkeypatch.setattr(choice, "cuda_devices", lambda: [torch.device(found)] if found else [])
    model = Recorder()
    device.place(model, wanted, stays, lambda: None)
    assert model.places == places


def test_a_network_that_fails_on_a_gpu_runs_on_the_cpu_unless_that_was_asked_for(monkeypatch) -> None:
    monkeypatch.setattr(choice, "cuda_devices", lambda: [torch.device("cuda:0")])
    model = Recorder()
    device.place(model, "auto", False, lambda: fails() if model.places == ["cuda:0"] else None)
    assert model.places == ["cuda:0", "cpu"]
    with pytest.raises(UserError, match="forward"):
        device.place(Recorder(), "cuda", False, fails)


@pytest.mark.parametrize(
    ("extra", "stays"),
    [
        ("", False),
        (EVALUATE, True),
        ("\n_net = get_model\ndef get_model(device):\n    return _net().to(device)\n", True),
    ],
)
def test_files_that_place_the_network(tmp_path, extra, stays) -> None:
    assert load_user_file(write_user(tmp_path, PLAIN, later=extra)).places_itself() == stays


def test_an_engine_tells_where_it_is() -> None:
    module = EngineModule(None, (), torch.device("cpu"))  # type: ignore[arg-type]
    assert next(module.parameters()).device == torch.device("cpu")


@pytest.mark.parametrize(
    ("net", "keys"),
    [(RESIDUAL, {}), (UNTRACEABLE, {"screen": "gradient"})],
    ids=["traced, engine", "layers, gradient"],
)
def test_an_analysis_on_a_device_that_mixes_with_no_other(tmp_path, net, keys) -> None:
    """Every tensor, including the loss's weights, must be on the device, and on the CPU for engines and files."""
    pytest.importorskip("openvino")
    loss = "\ndef get_criterion():\n    return nn.CrossEntropyLoss(weight=torch.ones(4))\n"
    short = {"exact_top": 2, "full_top": 0, "recover": {"steps": 2}, "tolerance": 10.0}
    engine = {"rounds": 2, "runs_per_round": 1, "pareto_points": 0}
    config = write_user(tmp_path, net, fragile="conv3", later=loss, engine=engine, **short, **keys)
    with fake_gpus() as (gpu, _):
        analysis = analyse(config)
        found = finish(analysis)
        loaded = load(found.model, analysis.user.model().to(gpu))
        assert device_of(analysis.subject.model) == gpu
        assert {value.device for value in loaded.state_dict().values() if isinstance(value, torch.Tensor)} == {gpu}
    assert found.ranking.groups[0].group == "conv3" and found.recovered["steps"] == 2
    if net is RESIDUAL:
        assert found.engine["loss"] == pytest.approx(found.engine["simulated_loss"], rel=0.01)


def test_a_network_of_another_toolkit_keeps_to_its_device(tmp_path) -> None:
    """Ranges from a file, and ranges for the export, are on the network's device."""
    config = write_user(tmp_path, PLAIN)
    images = torch.randn(24, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0)

    def network() -> nn.Module:
        layers = QuantConv2d(3, 4, 3), nn.ReLU(), QuantConv2d(4, 4, 3), nn.Flatten(), QuantLinear(64, 2)
        return nn.Sequential(*layers).eval()

    torch.save(calibrated(network(), images).state_dict(), tmp_path / "weights.pt")
    with fake_gpus() as (gpu, _):
        model = load_weights(network().to(gpu), tmp_path / "weights.pt")
        assert {value.device for value in model.state_dict().values()} == {gpu}
        example = images[:1].to(gpu)
        graph = adopted(make_subject(model, example, [], config).graph, example)
        assert {quantizer.amax.device for quantizer in quantizers(graph).values()} == {gpu}


def test_files_of_a_machine_with_a_gpu_are_read_on_one_without(tmp_path) -> None:
    config = write_user(tmp_path, PLAIN, images=6, exact_top=1, full_top=0, tolerance=10.0, engine=None)
    weights = torch.load(config.model_path, weights_only=True)
    with fake_gpus() as (gpu, _):
        torch.save({name: value.to(gpu) for name, value in weights.items()}, config.model_path)
        found = finish(analyse(config))
    user = load_user_file(config)
    again = load_weights(user.model(), config.model_path)
    assert all(torch.equal(value, weights[name]) for name, value in again.state_dict().items())
    assert device_of(load(found.model, user.model())) == torch.device("cpu")
    torch.load(found.model, weights_only=True)  # loading CUDA tensors fails without `map_location`


def test_images_have_one_fingerprint_wherever_the_loader_puts_them() -> None:
    image, label = torch.randn(1, 3, 4, 4), torch.tensor([1])
    with fake_gpus() as (gpu, _):
        there = Images(((image.to(gpu), label.to(gpu)),), batch=1).fingerprint()
    assert there == Images(((image, label),), batch=1).fingerprint()


@pytest.mark.parametrize("metric", ["top-1", "mIoU"])
def test_counts_of_a_metric_come_back_from_the_device(metric) -> None:
    logits = torch.randn(1, 3, *[4, 4] * (metric == "mIoU"), generator=torch.Generator().manual_seed(0))
    target = logits.argmax(1)
    with fake_gpus() as (gpu, _):
        (found,) = evidence(logits.to(gpu), target.to(gpu), nn.CrossEntropyLoss(), metric, 1)
    assert metric_value(metric, found.counts[None], np.ones((1, 1))).tolist() == [100.0]

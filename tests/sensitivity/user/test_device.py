"""Where the analysis runs, and that everything is moved there."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from core.errors import UserError
from qat import device as choice
from qat.sensitivity import load
from qat.sensitivity.decide.engine_check import EngineModule
from qat.sensitivity.finish import finish
from qat.sensitivity.pipeline import analyse
from qat.sensitivity.user import device
from qat.sensitivity.user.user_file import load_user_file
from qat.tracing.inputs import device_of
from tests.fake_gpu import fake_gpus
from tests.sensitivity.users import PLAIN, RESIDUAL, UNTRACEABLE, write_user

EVALUATE = "\ndef evaluate(model, loader):\n    return 1.0\n"


class Recorder(nn.Module):
    """Remembers where it was told to go."""

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
    """Every tensor must be on the device, the loss's weights too, and back where an engine or a file wants it."""
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

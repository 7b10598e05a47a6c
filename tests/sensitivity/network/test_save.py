from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from core.errors import UserError
from deploy.placement.rule_sets import select
from qat.quantization.insert import insert
from qat.quantization.quantizers import Mode, quantizers
from qat.sensitivity.network.save import Quantization, load, save
from qat.tracing import fx_graph

SHAPE = (1, 3, 16, 16)


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(576, 5))


def quantized_net(example: Tensor) -> tuple[nn.Module, Quantization]:
    traced = fx_graph.trace(net(), example)
    insert(traced, select())
    for quantizer in quantizers(traced).values():
        quantizer.set_mode(Mode.QUANTIZE)
        if quantizer.axis is None:
            quantizer.set_amax(2.5, "test")
    off = ("2.weight_quantizer",)
    for name in off:
        traced.get_submodule(name).set_mode(Mode.FLOAT)  # type: ignore[operator]
    return traced, Quantization("fx", torch.zeros(SHAPE), switched_off=off)


def test_a_saved_model_computes_the_same_when_loaded(tmp_path: Path) -> None:
    example = torch.randn(SHAPE)
    model, how = quantized_net(example)
    path = save(model, how, tmp_path / "best.pt", met=True)
    loaded = load(path, net(seed=1))
    assert path == tmp_path / "best.pt" and torch.equal(loaded(example), model(example))
    assert quantizers(loaded)["2.weight_quantizer"].mode is Mode.FLOAT


def test_a_model_that_missed_is_never_taken_for_the_best(tmp_path: Path) -> None:
    model, how = quantized_net(torch.randn(SHAPE))
    best = tmp_path / "best.pt"
    best.write_text("of an earlier run")
    assert save(model, how, best, met=False) == tmp_path / "best.unmet.pt"
    assert not best.exists() and (tmp_path / "best.previous.pt").read_text() == "of an earlier run"
    save(model, how, best, met=True)
    assert best.exists() and not (tmp_path / "best.unmet.pt").exists()


def test_another_model_is_refused(tmp_path: Path) -> None:
    model, how = quantized_net(torch.randn(SHAPE))
    path = save(model, how, tmp_path / "best.pt", met=True)
    with pytest.raises(UserError, match="does not fit"):
        load(path, nn.Sequential(nn.Conv2d(3, 9, 3), nn.ReLU(), nn.Conv2d(9, 4, 3)))


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "best.pt").write_bytes(content)
    with pytest.raises(UserError, match=r"best\.pt"):
        load(tmp_path / "best.pt", net())


def test_a_plain_state_dict_is_refused(tmp_path: Path) -> None:
    torch.save(net().state_dict(), tmp_path / "best.pt")
    with pytest.raises(UserError, match="is not a model that"):
        load(tmp_path / "best.pt", net())


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no saved model"):
        load(tmp_path / "best.pt", net())

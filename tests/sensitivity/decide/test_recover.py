from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qat.sensitivity.decide.recover import recover
from qat.sensitivity.types import Measured

IMAGES, TARGETS = torch.randn(8, 4, generator=torch.Generator().manual_seed(0)), torch.ones(8, 1)


def run(rate: float) -> tuple[nn.Module, dict[str, object], Tensor]:
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    start = model.weight.detach().clone()

    def loss(batch: tuple[Tensor, Tensor]) -> Tensor:
        return F.mse_loss(model(batch[0]), batch[1])

    def damage() -> Measured:
        with torch.no_grad():
            value = float(loss((IMAGES, TARGETS)))
        return Measured(value, value, value, 8)

    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    batches = [(IMAGES, TARGETS)]
    found = recover(model, optimizer, loss, batches, 20, damage, lambda measured: measured.value <= 0.9)
    return model, found, start


def test_training_that_helps_is_kept() -> None:
    model, found, start = run(0.1)
    assert found["kept"] and found["met"] and found["steps"] == 20
    assert found["after"] < found["before"] and not torch.equal(model.weight, start)  # type: ignore[operator]


def test_training_that_harms_is_taken_back() -> None:
    model, found, start = run(1e4)
    assert not found["kept"] and found["after"] == found["before"] and torch.equal(model.weight, start)

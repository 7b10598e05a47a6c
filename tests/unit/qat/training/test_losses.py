"""Loss terms against values worked out by hand or in plain NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from core.config import TrainConfig
from qat.models.outputs import upsample
from qat.tasks.losses import masked_mean, ohem_mean
from qat.training.pidnet_loss import PIDNetLoss, boundary_bce

CFG = TrainConfig(epochs=1, crop_height_px=8, crop_width_px=8, ohem_threshold=0.9, ohem_min_kept=0.25)


def losses_of(*probabilities: float) -> torch.Tensor:
    """Cross entropies of pixels whose true class has these probabilities."""
    return -torch.tensor(probabilities).log()


def heads(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((2, 3, 2, 2), (2, 3, 2, 2), (2, 1, 2, 2))
    p, final, d = (torch.randn(shape, generator=generator).mul(3) for shape in shapes)
    return p.requires_grad_(), final.requires_grad_(), d.add(2).requires_grad_()  # some boundaries are confident


def labels(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(0, 3, (2, 8, 8), generator=generator)
    label[:, :2] = 255
    return label, (torch.rand(2, 8, 8, generator=generator) > 0.8).float()


def test_ohem_keeps_pixels_below_the_threshold() -> None:
    losses = losses_of(0.1, 0.5, 0.95, 0.99)
    value = ohem_mean(losses, torch.ones(4, dtype=torch.bool), threshold=0.9, min_kept=0.25)
    assert value.item() == pytest.approx(-(math.log(0.1) + math.log(0.5)) / 2)


def test_ohem_falls_back_to_the_hardest_pixels() -> None:
    losses = losses_of(0.99, 0.92, 0.95, 0.97)
    value = ohem_mean(losses, torch.ones(4, dtype=torch.bool), threshold=0.9, min_kept=0.5)
    assert value.item() == pytest.approx(-(math.log(0.92) + math.log(0.95)) / 2, rel=1e-5)


def test_ohem_minimum_is_a_share_of_all_pixels_but_takes_valid_ones_only() -> None:
    losses = losses_of(0.99, 0.92, 0.01, 0.01)
    valid = torch.tensor([True, True, False, False])
    value = ohem_mean(losses, valid, threshold=0.5, min_kept=1.0)
    assert value.item() == pytest.approx(-(math.log(0.99) + math.log(0.92)) / 2, rel=1e-5)


def test_ohem_without_minimum_and_hard_pixels_is_zero() -> None:
    value = ohem_mean(losses_of(0.99, 0.98), torch.ones(2, dtype=torch.bool), threshold=0.9, min_kept=0.0)
    assert value.item() == 0.0


def test_boundary_bce_balances_the_two_kinds() -> None:
    logits, edge = torch.tensor([0.0, 1.0, -2.0, 3.0]), torch.tensor([1.0, 0.0, 0.0, 0.0])
    softplus = [math.log1p(math.exp(logit)) for logit in logits.tolist()]
    expected = (0.75 * softplus[0] + 0.25 * sum(softplus[1:])) / 4
    assert boundary_bce(logits, edge).item() == pytest.approx(expected, rel=1e-6)


def test_boundary_bce_without_any_boundary_is_zero() -> None:
    assert boundary_bce(torch.randn(5), torch.zeros(5)).item() == 0.0


def test_masked_mean_of_nothing_is_zero_with_zero_gradient() -> None:
    losses = torch.rand(4, requires_grad=True)
    value = masked_mean(losses, torch.zeros(4, dtype=torch.bool))
    value.backward()
    assert value.item() == 0.0
    assert losses.grad is not None and not losses.grad.any()


def test_total_is_the_weighted_sum_of_its_terms() -> None:
    losses = PIDNetLoss(CFG)(heads(), *labels())
    expected = 0.4 * losses["aux"] + 20 * losses["boundary"] + losses["main"] + losses["boundary_aware"]
    assert set(losses) == {"loss", "aux", "boundary", "main", "boundary_aware"}
    assert losses["loss"].item() == pytest.approx(expected.item(), rel=1e-6)


def test_terms_match_an_independent_numpy_computation() -> None:
    (p, final, d), (label, edge) = heads(), labels()
    losses = PIDNetLoss(CFG)((p, final, d), label, edge)
    assert 0 < losses["boundary_aware"].item() != losses["main"].item()
    up = [
        F.interpolate(x, (8, 8), mode="bilinear", align_corners=True).detach().double().numpy() for x in (p, final, d)
    ]
    target, valid = label.numpy(), label.numpy() != 255

    def cross_entropy(logits: np.ndarray) -> np.ndarray:
        log_probability = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        index = np.where(valid, target, 0)[:, None]
        return -np.take_along_axis(log_probability, index, axis=1)[:, 0]

    final_ce, confident = cross_entropy(up[1]), 1 / (1 + np.exp(-up[2][:, 0])) > 0.8
    hard = np.sort(final_ce[valid & (np.exp(-final_ce) < 0.9)])
    hardest = np.sort(final_ce[valid])[-max(len(hard), round(0.25 * target.size)) :]
    logits, boundary, share = up[2][:, 0], edge.numpy(), edge.numpy().mean()
    bce = np.logaddexp(0, logits) - boundary * logits
    assert losses["aux"].item() == pytest.approx(cross_entropy(up[0])[valid].mean(), rel=1e-5)
    assert losses["main"].item() == pytest.approx(hardest.mean(), rel=1e-5)
    assert losses["boundary"].item() == pytest.approx((bce * np.where(boundary, 1 - share, share)).mean(), rel=1e-5)
    assert losses["boundary_aware"].item() == pytest.approx(final_ce[valid & confident].mean(), rel=1e-5)


def test_single_output_uses_the_main_term_only() -> None:
    (_, final, _), (label, edge) = heads(), labels()
    alone, three = PIDNetLoss(CFG)(final, label, edge), PIDNetLoss(CFG)(heads(), label, edge)
    assert set(alone) == {"loss", "main"}
    assert alone["loss"].item() == three["main"].item()


def test_everything_ignored_is_finite_and_every_head_gets_a_gradient() -> None:
    outputs = heads()
    label, edge = torch.full((2, 8, 8), 255), torch.zeros(2, 8, 8)
    losses = PIDNetLoss(CFG)(outputs, label, edge)
    losses["loss"].backward()
    assert losses["loss"].item() == 0.0
    assert all(head.grad is not None and torch.isfinite(head.grad).all() for head in outputs)


def test_bf16_logits_give_a_float32_loss() -> None:
    (_, final, _), (label, edge) = heads(), labels()
    assert PIDNetLoss(CFG)(final.bfloat16(), label, edge)["loss"].dtype == torch.float32


def test_upsampling_aligns_corners() -> None:
    logits = torch.tensor([[[[0.0, 1.0]]]])
    assert torch.allclose(upsample(logits, torch.zeros(1, 1, 5)), torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]))


def test_wrong_number_of_heads_is_refused() -> None:
    with pytest.raises(ValueError, match="got 2 tensors"):
        PIDNetLoss(CFG)(heads()[:2], *labels())

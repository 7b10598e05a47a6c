"""Segmentation losses of PIDNet: OHEM cross entropy, boundary BCE and boundary-aware cross entropy.

Every mean is a sum over this process's pixels divided by the pixel count of *all* processes (times their number), so
that averaging the losses, or their gradients, over processes gives the loss of the whole global batch.
Source: Xu, Xiong, Bhattacharyya, "PIDNet", CVPR 2023, section 3.4; upsampling as in the authors' configuration.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from core.config import TrainConfig
from qat.data.base import IGNORE
from qat.models.outputs import Outputs, upsample
from qat.processes.distributed import global_sum, world_size

AUX_WEIGHT = 0.4
BOUNDARY_WEIGHT = 20.0
BOUNDARY_CONFIDENCE = 0.8


class Loss(Protocol):
    """What the training loop minimises."""

    def __call__(self, outputs: Outputs, label: Tensor, edge: Tensor) -> dict[str, Tensor]:
        """Scalars by name; "loss" is the one that is differentiated."""


class PIDNetLoss:
    """The four-term PIDNet loss; for a model with one output, its main term alone."""

    def __init__(self, cfg: TrainConfig) -> None:
        self.ohem_threshold = cfg.ohem_threshold
        self.ohem_min_kept = cfg.ohem_min_kept

    def __call__(self, outputs: Outputs, label: Tensor, edge: Tensor) -> dict[str, Tensor]:
        """
        Args:
            outputs: logits (N, classes, h, w), or the heads (P, final, D) with D of one channel; any h and w.
            label: int64 (N, H, W), class index or 255.
            edge: float32 (N, H, W), 1 on a boundary, else 0.

        Returns:
            float32 scalars: "loss" (the weighted sum) and its unweighted terms.

        Raises:
            ValueError: `outputs` is neither one tensor nor three.
        """
        if isinstance(outputs, Tensor):
            main = self._ohem(pixel_cross_entropy(outputs, label), label)
            return {"loss": main, "main": main.detach()}
        if len(outputs) != 3:
            raise ValueError(f"expected logits or the three heads (P, final, D), got {len(outputs)} tensors")
        head_p, final, head_d = outputs
        boundary_logits = upsample(head_d, label)[:, 0]
        pixel_losses = pixel_cross_entropy(final, label)
        confident = torch.sigmoid(boundary_logits.detach()) > BOUNDARY_CONFIDENCE
        aux = masked_mean(pixel_cross_entropy(head_p, label), label != IGNORE)
        boundary = boundary_bce(boundary_logits, edge)
        main = self._ohem(pixel_losses, label)
        boundary_aware = masked_mean(pixel_losses, (label != IGNORE) & confident)
        return {
            "loss": AUX_WEIGHT * aux + BOUNDARY_WEIGHT * boundary + main + boundary_aware,
            "aux": aux.detach(),
            "boundary": boundary.detach(),
            "main": main.detach(),
            "boundary_aware": boundary_aware.detach(),
        }

    def _ohem(self, pixel_losses: Tensor, label: Tensor) -> Tensor:
        return ohem_mean(pixel_losses, label != IGNORE, self.ohem_threshold, self.ohem_min_kept)


def pixel_cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """Cross entropy of each pixel, float32 (N, H, W); 0 where the label is 255."""
    return F.cross_entropy(upsample(logits, label), label, ignore_index=IGNORE, reduction="none")


def masked_mean(losses: Tensor, mask: Tensor) -> Tensor:
    """Mean of `losses` where `mask` holds, over all processes; 0 (with zero gradients) where it holds nowhere."""
    return _global_mean(losses[mask].sum(), mask.sum())


def ohem_mean(losses: Tensor, valid: Tensor, threshold: float, min_kept: float) -> Tensor:
    """Online hard example mining: the mean over pixels whose true class has a probability below `threshold`.

    When they are fewer than the share `min_kept` of all pixels (ignored ones included), the mean is over that many
    hardest valid pixels instead. Which pixels are kept is decided by each process for its own images.

    Args:
        losses: cross entropy of each pixel, any shape.
        valid: bool, same shape.
    """
    candidates = losses[valid]
    at_least = min(round(min_kept * losses.numel()), candidates.numel())
    hard = candidates.detach() > -math.log(threshold)
    enough = int(hard.sum()) >= at_least
    kept = candidates[hard] if enough else candidates.topk(at_least, sorted=False).values
    return _global_mean(kept.sum(), torch.tensor(kept.numel(), device=losses.device))


def boundary_bce(logits: Tensor, edge: Tensor) -> Tensor:
    """Binary cross entropy in which boundary and other pixels of the global batch weigh the same in total.

    Args:
        logits: float32, any shape.
        edge: float32 of that shape, 1 on a boundary, else 0.
    """
    positive = global_sum(edge.sum(dtype=torch.float64))
    total = global_sum(torch.tensor(edge.numel(), dtype=torch.float64, device=edge.device)).clamp_min(1)
    share = (positive / total).to(logits.dtype)
    weight = torch.where(edge > 0, 1 - share, share)
    losses = F.binary_cross_entropy_with_logits(logits, edge, weight, reduction="sum")
    return losses * world_size() / total.to(logits.dtype)


def _global_mean(total: Tensor, count: Tensor) -> Tensor:
    return total * world_size() / global_sum(count.to(torch.float64)).clamp_min(1).to(total.dtype)

"""Losses of training, for networks without their own loss (see `qat.training.model_loss`).

Every mean is a sum over this process's pixels divided by the mean pixel count of *all* processes. Averaging the losses,
or their gradients, over processes then gives the loss of the whole global batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from core.config import TrainConfig
from qat.data.base import IGNORE, NO_CLASS
from qat.models.outputs import Key, head_of, upsample
from qat.processes.distributed import global_sum, world_size

# Maps the network's outputs and an item's targets (all but the image) to scalars by name; training minimises "loss".
Loss = Callable[..., dict[str, Tensor]]


class SegmentationLoss:
    """Cross entropy of the evaluated head, averaged over hard pixels (OHEM)."""

    def __init__(self, cfg: TrainConfig, output: Key = None) -> None:
        self.ohem_threshold, self.ohem_min_kept, self.output = cfg.ohem_threshold, cfg.ohem_min_kept, output

    def __call__(self, outputs: Any, label: Tensor, *_targets: Tensor) -> dict[str, Tensor]:
        """
        Args:
            outputs: logits (N, classes, h, w) at any size, or several heads, of which `output` selects one.
            label: int64 (N, H, W), class index or 255.

        Returns:
            A float32 scalar: "loss".

        Raises:
            UserError: there are several heads and `output` names none of them.
        """
        return {"loss": self.of_pixels(pixel_cross_entropy(head_of(outputs, self.output), label), label)}

    def of_pixels(self, losses: Tensor, label: Tensor) -> Tensor:
        """The mean over hard pixels of `losses`, float32 (N, H, W)."""
        return ohem_mean(losses, label != IGNORE, self.ohem_threshold, self.ohem_min_kept)


class ClassificationLoss:
    """Cross entropy of the evaluated head, averaged over images that have a class."""

    def __init__(self, output: Key = None) -> None:
        self.output = output

    def __call__(self, outputs: Any, label: Tensor, *_targets: Tensor) -> dict[str, Tensor]:
        """
        Args:
            outputs: logits (N, classes), or several heads, of which `output` selects one.
            label: int64 (N,), class index or -1.

        Returns:
            A float32 scalar: "loss".
        """
        logits = head_of(outputs, self.output).float()
        losses = F.cross_entropy(logits, label, ignore_index=NO_CLASS, reduction="none")
        return {"loss": masked_mean(losses, label != NO_CLASS)}


def pixel_cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """Cross entropy of each pixel, float32 (N, H, W); 0 where the label is 255."""
    return F.cross_entropy(upsample(logits, label), label, ignore_index=IGNORE, reduction="none")


def masked_mean(losses: Tensor, mask: Tensor) -> Tensor:
    """Mean of `losses` where `mask` is true, over all processes; 0 (with zero gradients) for an empty mask."""
    return global_mean(losses[mask].sum(), mask.sum())


def ohem_mean(losses: Tensor, valid: Tensor, threshold: float, min_kept: float) -> Tensor:
    """Online hard example mining: the mean over pixels whose true class has a probability below `threshold`.

    When they are fewer than the share `min_kept` of all pixels (ignored ones included), the mean is over that many
    hardest valid pixels instead. Each process selects pixels of its own images.

    Args:
        losses: cross entropy of each pixel, any shape.
        valid: bool, same shape.
    """
    candidates = losses[valid]
    at_least = min(round(min_kept * losses.numel()), candidates.numel())
    hard = candidates.detach() > -math.log(threshold)
    enough = int(hard.sum()) >= at_least
    kept = candidates[hard] if enough else candidates.topk(at_least, sorted=False).values
    return global_mean(kept.sum(), torch.tensor(kept.numel(), device=losses.device))


def global_mean(total: Tensor, count: Tensor) -> Tensor:
    """The sum of `total` divided by the sum of `count`, over all processes; 0 where the count is 0."""
    return total * world_size() / global_sum(count.to(torch.float64)).clamp_min(1).to(total.dtype)

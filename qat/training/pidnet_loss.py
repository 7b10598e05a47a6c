"""PIDNet's loss: OHEM cross entropy, boundary BCE and boundary-aware cross entropy over its three heads.

Source: Xu, Xiong, Bhattacharyya, "PIDNet", CVPR 2023, section 3.4; upsampling as in the authors' configuration.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from core.config import TrainConfig
from qat.data.base import IGNORE
from qat.models.outputs import upsample
from qat.processes.distributed import global_sum, world_size
from qat.tasks.losses import SegmentationLoss, masked_mean, pixel_cross_entropy

AUX_WEIGHT = 0.4
BOUNDARY_WEIGHT = 20.0
BOUNDARY_CONFIDENCE = 0.8

Outputs = Tensor | Sequence[Tensor]


class PIDNetLoss:
    """The four-term PIDNet loss; only its main term for the deployed network, which has one output."""

    def __init__(self, cfg: TrainConfig) -> None:
        self.main = SegmentationLoss(cfg)

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
            main = self.main(outputs, label)["loss"]
            return {"loss": main, "main": main.detach()}
        if len(outputs) != 3:
            raise ValueError(f"expected logits or the three heads (P, final, D), got {len(outputs)} tensors")
        head_p, final, head_d = outputs
        boundary_logits = upsample(head_d, label)[:, 0]
        pixel_losses = pixel_cross_entropy(final, label)
        confident = torch.sigmoid(boundary_logits.detach()) > BOUNDARY_CONFIDENCE
        aux = masked_mean(pixel_cross_entropy(head_p, label), label != IGNORE)
        boundary = boundary_bce(boundary_logits, edge)
        main = self.main.of_pixels(pixel_losses, label)
        boundary_aware = masked_mean(pixel_losses, (label != IGNORE) & confident)
        return {
            "loss": AUX_WEIGHT * aux + BOUNDARY_WEIGHT * boundary + main + boundary_aware,
            "aux": aux.detach(),
            "boundary": boundary.detach(),
            "main": main.detach(),
            "boundary_aware": boundary_aware.detach(),
        }


def boundary_bce(logits: Tensor, edge: Tensor) -> Tensor:
    """Binary cross entropy that weights boundary and other pixels of the global batch equally in total.

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

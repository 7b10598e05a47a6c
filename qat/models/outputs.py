"""What a network returns: logits, or in training PIDNet's three heads."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

Outputs = Tensor | Sequence[Tensor]


def final_logits(outputs: Outputs) -> Tensor:
    """The logits that are deployed: `outputs` itself, or the second of the heads (P, final, D)."""
    return outputs if isinstance(outputs, Tensor) else outputs[1]


def upsample(logits: Tensor, label: Tensor) -> Tensor:
    """Logits (N, C, h, w) as float32 at the (H, W) of `label`, bilinear with aligned corners."""
    return F.interpolate(logits.float(), size=label.shape[-2:], mode="bilinear", align_corners=True)

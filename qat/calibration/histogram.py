"""Histograms of tensors, counted on the tensor's device: only the counts leave a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deploy.plan.histogram import BINS, Histogram

CHUNK = 1 << 24  # torch.histc counts in float32, which is exact for integers up to this one


class TensorHistogram(Histogram):
    """`deploy.plan.histogram.Histogram` of tensors on any device."""

    def magnitudes(self, x: Tensor) -> Tensor:
        """|x| as a flat float32 tensor."""
        return x.detach().abs().float().reshape(-1)

    def counted(self, magnitudes: Tensor) -> NDArray[np.float64]:
        """The number of `magnitudes` in each bin."""
        total: Any = sum(
            torch.histc(chunk, BINS, 0.0, self.limit).double().cpu().numpy() for chunk in magnitudes.split(CHUNK)
        )
        return np.asarray(total, np.float64)

"""Networks in the style of other projects: several outputs, operations in place, sizes computed in Python."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Awkward(nn.Module):
    """SyncBatchNorm, functional and in-place ReLU, sums in place, and outputs of another form in training."""

    def __init__(self, num_classes: int, form: str) -> None:
        super().__init__()
        self.form = form
        self.relu = nn.ReLU(inplace=True)  # of several layers
        self.a, self.b = _conv(3, 16, 2), _conv(16, 16, 1)
        self.c, self.d = _conv(16, 32, 2), _conv(32, 16, 1)
        self.head, self.aux = nn.Conv2d(16, num_classes, 1), nn.Conv2d(32, num_classes, 1)

    def forward(self, x: Tensor) -> Any:
        a = F.relu(self.a(x), inplace=True)
        b = self.b(a)
        b += a
        self.relu(b)
        c = torch.relu_(self.c(b))
        d = F.interpolate(self.d(c), size=(b.shape[-2], b.shape[-1]), mode="bilinear", align_corners=False)
        d.add_(b)
        out = F.interpolate(self.head(self.relu(d)), size=x.shape[2:], mode="bilinear", align_corners=True)
        if self.training:
            return out, self.aux(c)
        return {
            "one": out,
            "tuple of one": (out,),
            "tuple": (self.aux(c), out),
            "list": [out, self.aux(c)],
            "dict": {"aux": self.aux(c), "out": out},
        }[self.form]


class Computed(nn.Module):
    """Sizes through `int`, branches and loops on shapes."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.a, self.b, self.c = _conv(3, 16, 2), _conv(16, 32, 2), _conv(32, 16, 1)
        self.head = nn.Conv2d(16, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = F.relu(self.a(x))
        b = F.relu(self.b(a))
        c = self.c(b)
        if c.shape[-2:] != a.shape[-2:]:
            c = F.interpolate(c, size=(int(b.shape[2] * 2.0), round(b.shape[3] * 2.0)), mode="nearest")
        if isinstance(self.a, nn.Sequential) and len(a.shape) == 4:
            c = F.relu(c + a)
        height, width = list(x.shape)[2:]
        return F.interpolate(self.head(c), size=(height, width), mode="bilinear", align_corners=False)


def _conv(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.SyncBatchNorm(outputs))

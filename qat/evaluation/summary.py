"""The size of a network: parameters and multiply-accumulates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from core.config import Config
from qat.models import build_model


@dataclass(frozen=True)
class Summary:
    """Size of a network at one input size.

    Attributes:
        input: height × width in pixels.
        parameters: trainable values.
        gmacs: 10⁹ multiply-accumulates of its convolutions and matrix products for one image.
        convs: number of convolution layers.
    """

    input: str
    parameters: int
    gmacs: float
    convs: int


def summarize(model: nn.Module, height_px: int, width_px: int) -> Summary:
    """Measure `model` on one image of 3 × `height_px` × `width_px`; no arithmetic is done on real data."""
    model.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, height_px, width_px))
    return Summary(
        input=f"{height_px}×{width_px}",
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        gmacs=counter.get_total_flops() / 2e9,
        convs=sum(isinstance(module, nn.modules.conv._ConvNd) for module in model.modules()),
    )


def summaries(config: Config) -> list[Summary]:
    """The deployment network at the run's input size and at Cityscapes' 1024×2048."""
    model = build_model(config.model, augment=False)
    return [summarize(model, *size) for size in ((config.data.height_px, config.data.width_px), (1024, 2048))]


def print_summary(found: Sequence[Summary], name: str) -> None:
    """One line an input size."""
    table = Table("input", "parameters", "GMAC", "convolutions", title=name)
    for size in found:
        table.add_row(size.input, f"{size.parameters / 1e6:.2f} M", f"{size.gmacs:.1f}", str(size.convs))
    Console().print(table)

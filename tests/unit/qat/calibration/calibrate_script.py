"""Calibrate a small network and write every range: `python calibrate_script.py TARGET`, alone or under torchrun."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from accelerate import PartialState

from core.config import CalibrationConfig
from qat.calibration.statistics import activation_quantizers, calibrate, collect
from qat.processes.stages import is_main
from tests.nets.residual_graph import quantized_residual

METHODS = ("max", "moving_average", "percentile", "entropy", "mse")


def ranges() -> dict[str, dict[str, float]]:
    """By method and quantizer, from seven images of growing contrast (an odd number: shares differ)."""
    model = quantized_residual(32)
    images = [(1 + i) * torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(i)) for i in range(7)]
    histograms = collect(model, images)
    found = {}
    for method in METHODS:
        calibrate(model, histograms, CalibrationConfig(method=method, percentile=99.0))
        found[method] = {name: quantizer.amax.item() for name, quantizer in activation_quantizers(model).items()}
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    PartialState(cpu=True)
    content = ranges()
    if is_main():
        Path(sys.argv[1]).write_text(json.dumps(content), encoding="utf-8")

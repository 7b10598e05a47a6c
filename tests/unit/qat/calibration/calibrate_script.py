"""Calibrate a small network and write every range: `python calibrate_script.py TARGET`, alone or under torchrun."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from accelerate import PartialState

from core.config import CalibrationConfig
from deploy.placement.rules import RULES
from qat.calibration.statistics import activation_quantizers, calibrate, collect
from qat.processes.stages import is_main
from qat.quantization.insert import insert
from qat.tracing import fx_graph
from tests.nets.residual import residual_net

METHODS = ("max", "moving_average", "percentile", "entropy", "mse")


def ranges() -> dict[str, dict[str, float]]:
    """By method and quantizer, from seven images of growing contrast (an odd number: shares differ)."""
    model = fx_graph.trace(residual_net(), torch.zeros(1, 3, 32, 32))
    insert(model, RULES)
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

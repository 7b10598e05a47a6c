"""The statistics pass: measures the range of each quantized tensor of the float network on training images."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from itertools import islice
from typing import Any

import torch
from accelerate.utils import send_to_device
from torch import Tensor, nn

from core.config import CalibrationConfig
from core.console import track
from deploy.plan.histogram import Histogram, merged
from deploy.plan.thresholds import amax_from, origin_of
from qat.calibration.calibrators import calibrator_of
from qat.calibration.histogram import TensorHistogram
from qat.processes.distributed import gathered, rank, world_size
from qat.quantization.quantizers import Mode, Quantizer, quantizers
from qat.tracing.inputs import Inputs, apply, device_of


def activation_quantizers(model: nn.Module) -> dict[str, Quantizer]:
    """The quantizers with one scale per tensor; weight quantizers are calibrated from the weight itself."""
    return {name: quantizer for name, quantizer in quantizers(model).items() if quantizer.axis is None}


def collect(model: nn.Module, batches: Iterable[Inputs]) -> dict[str, Histogram]:
    """Histograms of |x| at every activation quantizer while the network computes in float.

    Several processes share the batches and merge their counts, so each ends with the histograms of all batches.

    Args:
        model: with quantizers; it is put in eval mode with all quantizers passing through.
        batches: (N, C, H, W) float32 images of the *training* split, or other inputs of the network.

    Returns:
        A histogram by quantizer name.
    """
    model.eval()
    for quantizer in quantizers(model).values():
        quantizer.set_mode(Mode.FLOAT)
    found = activation_quantizers(model)
    histograms = {name: TensorHistogram(name) for name in found}
    handles = [q.register_forward_hook(partial(_record, histograms[name])) for name, q in found.items()]
    try:
        with torch.no_grad():
            for batch in track(islice(batches, rank(), None, world_size()), "calibrating"):
                apply(model, send_to_device(batch, device_of(model)))
    finally:
        for handle in handles:
            handle.remove()
    return {name: merged(gathered(histogram)) for name, histogram in histograms.items()}


def calibrate(model: nn.Module, histograms: dict[str, Histogram], config: CalibrationConfig) -> None:
    """Set every activation's amax from its histogram, by `config.method` or by an override."""
    calibrators = calibrator_of(model, config)
    for name, quantizer in activation_quantizers(model).items():
        own = calibrators[name]
        amax = amax_from(histograms[name], own.method, own.percentile, own.momentum)
        quantizer.set_amax(amax, origin_of(own.method))


def observe_range(model: nn.Module, histograms: dict[str, Histogram]) -> None:
    """Set every activation's amax to the largest magnitude seen: statistics without calibration."""
    for name, quantizer in activation_quantizers(model).items():
        quantizer.set_amax(histograms[name].amax, "observed-range")


def _record(histogram: Histogram, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
    histogram.update(output)

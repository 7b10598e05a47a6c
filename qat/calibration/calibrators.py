"""The calibrator of each quantizer: the config's, or that of the last override that names it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from core.config import CalibrationConfig
from core.errors import UserError
from deploy.placement.patterns import suggestion
from qat.quantization.quantizer_names import any_matches, names_of, quantized_weights
from qat.quantization.quantizers import QMAX, magnitude, quantizers

FOLLOWED = "max"  # origin of a weight's range that is the weight's own and moves with it
CLIPS = torch.linspace(0.4, 1.0, 61)  # shares of a channel's largest weight that mse tries


def calibrator_of(model: nn.Module, config: CalibrationConfig) -> dict[str, CalibrationConfig]:
    """The settings of every quantizer by module path; a field that an override leaves out stays as it was.

    Raises:
        UserError: an override that names no quantizer.
    """
    names = names_of(model)
    for override in config.overrides:
        if not any(any_matches(own, override.match) for own in names.values()):
            raise UserError(
                f"qat.calibration.overrides: {override.match} names no quantizer",
                why="it takes module paths as in placement.skip, or tensor names as in plan.json",
                fix=suggestion(override.match, sorted(set().union(*names.values()))),
            )
    found = {}
    for path, own in names.items():
        settings = config
        for override in config.overrides:
            if any_matches(own, override.match):
                settings = settings.model_copy(update=override.model_dump(exclude={"match"}, exclude_none=True))
        found[path] = settings
    return found


def calibrate_weights(model: nn.Module, config: CalibrationConfig) -> None:
    """Set the range of each channel of every weight: its largest magnitude, or the one with the least squared error."""
    calibrators, quantizer_at = calibrator_of(model, config), quantizers(model)
    for path, weight in quantized_weights(model).items():
        rows = quantizer_at[path].as_rows(weight)
        if calibrators[path].weights == "mse":
            quantizer_at[path].set_amax(least_squares_amax(rows, 0), "mse")
        else:
            quantizer_at[path].set_amax(magnitude(rows, 0), FOLLOWED)


def least_squares_amax(weight: Tensor, axis: int) -> Tensor:
    """Per slice along `axis`, the narrow int8 range (±127 steps) among `CLIPS` with the least squared error."""
    rows = weight.movedim(axis, 0).flatten(1)
    largest = magnitude(rows, 0).clamp_min(torch.finfo(rows.dtype).tiny)
    best, least = largest.clone(), torch.full_like(largest, torch.inf)
    for clip in CLIPS.tolist():
        step = (clip * largest / QMAX).unsqueeze(1)
        errors = ((rows / step).round().clamp_(-QMAX, QMAX).mul_(step) - rows).square_().sum(1)
        better = errors < least
        best, least = torch.where(better, clip * largest, best), torch.where(better, errors, least)
    return best

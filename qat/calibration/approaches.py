"""The three ways to give quantizers their ranges: from a pass before training, from steps during it, or from both.

| approach     | before training                          | during training                                        |
|--------------|------------------------------------------|--------------------------------------------------------|
| `calibrate`  | histograms, then a calibration threshold | ranges fixed (or learned, by option)                   |
| `stats_only` | the same pass, the raw observed range    | an EMA; for the last k epochs fixed (or learned)       |
| `direct`     | nothing                                  | the first N steps' EMA, then learned (LSQ)             |

Weights keep the exact range of their channel all along (or, with `qat.calibration.weights: mse`, the range they were
calibrated to before training), or are learned where activations are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from torch import Tensor, nn

from core.config import QatConfig
from core.console import warn
from core.errors import UserError
from qat.calibration.calibrators import FOLLOWED, calibrate_weights
from qat.calibration.statistics import calibrate, collect, observe_range
from qat.quantization.quantizer_names import refresh_weight_ranges
from qat.quantization.quantizers import Mode, quantizers
from qat.training.hooks import NoHooks

Schedule = Callable[[int, float], Mode]  # (step, epochs done before it) → mode of the activation quantizers


class RangeSchedule(NoHooks):
    """Training hooks: set every quantizer's mode before each step, and freeze BatchNorm statistics.

    The modes are a function of the step alone, so a resumed training needs no state of its own. By default BatchNorm
    uses its running statistics from the first step, since that is what is folded into the engine's weights.
    """

    def __init__(
        self, model: nn.Module, mode_at: Schedule, batch_norm_steps: int = 0, learns_within: float | None = None
    ) -> None:
        """
        Args:
            batch_norm_steps: first steps in which BatchNorm normalises by the batch and updates its statistics.
            learns_within: epochs in which scales should begin to learn; None where they need not.
        """
        self.model, self.mode_at, self.batch_norm_steps = model, mode_at, batch_norm_steps
        self.learns_within = learns_within
        self.steps_per_epoch = 1

    def on_training_start(self, steps_per_epoch: int) -> None:
        """Note the length of an epoch, and warn the user if scales that should learn never will."""
        self.steps_per_epoch = steps_per_epoch
        if self.learns_within is None:
            return
        last = round(self.learns_within * steps_per_epoch) - 1
        if self.mode_at(last, last / steps_per_epoch) is not Mode.LEARN:
            warn(f"qat.observe_steps: no scale is learned, as there are only {last + 1} steps")

    def on_step_start(self, step: int, epoch: int) -> None:
        """Prepare the model for step `step`, counted from 0."""
        set_modes(self.model, self.mode_at(step, step / self.steps_per_epoch))
        if step < self.batch_norm_steps:
            return
        for module in self.model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()


def set_modes(model: nn.Module, activations: Mode) -> None:
    """Put activation quantizers in a mode; weight quantizers learn along, follow their weight, or stay calibrated."""
    for quantizer in quantizers(model).values():
        if quantizer.axis is None or activations is Mode.LEARN:
            quantizer.set_mode(activations)
        else:
            quantizer.set_mode(Mode.TRACK if quantizer.origin == FOLLOWED else Mode.QUANTIZE)


def prepare(model: nn.Module, config: QatConfig, images: Iterable[Tensor]) -> RangeSchedule:
    """Do what the approach does before training and return what it does during it.

    Args:
        model: with quantizers and FP32 weights.
        images: (N, C, H, W) float32 batches of the training split; `direct` reads none.

    Raises:
        UserError: `direct` with too few epochs to see any data.
    """
    calibrate_weights(model, config.calibration)
    scheduled = partial(RangeSchedule, model, batch_norm_steps=config.batch_norm_steps)
    if config.approach == "direct":
        if config.epochs == 0:
            raise UserError("qat.approach: direct needs training", why="qat.epochs is 0", fix="use approach calibrate")
        return scheduled(partial(_direct, config.observe_steps), learns_within=config.epochs)
    histograms = collect(model, images)
    settled = Mode.LEARN if config.learned_scales else Mode.QUANTIZE
    if config.approach == "calibrate":
        calibrate(model, histograms, config.calibration)
        return scheduled(lambda _step, _epochs: settled)
    observe_range(model, histograms)
    frozen_from = config.epochs - config.freeze_last_epochs
    return scheduled(lambda _, epochs: settled if epochs >= frozen_from else Mode.TRACK)


def _direct(observe_steps: int, step: int, _epochs: float) -> Mode:
    return Mode.TRACK if step < observe_steps else Mode.LEARN


def float_schedule(model: nn.Module, config: QatConfig) -> RangeSchedule:
    """The same treatment of BatchNorm for a network without quantizers."""
    return RangeSchedule(model, lambda _step, _epochs: Mode.FLOAT, config.batch_norm_steps)


def finish(model: nn.Module) -> None:
    """Fix all ranges where training left them, for evaluation and export."""
    model.eval()
    refresh_weight_ranges(model)  # the last optimizer step moved the weights, too
    for quantizer in quantizers(model).values():
        if quantizer.mode is Mode.LEARN:
            quantizer.set_amax(quantizer.amax.detach().abs(), "learned")
        quantizer.set_mode(Mode.QUANTIZE)

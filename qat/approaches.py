"""The three ways to give quantizers their ranges: what is read before training, and what moves during it.

| approach     | before training                          | during training                                        |
|--------------|------------------------------------------|--------------------------------------------------------|
| `calibrate`  | histograms, then a calibration threshold | ranges fixed (or learned, by option)                   |
| `stats_only` | the same pass, the raw observed range    | an EMA of the range; the last k epochs fixed (or learned) |
| `direct`     | nothing                                  | the first N steps' EMA, then learned (LSQ)             |

Weights keep the exact range of their channel all along, or are learned where activations are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import Tensor, nn

from core.config import QatConfig
from core.errors import UserError
from qat.calibrate import calibrate, collect, observe_range
from qat.hooks import NoHooks
from qat.quantized_layers import WEIGHT_QUANTIZER
from qat.quantizers import Mode, Quantizer, quantizers

Schedule = Callable[[int, int], Mode]  # (step, epoch) → mode of the activation quantizers


class RangeSchedule(NoHooks):
    """Training hooks: set every quantizer's mode before each step, and keep BatchNorm statistics frozen.

    The modes are a function of step and epoch alone, so a resumed training needs no state of its own. BatchNorm
    uses its running statistics from the first step, since that is what is folded into the engine's weights.
    """

    def __init__(self, model: nn.Module, mode_at: Schedule) -> None:
        self.model, self.mode_at = model, mode_at

    def on_step_start(self, step: int, epoch: int) -> None:
        """Prepare the model for step `step` of `epoch`, both counted from 0."""
        set_modes(self.model, self.mode_at(step, epoch))
        for module in self.model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()


def set_modes(model: nn.Module, activations: Mode) -> None:
    """Put activation quantizers in a mode; weight quantizers learn along, or follow their weight exactly."""
    weights = Mode.LEARN if activations is Mode.LEARN else Mode.TRACK
    for quantizer in quantizers(model).values():
        quantizer.set_mode(activations if quantizer.axis is None else weights)


def prepare(model: nn.Module, config: QatConfig, images: Iterable[Tensor]) -> RangeSchedule:
    """Do what the approach does before training and return what it does during it.

    Args:
        model: with quantizers and FP32 weights.
        images: (N, C, H, W) float32 batches of the training split; `direct` reads none.

    Raises:
        UserError: `direct` with too few epochs to see any data.
    """
    if config.approach == "direct":
        if config.epochs == 0:
            raise UserError("qat.approach: direct needs training", why="qat.epochs is 0", fix="use approach calibrate")
        return RangeSchedule(model, lambda step, _: Mode.TRACK if step < config.observe_steps else Mode.LEARN)
    histograms = collect(model, images)
    settled = Mode.LEARN if config.learned_scales else Mode.QUANTIZE
    if config.approach == "calibrate":
        calibrate(model, histograms, config.calibration)
        return RangeSchedule(model, lambda _step, _epoch: settled)
    observe_range(model, histograms)
    frozen_from = config.epochs - config.freeze_last_epochs
    return RangeSchedule(model, lambda _, epoch: settled if epoch >= frozen_from else Mode.TRACK)


def finish(model: nn.Module) -> None:
    """Fix all ranges where training left them, for evaluation and export."""
    model.eval()
    for layer in model.modules():
        follower = getattr(layer, WEIGHT_QUANTIZER, None)
        if isinstance(follower, Quantizer) and isinstance(layer.weight, Tensor) and follower.mode is Mode.TRACK:
            follower.observe(layer.weight)  # the last optimizer step moved the weight, too
    for quantizer in quantizers(model).values():
        if quantizer.mode is Mode.LEARN:
            quantizer.set_amax(quantizer.amax.detach().abs(), "learned")
        quantizer.set_mode(Mode.QUANTIZE)

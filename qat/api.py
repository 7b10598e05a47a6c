"""The QAT stage from Python, for your own training loop.

    model = quantize(float_model, example, PlacementConfig(skip=("head",)))
    calibrate(model, batches, CalibrationConfig(method="percentile", percentile=99.9))
    ...                                     # optionally train it as any module; ranges stay fixed
    export(model, example, Path("qdq.onnx"))

The configs are those of the YAML file (docs/reference/config.md). For ranges that move or are learned while training,
call `prepare` instead of `calibrate`: it runs the preparation of `qat.approach` and returns hooks to call between the
steps, as in examples/training_loop.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import Tensor, fx, nn

from core.config import CalibrationConfig, PlacementConfig
from core.errors import UserError
from deploy.apply.target import PORTABLE, TargetConfig
from deploy.placement.rule_sets import rules_of
from deploy.placement.rules.base import Rule
from deploy.targets import TARGETS, target_for
from qat.calibration import statistics as statistics
from qat.calibration.approaches import finish, prepare, set_modes
from qat.calibration.calibrators import calibrate_weights
from qat.export import export_onnx, save_planned
from qat.quantization.insert import insert_configured
from qat.quantization.quantizers import Mode
from qat.tracing import fx_graph

__all__ = ["calibrate", "export", "prepare", "quantize", "save"]


def quantize(
    model: nn.Module, example: Tensor, placement: PlacementConfig | None = None, rules: Sequence[Rule] = ()
) -> fx.GraphModule:
    """A traced copy of `model`'s graph, on the same parameters, with quantizers where the placement rules say.

    Args:
        model: float, returns one tensor.
        example: (N, C, H, W) float32.
        placement: rule set, own rules, and float layers; None for the defaults.
        rules: placement cases of your own, besides those in the files of `placement.custom`.

    Raises:
        UserError: torch.fx cannot trace the model, a pattern names nothing in it, or there is nothing to quantize.
    """
    traced = fx_graph.trace(model, example)
    insert_configured(traced, placement or PlacementConfig(), own=rules)
    return traced


def calibrate(model: nn.Module, batches: Iterable[Tensor], config: CalibrationConfig | None = None) -> None:
    """Calibrate every quantizer of `model` and switch it on.

    Args:
        batches: (N, C, H, W) float32 training images; all of them are read and `config.images` is ignored.

    Raises:
        UserError: an override names no quantizer, or activations are not finite.
    """
    config = config or CalibrationConfig()
    calibrate_weights(model, config)
    statistics.calibrate(model, statistics.collect(model, batches), config)
    set_modes(model, Mode.QUANTIZE)


def export(model: fx.GraphModule, example: Tensor, target: Path, opset: int = 18) -> None:
    """Fix all ranges and write the Q/DQ ONNX; see `qat.tracing.export.export_onnx`.

    Raises:
        UserError: a quantizer without a finite range.
    """
    finish(model)
    export_onnx(model, example, target, opset)


def save(
    model: fx.GraphModule,
    images: Iterable[Tensor],
    folder: Path,
    placement: PlacementConfig | None = None,
    opset: int = 18,
) -> tuple[Path, Path]:
    """Fix all ranges; returns the paths of `float.onnx`, the network with its weights, and of its `plan.json`.

    Args:
        images: (1, C, H, W) float32 each, to measure scales that only targets other than TensorRT need.
        folder: both files are written there.
        placement: as for `quantize`.

    Raises:
        UserError: there are no images, or a quantizer has no finite range.
    """
    inputs, options = list(images), placement or PlacementConfig()
    if not inputs:
        raise UserError("there are no images", why="some targets need scales from images", fix="give some")
    finish(model)
    targets = [target_for(name) for name in TARGETS if name != PORTABLE.name]
    others = [
        TargetConfig(target, rules_of(options, target.rule_set), options.skip, options.weights) for target in targets
    ]
    network, plan = folder / "float.onnx", folder / "plan.json"
    save_planned(model, inputs[0], opset, (image.cpu().numpy() for image in inputs), others, network, plan)
    return network, plan

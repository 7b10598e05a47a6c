"""Attributes of the `TensorQuantizer` of nvidia-modelopt and of pytorch-quantization; neither is imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from core.errors import UserError
from qat.tracing.inputs import device_of

FOREIGN = "TensorQuantizer"  # class name in both
BUFFERS = ("_amax", "_pre_quant_scale")
PLAIN = (bool, int, float, str, tuple, type(None))
SHOWN = 3


def is_foreign(module: nn.Module) -> bool:
    """Return True for a quantizer of modelopt or pytorch-quantization, recognised by its class name."""
    return any(base.__name__ == FOREIGN for base in type(module).__mro__) and hasattr(module, "disable")


def is_on(module: Any) -> bool:
    """Return True for such a quantizer unless `disable()` or `disable_quant()` switched it off."""
    off = getattr(module, "_disabled", False) or not getattr(module, "_if_quant", True)
    return module is not None and is_foreign(module) and not off


def foreign_quantizers(model: nn.Module) -> dict[str, Any]:
    """Every such quantizer by module path, including disabled ones."""
    return {path: module for path, module in model.named_modules() if is_foreign(module)}


def range_of(quantizer: nn.Module) -> Tensor | None:
    """The magnitude that a quantizer (of any toolkit) maps to its largest integer; None if it changes with each batch.

    pytorch-quantization learns it as the bounds of `clip` (`learn_amax`) and may multiply it (`scale_amax`).
    """
    if getattr(quantizer, "_learn_amax", False):
        clip: Any = quantizer.clip
        return torch.maximum(-clip.clip_value_min, clip.clip_value_max).detach()
    amax = getattr(quantizer, "amax", None)
    if not isinstance(amax, Tensor):
        return None
    return amax.detach().abs() * (getattr(quantizer, "_scale_amax", None) or 1)


def float_layers(model: nn.Module) -> tuple[str, ...]:
    """Paths of the layers whose weight quantizer its owner turned off."""
    off = [path for path, module in foreign_quantizers(model).items() if not is_on(module)]
    return tuple(owner_of(path) for path in off if is_of_weight(path))


def owner_of(path: str) -> str:
    """Module that a quantizer belongs to; modelopt keeps several in a list under one name."""
    parts = path.split(".")
    while len(parts) > 1 and (parts[-1].isdigit() or "quantizer" in parts[-1]):
        parts.pop()
    return ".".join(parts)


def is_of_weight(path: str) -> bool:
    """Return True for a quantizer with "weight" in its name or in the name of the list that holds it."""
    name = next((part for part in reversed(path.split(".")) if not part.isdigit()), path)
    return "weight" in name


def settings_of(model: nn.Module) -> dict[str, dict[str, str]]:
    """Bits, sign, switches and other plain values of every such quantizer, which decide its output like its buffers."""
    return {
        path: {name: repr(value) for name, value in vars(module).items() if isinstance(value, PLAIN)}
        for path, module in foreign_quantizers(model).items()
    }


def require_calibrated(model: nn.Module) -> None:
    """Raise `UserError` for quantizers that do not fake-quantize: they still calibrate, or give integers."""
    found = {path: module for path, module in foreign_quantizers(model).items() if not module._disabled}
    calibrating = [path for path, module in found.items() if getattr(module, "_if_calib", False)]
    if calibrating:
        raise UserError(
            f"{len(calibrating)} quantizers are in calibration mode: {_listed(calibrating)}",
            why="they collect statistics, and may not quantize",
            fix="end it in get_model(): load_calib_amax(), disable_calib(), enable_quant()",
        )
    integers = [path for path in found if getattr(found[path], "_fake_quant", True) is False]
    if integers:
        raise UserError(
            f"{len(integers)} quantizers give integers: {_listed(integers)}",
            why="the layers after them compute with other values when the quantizers are off",
            fix="build them with fake_quant=True",
        )


def make_room_for_ranges(model: nn.Module, state: Mapping[str, Any]) -> None:
    """Add the buffers of `state` to quantizers without a range, so that it can be loaded.

    pytorch-quantization would make them itself, but on a GPU only.
    """
    for path, module in foreign_quantizers(model).items():
        held = module.state_dict()
        for name in BUFFERS:
            value = state.get(f"{path}.{name}")
            if name not in held and isinstance(value, Tensor):
                module.register_buffer(name, torch.zeros_like(value, device=device_of(model)))


def _listed(paths: list[str]) -> str:
    return ", ".join(paths[:SHOWN]) + (", …" if len(paths) > SHOWN else "")

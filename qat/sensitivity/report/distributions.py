"""Histograms of the values at the quantizers of the worst groups, beside their representable range."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from qat.sensitivity.network.foreign import range_of
from qat.sensitivity.types import QuantizerGroup
from qat.tracing.inputs import Inputs, apply

BINS = 61


def distributions(model: nn.Module, inputs: Inputs, groups: Sequence[QuantizerGroup]) -> list[dict[str, Any]]:
    """Run `model` once and count the inputs of the quantizers of `groups`.

    Returns:
        JSON values by quantizer, in the order of `groups`: its group, `low` and `high` of the bins, share of the values
        in each bin, amax (the largest, if each channel has one), and the share beyond it.
    """
    seen: dict[str, Tensor] = {}
    paths = {path: group.name for group in groups for path in group.quantizers}
    handles = [
        model.get_submodule(path).register_forward_pre_hook(partial(_keep, seen, path), prepend=True) for path in paths
    ]
    try:
        with torch.no_grad():
            apply(model, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return [
        {"group": group, "quantizer": path, **_counted(model, path, seen[path])}
        for path, group in paths.items()
        if path in seen
    ]


def _keep(seen: dict[str, Tensor], path: str, _: nn.Module, inputs: tuple[Any, ...]) -> None:
    seen[path] = inputs[0].detach().float()


def _counted(model: nn.Module, path: str, values: Tensor) -> dict[str, Any]:
    amax = range_of(model.get_submodule(path))
    limit = None if amax is None else float(amax.max())
    low, high = float(values.min()), float(values.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    counts = torch.histc(values, BINS, low, high)
    return {
        "low": low,
        "high": high,
        "shares": (counts / values.numel()).tolist(),
        "amax": limit,
        "clipped": 0.0 if limit is None else float((values.abs() > limit).float().mean()),
    }

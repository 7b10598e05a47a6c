"""Any network as the same thing: units that can be switched between INT8 and float, one by one.

| the network | quantizers | units know of |
|---|---|---|
| has quantizers (ours, modelopt's, pytorch-quantization's) | its own | fusion, if it is a traced graph |
| torch.fx can trace it | where the placement rules say | fusion |
| anything else | input and weight of every convolution and linear layer | layers |
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from core.config import PlacementConfig
from core.console import say
from core.errors import UserError
from deploy.opgraph import Node
from deploy.profiles import rules_of
from deploy.rules.weighted import weight_axis
from qat import fx_graph
from qat.calibrate import calibrate, collect
from qat.insert import insert
from qat.quantized_layers import WEIGHT_QUANTIZER, quantize_layer
from qat.quantizers import activation_quantizer, quantizers
from qat.sensitivity.config import SensitivityConfig
from qat.sensitivity.switches import Switch, is_foreign, restored, switches
from qat.sensitivity.types import Unit
from qat.sensitivity.units import units_of

INPUT_QUANTIZER = "input_quantizer"
LAYERS: dict[type[nn.Module], str] = {
    nn.Conv1d: "Conv",
    nn.Conv2d: "Conv",
    nn.Conv3d: "Conv",
    nn.ConvTranspose2d: "ConvTranspose",
    nn.Linear: "Gemm",
}
# What tracing raises for networks that inspect their values: each library function has its own.
UNTRACEABLE = (UserError, AttributeError, AssertionError, LookupError, NameError, NotImplementedError, ValueError)


@dataclass(frozen=True)
class Subject:
    """A network in evaluation mode with all it takes to switch its quantizers.

    Attributes:
        model: takes a batch, returns what the criterion takes.
        units: what is probed, in the order of computation.
        quantized_by: where the quantizers come from, for reports.
    """

    model: nn.Module
    units: tuple[Unit, ...]
    quantized_by: str

    def switches(self) -> dict[str, Switch]:
        """Switches of the quantizers in all units."""
        wanted = {path for unit in self.units for path in unit.quantizers}
        return {path: switch for path, switch in switches(self.model).items() if path in wanted}

    def all_switches(self) -> dict[str, Switch]:
        """Switches of all quantizers, also of those in no unit."""
        return switches(self.model)

    @contextmanager
    def only(self, quantized: frozenset[str]) -> Iterator[None]:
        """Within the context exactly these units are quantized, and nothing else is; after it all is as before.

        Raises:
            KeyError: a name that is no unit.
        """
        by_name = {unit.name: unit for unit in self.units}
        on = {path for name in quantized for path in by_name[name].quantizers}
        found = switches(self.model)
        with restored(found):
            for path, switch in found.items():
                switch.turn(path in on)
            yield


def make_subject(model: nn.Module, example: Tensor, images: Iterable[Tensor], config: SensitivityConfig) -> Subject:
    """Quantize `model` unless it is already, and find its units.

    Args:
        model: with its weights; it is not changed when it has to be quantized.
        example: one input batch.
        images: input batches of the training split, for calibration.

    Raises:
        UserError: there is nothing to quantize.
    """
    model.eval()
    if any(is_foreign(module) for module in model.modules()):
        quantized_by = "modelopt or pytorch-quantization"
    elif quantizers(model):
        quantized_by = "qat.insert"
        unset = [name for name, quantizer in quantizers(model).items() if not quantizer.is_set]
        if unset:
            _set_ranges(model, images, config)
    else:
        model, quantized_by = _quantized(model, example)
        _set_ranges(model, images, config)
    units = units_of(model, switches(model), config.granularity, config.part)
    if not units:
        raise UserError(f"{type(model).__name__} has no quantizer to probe", why=f"part is {config.part}")
    say(f"{len(units)} units of granularity {config.granularity}, quantized by {quantized_by}")
    return Subject(model.eval(), units, quantized_by)


def _quantized(model: nn.Module, example: Tensor) -> tuple[nn.Module, str]:
    try:
        traced = fx_graph.trace(copy.deepcopy(model), example)
        insert(traced, rules_of(PlacementConfig()))
    except UNTRACEABLE as error:
        reason = str(error).replace("\n", " ") or type(error).__name__
        say(f"quantizing layer by layer, without fusion groups: {reason}")
        return quantize_layers(copy.deepcopy(model)), "layers"
    return traced, "placement rules"


def quantize_layers(model: nn.Module) -> nn.Module:
    """Put quantizers at the input and the weight of every layer that has a quantized form, in place."""
    left_out = []
    for name, module in list(model.named_modules()):
        kind = LAYERS.get(type(module))
        if kind is None or (kind == "ConvTranspose" and getattr(module, "groups", 1) > 1):
            left_out += [name] if isinstance(module, nn.modules.conv._ConvNd | nn.Linear) else []
            continue
        quantize_layer(module, weight_axis(Node(name, kind, (), (), {"transB": 1})))
        module.add_module(INPUT_QUANTIZER, activation_quantizer())
        module.register_forward_pre_hook(_quantize_input)
    if left_out:
        say(f"layers without a quantized form stay float: {', '.join(left_out)}")
    if not quantizers(model):
        raise UserError(f"{type(model).__name__} has no convolution or linear layer to quantize")
    return model


def _quantize_input(layer: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (layer.get_submodule(INPUT_QUANTIZER)(inputs[0]), *inputs[1:])


def _set_ranges(model: nn.Module, images: Iterable[Tensor], config: SensitivityConfig) -> None:
    """Calibrate; layers that never ran lose their ranges, and so are no units."""
    histograms = collect(model, images)
    calibrate(model, histograms, config.calibration)
    found = quantizers(model)
    for name in [name for name, histogram in histograms.items() if not histogram.peaks]:
        layer = name.removesuffix(INPUT_QUANTIZER)
        say(f"{name} saw no data: its layer is not part of the computation")
        for path in [path for path in found if path == name or path == f"{layer}{WEIGHT_QUANTIZER}"]:
            found[path].amax.data.fill_(math.nan)

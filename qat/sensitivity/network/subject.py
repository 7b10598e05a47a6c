"""The common form of any network: quantizer groups that switch between INT8 and float, one by one.

| the network | quantizers | groups know of |
|---|---|---|
| has quantizers (of any toolkit) | its own | fusion, if it is a traced graph |
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

from torch import Tensor, fx, nn

from core.config import PlacementConfig
from core.console import say
from core.errors import UserError
from deploy.graph.opgraph import Node, weight_axis
from deploy.placement.rule_sets import rules_of
from deploy.placement.rules import small_groups
from qat.calibration.statistics import calibrate, collect
from qat.quantization.insert import insert
from qat.quantization.quantized_layers import WEIGHT_QUANTIZER, layer_type, quantize_layer
from qat.quantization.quantizers import activation_quantizer, quantizers
from qat.sensitivity.config import SensitivityConfig
from qat.sensitivity.network.foreign import foreign_quantizers, is_foreign, require_calibrated
from qat.sensitivity.network.functional import INPUT_QUANTIZER, Weights, functional_weights, quantize_functions
from qat.sensitivity.network.groups import groups_of
from qat.sensitivity.network.switches import Switch, restored, switches
from qat.sensitivity.types import Form, QuantizerGroup
from qat.tracing import fx_graph
from qat.tracing.inputs import Inputs, device_of

WEIGHTED = (nn.modules.conv._ConvNd, nn.Linear, nn.Bilinear, nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)
# Errors of tracing where a network inspects its values; each library function raises its own type.
UNTRACEABLE = (UserError, AttributeError, AssertionError, LookupError, NameError, NotImplementedError, ValueError)
FORMS: dict[Form, str] = {"fx": "the placement rules", "layers": "layer by layer", "given": "get_model()"}


@dataclass(frozen=True)
class Subject:
    """A network in evaluation mode with the switches of its quantizers.

    Attributes:
        model: maps a batch to the criterion's input.
        groups: the quantizer groups, in the order of computation.
        form: origin of the quantizers.
        all_switches: of all quantizers that were in use when the subject was made, including those without a group.
        graph: the same modules as a traced graph; None for networks that cannot be traced.
    """

    model: nn.Module
    groups: tuple[QuantizerGroup, ...]
    form: Form
    all_switches: dict[str, Switch]
    graph: fx.GraphModule | None = None

    def switches(self) -> dict[str, Switch]:
        """Switches of the quantizers in all groups."""
        wanted = {path for group in self.groups for path in group.quantizers}
        return {path: switch for path, switch in self.all_switches.items() if path in wanted}

    @contextmanager
    def only(self, quantized: frozenset[str]) -> Iterator[None]:
        """Within the context, quantize exactly these groups and nothing else; afterwards restore the previous state.

        Raises:
            KeyError: a name that is not a group.
        """
        by_name = {group.name: group for group in self.groups}
        on = {path for name in quantized for path in by_name[name].quantizers}
        with restored(self.all_switches):
            for path, switch in self.all_switches.items():
                switch.turn(path in on)
            yield


def make_subject(model: nn.Module, example: Inputs, images: Iterable[Inputs], config: SensitivityConfig) -> Subject:
    """Quantize `model`, unless it has quantizers already, and find its groups.

    Args:
        model: with its weights; a model without quantizers is copied, not changed.
        example: the input of the network, one batch.
        images: batches of the training split, for calibration.

    Raises:
        UserError: there is nothing to quantize.
    """
    model.eval()
    graph: fx.GraphModule | None = None
    form: Form = "given"
    theirs = foreign_quantizers(model)
    if theirs:
        require_calibrated(model)
        graph = _graph_of_given(model, example)
    else:
        if not quantizers(model):
            model, form = _quantized(model, example)
        if not all(quantizer.is_set for quantizer in quantizers(model).values()):
            _set_ranges(model, images, config)
    if isinstance(model, fx.GraphModule):
        graph = model
    found = switches(model)
    groups = groups_of(graph or model, found, config.granularity, config.part, given=bool(theirs))
    if not groups:
        why = f"part is {config.part}" if found or not theirs else f"all {len(theirs)} of get_model()'s are disabled"
        raise UserError(f"{type(model).__name__} has no quantizer to switch", why=why)
    say(f"{len(groups)} quantizer groups of granularity {config.granularity}; quantizers: {FORMS[form]}")
    return Subject(model.eval(), groups, form, found, graph)


def _graph_of_given(model: nn.Module, example: Inputs) -> fx.GraphModule | None:
    """The network's graph on its own modules, with quantized layers as leaves; None if it cannot be traced."""
    in_place = {module: module.inplace for module in model.modules() if hasattr(module, "inplace")}
    try:
        return fx_graph.trace(model, example, one_output=False, may_export=False, leaf=_is_quantized_layer)
    except UNTRACEABLE as error:
        for module, value in in_place.items():
            module.inplace = value
        say(f"groups are single layers, without fusion: {str(error) or type(error).__name__}")
        return None


def _is_quantized_layer(module: nn.Module) -> bool:
    children = [name for name, _ in module.named_children()]
    return is_foreign(module) or (bool(children) and all("quantizer" in name for name in children))


def _quantized(model: nn.Module, example: Inputs) -> tuple[nn.Module, Form]:
    """A quantized copy of `model` without ranges, on its device, and how it was made."""
    form: Form = "fx"
    try:
        quantized: nn.Module = quantize_traced(copy.deepcopy(model), example)
    except UNTRACEABLE as error:
        say(f"quantizing layer by layer, without fusion groups: {str(error) or type(error).__name__}")
        quantized, form = quantize_layers(copy.deepcopy(model), functional_weights(model, example)), "layers"
    return quantized.to(device_of(model)), form  # new quantizers are made on the CPU


def quantize_traced(model: nn.Module, example: Inputs) -> fx.GraphModule:
    """`model` traced, with quantizers where the placement rules say, and on depthwise convolutions, which only TensorRT
    leaves in float.

    Raises:
        Exception: of `UNTRACEABLE`.
    """
    traced = fx_graph.trace(model, example, one_output=False, may_export=False)
    insert(traced, rules_of(PlacementConfig(disable=(small_groups.RULE.name,))))
    return traced


def quantize_layers(model: nn.Module, functions: Weights = ()) -> nn.Module:
    """Put quantizers at the input and the weight of every layer that has a quantized form, in place.

    Args:
        functions: weights that `forward` passes to functions directly (see `qat.sensitivity.network.functional`).
    """
    quantize_functions(model, functions)
    owners = {name.rpartition(".")[0] for name, _ in functions}
    for name, module in list(model.named_modules()):
        if _has_quantized_form(module):
            quantize_layer(module, weight_axis(Node(name, fx_graph.kind_of(type(module)), (), (), {"transB": 1})))
            module.add_module(INPUT_QUANTIZER, activation_quantizer())
            module.register_forward_pre_hook(_quantize_input)
        elif isinstance(module, WEIGHTED) and name not in owners:
            say(f"no quantized form, stays float: {name} ({type(module).__name__})")
    if not quantizers(model):
        raise UserError(f"{type(model).__name__} has no convolution or linear layer to quantize")
    return model


def _has_quantized_form(module: nn.Module) -> bool:
    grouped = isinstance(module, nn.modules.conv._ConvTransposeNd) and module.groups > 1
    return layer_type(module) is not None and not grouped


def _quantize_input(layer: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (layer.get_submodule(INPUT_QUANTIZER)(inputs[0]), *inputs[1:])


def _set_ranges(model: nn.Module, images: Iterable[Inputs], config: SensitivityConfig) -> None:
    """Calibrate; layers that never ran lose their ranges, so they belong to no group."""
    histograms = collect(model, images)
    calibrate(model, histograms, config.calibration)
    found = quantizers(model)
    for name in [name for name, histogram in histograms.items() if not histogram.peaks]:
        layer = name.removesuffix(INPUT_QUANTIZER)
        say(f"{name} saw no data: its layer is not part of the computation")
        for path in {name, f"{layer}{WEIGHT_QUANTIZER}"} & found.keys():
            found[path].amax.data.fill_(math.nan)

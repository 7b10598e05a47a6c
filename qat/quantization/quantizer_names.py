"""The names by which a config may mean a quantizer, and the weight of a weight quantizer."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable

from torch import Tensor, fx, nn

from qat.quantization.quantized_layers import WEIGHT_QUANTIZER, weight_of
from qat.quantization.quantizers import Mode, quantizers
from qat.tracing import fx_graph


def names_of(model: nn.Module) -> dict[str, set[str]]:
    """Every quantizer by module path, with all it is called.

    A weight quantizer goes by its layer. An activation quantizer goes by the tensor it quantizes, by the node that
    makes it and by the nodes that read it, all named as in `placement.skip`: `layer3.*` means what layer 3 reads and
    makes.
    """
    names = {path: {path, path.removesuffix(f".{WEIGHT_QUANTIZER}")} for path in quantizers(model)}
    if isinstance(model, fx.GraphModule):
        node_names = fx_graph.node_names(model)
        for node in model.graph.nodes:
            if node.op == "call_module" and node.target in names:
                around = (*node.all_input_nodes, *node.users)
                names[node.target].update(name for other in around for name in (other.name, node_names[other]))
    return names


def any_matches(names: Iterable[str], pattern: str) -> bool:
    """Return True if `pattern` (fnmatch, case matters) fits one of `names`."""
    return any(fnmatch.fnmatchcase(name, pattern) for name in names)


def quantized_weights(model: nn.Module) -> dict[str, Tensor]:
    """The input of every weight quantizer, by the quantizer's module path."""
    weights: dict[str, Tensor] = {}
    for path in quantizers(model):
        if path.endswith(f".{WEIGHT_QUANTIZER}"):
            weights[path] = weight_of(model.get_submodule(path.removesuffix(f".{WEIGHT_QUANTIZER}")))
    if isinstance(model, fx.GraphModule):
        for node in model.graph.nodes:
            if node.op == "call_module" and node.target in quantizers(model) and node.args[0].op == "get_attr":
                weights[str(node.target)] = model.get_parameter(str(node.args[0].target))
    return weights


def refresh_weight_ranges(model: nn.Module) -> None:
    """Set the ranges that follow their weight from the weight's present values."""
    quantizer_at = quantizers(model)
    for path, weight in quantized_weights(model).items():
        if quantizer_at[path].mode is Mode.TRACK:
            quantizer_at[path].observe(weight)

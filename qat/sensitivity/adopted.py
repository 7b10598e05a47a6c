"""A network with another toolkit's INT8 quantizers as the same network with ours, which can be exported."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, fx, nn

from core.errors import UserError
from deploy.opgraph import Node
from deploy.rules.weighted import weight_axis
from qat import fx_graph
from qat.insert import QUANTIZERS
from qat.quantized_layers import WEIGHT_QUANTIZER, known_type, quantize_layer
from qat.quantizers import Mode, activation_quantizer, quantizers
from qat.sensitivity.functional import INPUT_QUANTIZER
from qat.sensitivity.switches import is_foreign
from qat.sensitivity.task import logits_of

BITS = 8
LARGEST_DIFFERENCE = 0.02  # of the outputs, in their largest magnitude: a rounding that falls the other way


def adopted(graph: fx.GraphModule, example: Tensor) -> fx.GraphModule:
    """A copy of `graph` in which each enabled foreign quantizer is one of ours with the same range.

    Args:
        graph: traced with foreign quantizers and the layers that hold them as leaves, all of them turned on.
        example: (N, C, H, W) float32, for comparing both.

    Raises:
        UserError: a quantizer that is not symmetric INT8, or sits where no engine has one; or both compute differently.
    """
    result = copy.deepcopy(graph)
    result.add_submodule(QUANTIZERS, nn.ModuleDict())
    for node in list(result.graph.nodes):
        if node.op != "call_module":
            continue
        path, module = str(node.target), result.get_submodule(str(node.target))
        if is_foreign(module):
            _replace_quantizer(result, node, module)
        elif any(is_foreign(child) for child in module.children()):
            _replace_layer(result, path, module)
            held = getattr(module, INPUT_QUANTIZER, None)
            if _is_on(held):
                source = node.all_input_nodes[0]
                node.replace_input_with(source, _quantized(result, source, _amax(held, path)))
    result.delete_all_unused_submodules()
    result.graph.lint()
    result.recompile()
    for quantizer in quantizers(result).values():
        quantizer.set_mode(Mode.QUANTIZE)
    _require_same(result, graph, example)
    return result


def _replace_quantizer(graph: fx.GraphModule, node: fx.Node, module: Any) -> None:
    source = node.all_input_nodes[0]
    node.replace_all_uses_with(_quantized(graph, source, _amax(module, str(node.target))) if _is_on(module) else source)
    graph.graph.erase_node(node)


def _replace_layer(graph: fx.GraphModule, path: str, module: Any) -> None:
    kind = next((base for base in type(module).__mro__ if base.__module__.startswith("torch.nn.")), None)
    held = getattr(module, WEIGHT_QUANTIZER, None)
    if (
        kind is None
        or (_is_on(held) and known_type(module) is not kind)
        or _is_on(getattr(module, "output_quantizer", None))
    ):
        raise UserError(f"{path} ({type(module).__name__}) has no exportable form with its quantizers")
    layer: Any = object.__new__(kind)
    nn.Module.__init__(layer)
    layer.__dict__.update({name: value for name, value in vars(module).items() if name != "_modules"})
    if _is_on(held):
        quantize_layer(layer, weight_axis(Node(path, fx_graph.kind_of(kind), (), (), {"transB": 1})))
        own, amax = layer.get_submodule(WEIGHT_QUANTIZER), _amax(held, path).reshape(-1)
        if amax.numel() not in (1, own.amax.numel()):
            raise UserError(f"{path} has {amax.numel()} weight ranges for {own.amax.numel()} output channels")
        own.set_amax(amax.expand_as(own.amax), "adopted")
    graph.set_submodule(path, layer)


def _quantized(graph: fx.GraphModule, source: fx.Node, amax: Tensor) -> fx.Node:
    """The node that quantizes `source` with this range; layers with equal ranges share it."""
    if amax.numel() != 1:
        raise UserError(f"{source} has {amax.numel()} ranges", why="INT8 kernels take one for each activation tensor")
    for reader in source.users:
        own: Any = graph.get_submodule(str(reader.target)) if str(reader.target).startswith(f"{QUANTIZERS}.") else None
        if own is not None and float(own.amax) == float(amax):
            return reader
    holder: Any = graph.get_submodule(QUANTIZERS)
    target = f"{QUANTIZERS}.{source.name}_{len(holder)}"
    quantizer = activation_quantizer().to(amax.device)
    quantizer.set_amax(amax.reshape(()), "adopted")
    graph.add_submodule(target, quantizer)
    with graph.graph.inserting_after(source):
        return graph.graph.call_module(target, (source,))


def _is_on(quantizer: Any) -> bool:
    return quantizer is not None and is_foreign(quantizer) and not getattr(quantizer, "_disabled", False)


def _amax(quantizer: Any, path: str) -> Tensor:
    amax, bits = getattr(quantizer, "amax", None), getattr(quantizer, "num_bits", BITS)
    if bits != BITS or getattr(quantizer, "unsigned", False):
        raise UserError(f"{path} is quantized to something else than signed INT8", why=f"num_bits is {bits}")
    if not isinstance(amax, Tensor) or not bool(amax.isfinite().all()):
        raise UserError(f"{path} has no range", why="a range that is found anew in each pass cannot be exported")
    return amax.detach().abs()


def _require_same(found: fx.GraphModule, expected: fx.GraphModule, example: Tensor) -> None:
    with torch.no_grad():
        a, b = logits_of(found(example)), logits_of(expected(example))
    if float((a - b).abs().max()) > LARGEST_DIFFERENCE * float(b.abs().max()):
        raise UserError("the network computes something else with quantizers that can be exported")

"""A network with another toolkit's INT8 quantizers as the same network with ours, which can be exported."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, fx, nn

from core.errors import UserError
from deploy.graph.opgraph import Node, weight_axis
from qat.quantization.fake_quant import broadcast
from qat.quantization.insert import QUANTIZERS
from qat.quantization.quantized_layers import WEIGHT_QUANTIZER, known_type, quantize_layer
from qat.quantization.quantizers import Mode, Quantizer, activation_quantizer, quantizers, weight_quantizer
from qat.sensitivity.network.foreign import is_foreign, is_on, range_of
from qat.sensitivity.network.functional import INPUT_QUANTIZER
from qat.sensitivity.network.outputs import logits_of
from qat.tracing import fx_graph
from qat.tracing.inputs import Inputs, apply

BITS = 8
CONVOLUTIONS: dict[tuple[int, bool], type[nn.Module]] = {
    (1, False): nn.Conv1d,
    (2, False): nn.Conv2d,
    (3, False): nn.Conv3d,
    (1, True): nn.ConvTranspose1d,
    (2, True): nn.ConvTranspose2d,
    (3, True): nn.ConvTranspose3d,
}  # by dimensions, and whether it is transposed
LARGEST_DIFFERENCE = 0.02  # of the outputs, in their largest magnitude: a rounding that falls the other way


def adopted(graph: fx.GraphModule, example: Inputs) -> fx.GraphModule:
    """A copy of `graph` in which each enabled foreign quantizer is one of ours with the same range.

    Args:
        graph: traced with foreign quantizers and the layers that hold them as leaves, all of them turned on.
        example: what the network is called with, for comparing both.

    Raises:
        UserError: a quantizer that is not symmetric INT8, or sits where no engine has one; or both compute differently.
    """
    result = copy.deepcopy(graph)
    result.add_submodule(QUANTIZERS, nn.ModuleDict())
    layers: set[str] = set()
    for node in list(result.graph.nodes):
        if node.op != "call_module":
            continue
        path, module = str(node.target), graph.get_submodule(str(node.target))
        if is_foreign(module):
            _replace_quantizer(result, node, module)
        elif any(is_foreign(child) for child in module.children()):
            if path not in layers:  # one that is called twice is replaced once
                layers.add(path)
                _replace_layer(result, path, result.get_submodule(path))
            held = getattr(module, INPUT_QUANTIZER, None)
            if is_on(held):
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
    node.replace_all_uses_with(_quantized(graph, source, _amax(module, str(node.target))) if is_on(module) else source)
    graph.graph.erase_node(node)


def _replace_layer(graph: fx.GraphModule, path: str, module: Any) -> None:
    kind = _plain_type(module)
    held = getattr(module, WEIGHT_QUANTIZER, None)
    if kind is None or is_on(getattr(module, "output_quantizer", None)):
        raise UserError(f"{path} ({type(module).__name__}) has no exportable form with its quantizers")
    layer: Any = object.__new__(kind)
    nn.Module.__init__(layer)
    layer.__dict__.update({name: value for name, value in vars(module).items() if name != "_modules"})
    if is_on(held):
        _quantize_weight(layer, path, held)
    graph.set_submodule(path, layer)


def _plain_type(module: nn.Module) -> type[nn.Module] | None:
    """The class of torch.nn that it computes as; pytorch-quantization's convolutions derive from none of these."""
    if isinstance(module, nn.modules.conv._ConvNd) and known_type(module) is None:
        return CONVOLUTIONS.get((len(module.kernel_size), module.transposed))
    return next((base for base in type(module).__mro__ if base.__module__.startswith("torch.nn.")), None)


def _quantize_weight(layer: Any, path: str, held: Any) -> None:
    axis = weight_axis(Node(path, fx_graph.kind_of(type(layer)), (), (), {"transB": 1}))
    quantize_layer(layer, axis)  # its ranges are those of the weights, as a quantizer without ranges finds them
    own, amax = layer.get_submodule(WEIGHT_QUANTIZER), _amax(held, path)
    if amax is None and getattr(held, "axis", None) is None:
        amax = layer.weight.detach().abs().max()
    if amax is None:
        return
    channels = own.amax.numel()
    if amax.numel() != 1 and amax.shape != broadcast(own.amax, layer.weight, axis).shape:
        raise UserError(f"{path} has weight ranges of shape {tuple(amax.shape)} for {channels} output channels")
    own.set_amax(amax.reshape(-1).expand_as(own.amax), "adopted")


def _quantized(graph: fx.GraphModule, source: fx.Node, amax: Tensor | None) -> fx.Node:
    """The node that quantizes `source` with this range; layers with equal ranges share it."""
    if amax is None:
        raise UserError(f"{source} has no range", why="one that is found anew in each batch cannot be exported")
    if source.op == "get_attr":
        quantizer = _parameter_quantizer(fx_graph.attribute(graph, str(source.target)), amax, source)
    else:
        quantizer = _tensor_quantizer(amax, source)
        same = [reader for reader in source.users if _is_like(graph, reader, quantizer)]
        if same:
            return same[0]
    holder: Any = graph.get_submodule(QUANTIZERS)
    target = f"{QUANTIZERS}.{source.name}_{len(holder)}"
    graph.add_submodule(target, quantizer)
    with graph.graph.inserting_after(source):
        return graph.graph.call_module(target, (source,))


def _is_like(graph: fx.GraphModule, node: fx.Node, quantizer: Quantizer) -> bool:
    path = str(node.target)
    own: Any = graph.get_submodule(path) if path.startswith(f"{QUANTIZERS}.") else None
    return own is not None and float(own.amax) == float(quantizer.amax)


def _tensor_quantizer(amax: Tensor, source: fx.Node) -> Quantizer:
    if amax.numel() != 1:
        raise UserError(f"{source} has {amax.numel()} ranges", why="INT8 kernels take one for each activation tensor")
    quantizer = activation_quantizer().to(amax.device)
    quantizer.set_amax(amax.reshape(()), "adopted")
    return quantizer


def _parameter_quantizer(weight: Tensor, amax: Tensor, source: fx.Node) -> Quantizer:
    """Of a weight that `forward` gives to a function, along the axis that the ranges have."""
    axis = next((axis for axis, size in enumerate(amax.shape) if size > 1), 0)
    quantizer = weight_quantizer(weight, axis)
    if amax.numel() not in (1, quantizer.amax.numel()):
        raise UserError(f"{source.target} has ranges of shape {tuple(amax.shape)}", why="kernels take one per channel")
    quantizer.set_amax(amax.reshape(-1).expand_as(quantizer.amax), "adopted")
    return quantizer


def _amax(quantizer: Any, path: str) -> Tensor | None:
    """Its range; None if it is the largest magnitude in each batch. One that is unsigned is covered by signed INT8."""
    amax, bits = range_of(quantizer), getattr(quantizer, "num_bits", BITS)
    if bits != BITS:
        raise UserError(f"{path} is not quantized to INT8", why=f"num_bits is {bits}")
    if amax is not None and not bool(amax.isfinite().all()):
        raise UserError(f"{path} has no range", why="it never saw data")
    return amax


def _require_same(found: fx.GraphModule, expected: fx.GraphModule, example: Inputs) -> None:
    with torch.no_grad():
        a, b = logits_of(apply(found, example)), logits_of(apply(expected, example))
    if float((a - b).abs().max()) > LARGEST_DIFFERENCE * float(b.abs().max()):
        raise UserError("the network computes something else with quantizers that can be exported")

"""Replaces another toolkit's INT8 quantizers in a network by this project's, which can be exported."""

from __future__ import annotations

import copy
from collections.abc import Sequence
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
from qat.sensitivity.user.batch import logits_of
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
}  # layer classes by dimensions, and transposed or not
LARGEST_DIFFERENCE = 0.02  # tolerance as a share of the largest output: some values may round the other way


def adopted(graph: fx.GraphModule, example: Inputs) -> fx.GraphModule:
    """A copy of `graph` with each enabled foreign quantizer replaced by this project's, with the same range.

    Args:
        graph: traced, with foreign quantizers and their layers as leaves; all quantizers are on.
        example: the network's input, for comparing both.

    Raises:
        UserError: a quantizer is not symmetric INT8 or has no counterpart in engines, or both networks differ.
    """
    result = copy.deepcopy(graph)
    result.add_submodule(QUANTIZERS, nn.ModuleDict())
    layers: set[str] = set()
    for node in list(result.graph.nodes):
        if node.op != "call_module":
            continue
        path, source = str(node.target), node.all_input_nodes[0]
        module = graph.get_submodule(path)
        if is_foreign(module):
            node.replace_all_uses_with(_quantized(result, source, _amax(module, path)) if is_on(module) else source)
            result.graph.erase_node(node)
        elif any(is_foreign(child) for child in module.children()):
            if path not in layers:  # a quantizer that is called twice is replaced once
                layers.add(path)
                result.set_submodule(path, _layer(path, result.get_submodule(path)))
            held = getattr(module, INPUT_QUANTIZER, None)
            if is_on(held):
                node.replace_input_with(source, _quantized(result, source, _amax(held, path)))
    result.delete_all_unused_submodules()
    result.graph.lint()
    result.recompile()
    for quantizer in quantizers(result).values():
        quantizer.set_mode(Mode.QUANTIZE)
    with torch.no_grad():
        ours, theirs = (logits_of(apply(network, example)) for network in (result, graph))
    if float((ours - theirs).abs().max()) > LARGEST_DIFFERENCE * float(theirs.abs().max()):
        raise UserError("the network computes something else with quantizers that can be exported")
    return result


def _layer(path: str, module: Any) -> nn.Module:
    """The equivalent torch.nn layer of `module`, with this project's weight quantizer."""
    kind = _plain_type(module)
    held = getattr(module, WEIGHT_QUANTIZER, None)
    if kind is None or is_on(getattr(module, "output_quantizer", None)):
        raise UserError(f"{path} ({type(module).__name__}) has no exportable form with its quantizers")
    layer: Any = object.__new__(kind)
    nn.Module.__init__(layer)
    layer.__dict__.update({name: value for name, value in vars(module).items() if name != "_modules"})
    if is_on(held):
        axis = weight_axis(Node(path, fx_graph.kind_of(kind), (), (), {"transB": 1}))
        quantize_layer(layer, axis)  # it takes its ranges from the weights, as a quantizer without ranges does
        amax = _amax(held, path)
        if amax is None and getattr(held, "axis", None) is None:
            amax = layer.weight.detach().abs().max()
        if amax is not None:
            own = layer.get_submodule(WEIGHT_QUANTIZER)
            _adopt(own, amax, path, broadcast(own.amax, layer.weight, axis).shape)
    return layer


def _plain_type(module: nn.Module) -> type[nn.Module] | None:
    """The equivalent torch.nn class; pytorch-quantization's convolutions do not derive from these classes."""
    if isinstance(module, nn.modules.conv._ConvNd) and known_type(module) is None:
        return CONVOLUTIONS.get((len(module.kernel_size), module.transposed))
    return next((base for base in type(module).__mro__ if base.__module__.startswith("torch.nn.")), None)


def _quantized(graph: fx.GraphModule, source: fx.Node, amax: Tensor | None) -> fx.Node:
    """The node that quantizes `source` with this range; layers with equal ranges share it."""
    if amax is None:
        raise UserError(f"{source} has no range", why="a range that is computed for each batch cannot be exported")
    own: Quantizer
    if source.op == "get_attr":  # a weight that forward() gives to a function
        weight = fx_graph.attribute(graph, str(source.target))
        axis = next((axis for axis, size in enumerate(amax.shape) if size > 1), 0)
        own = weight_quantizer(weight, axis)
        _adopt(own, amax, str(source.target), broadcast(own.amax, weight, axis).shape)
    else:
        own = activation_quantizer().to(amax.device)
        _adopt(own, amax, str(source), ())
        for reader in source.users:
            other: Any = quantizers(graph).get(str(reader.target))
            if other is not None and float(other.amax) == float(own.amax):
                return reader
    target = f"{QUANTIZERS}.{source.name}_{len(quantizers(graph))}"
    graph.add_submodule(target, own)
    with graph.graph.inserting_after(source):
        return graph.graph.call_module(target, (source,))


def _adopt(own: Quantizer, amax: Tensor, where: str, shape: Sequence[int]) -> None:
    """Give this project's quantizer the foreign range: one value, or one for each channel in this shape."""
    if amax.numel() != 1 and tuple(amax.shape) != tuple(shape):
        raise UserError(
            f"{where} has {amax.numel()} ranges of shape {tuple(amax.shape)}",
            why="INT8 kernels take one for each activation tensor, and one for each output channel of a weight",
        )
    own.set_amax(amax.reshape(-1).expand(own.amax.numel()).reshape(own.amax.shape), "adopted")


def _amax(quantizer: Any, path: str) -> Tensor | None:
    """Its range; None if it is the largest magnitude in each batch. Signed INT8 covers unsigned ranges."""
    amax, bits = range_of(quantizer), getattr(quantizer, "num_bits", BITS)
    if bits != BITS:
        raise UserError(f"{path} is not quantized to INT8", why=f"num_bits is {bits}")
    if amax is not None and not bool(amax.isfinite().all()):
        raise UserError(f"{path} has no range", why="it never saw data")
    return amax

"""PyTorch out: write a float or fake-quantized model as ONNX, with BatchNorm folded and scales as constants."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import torch
from accelerate.utils import send_to_device
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import TensorMetadata
from torch.nn.utils.fusion import fuse_conv_bn_weights

from core.artifacts import write_atomic
from core.errors import UserError
from deploy.graph import onnx_graph
from qat.quantization.fake_quant import QMAX
from qat.quantization.quantized_layers import WEIGHT_QUANTIZER
from qat.quantization.quantizers import Quantizer, quantizers
from qat.tracing import fx_graph
from qat.tracing.inputs import Inputs, in_order

INPUT_NAME, OUTPUT_NAME = "image", "logits"


def export_onnx(model: fx.GraphModule, example: Inputs, target: Path, opset: int) -> None:
    """Write `model` as it computes in eval mode; the model itself is not changed.

    Args:
        model: traced; fake quantizers become QuantizeLinear/DequantizeLinear pairs (int8, zero-point 0).
        example: (1, C, H, W) float32, or several inputs; the file has these static shapes.
        target: written atomically, checked by `onnx.checker` with full shape inference.
        opset: ONNX operator set, 17 or later.

    Raises:
        UserError: a quantizer without a finite amax, or an input that is no tensor.
    """
    example = send_to_device(example, "cpu")
    inputs = named_inputs(model, example)
    exported = copy.deepcopy(model).cpu().eval()
    require_amax(exported)
    fx_graph.annotate(exported, example)
    fold_batch_norm(exported)
    _freeze_quantizers(exported)
    _name_scopes(exported)
    with write_atomic(target) as temporary:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracer warns of every deprecation inside itself
            torch.onnx.export(
                exported,
                tuple(inputs.values()),
                str(temporary),
                opset_version=opset,
                input_names=list(inputs),
                output_names=[OUTPUT_NAME],
                **_exporter_choice(torch.onnx.export),
            )
        if quantizers(model):
            onnx.checker.check_model(onnx.load(str(temporary)), full_check=True)
        else:
            onnx_graph.save(onnx_graph.clean(onnx_graph.load(temporary)), temporary)


def named_inputs(model: fx.GraphModule, inputs: Inputs) -> dict[str, Tensor]:
    """Tensors by their names in the exported file: `INPUT_NAME`, or those of `forward` if there are several.

    Raises:
        UserError: `forward` takes a sequence or a mapping of tensors, or any number of them.
    """
    if isinstance(inputs, Tensor):
        return {INPUT_NAME: inputs}
    names = [str(node.target) for node in model.graph.nodes if node.op == "placeholder"]
    found = dict(zip(names, in_order(model, inputs), strict=False))
    nested = [name for name, value in found.items() if name.startswith("*") or not isinstance(value, Tensor)]
    if nested:
        raise UserError(
            f"forward() takes several tensors as {', '.join(nested)}",
            why="an engine has a name for each of its inputs",
            fix="give forward() a parameter for each tensor",
        )
    return found


def require_amax(model: nn.Module) -> None:
    """Raise `UserError` naming the quantizers whose range is not finite, or of unknown origin."""
    unset = [name for name, quantizer in quantizers(model).items() if not (quantizer.is_set and quantizer.origin)]
    if unset:
        raise UserError(
            f"{len(unset)} quantizers have no finite amax of known origin: {', '.join(unset[:5])}",
            why="no statistics reached them, or they diverged during training",
            fix="calibrate on more images, or lower qat.lr",
        )


def fold_batch_norm(model: fx.GraphModule) -> None:
    """Fold each BatchNorm that alone reads a convolution into it, in place.

    The factor of a channel scales its weight and its weight's amax alike, so the int8 weights do not change.
    """
    graph = fx_graph.view(model)
    by_name = {name: node for node, name in fx_graph.node_names(model).items()}
    calls = Counter(str(node.target) for node in model.graph.nodes if node.op == "call_module")
    for op in graph.nodes:
        producer = graph.producer(op.inputs[0]) if op.inputs else None
        if op.kind != "BatchNormalization" or producer is None or producer.kind != "Conv":
            continue
        if graph.only_reader(producer.outputs[0]) is None:
            continue
        conv_node, bn_node = by_name[producer.name], by_name[op.name]
        if any(node.op != "call_module" or calls[str(node.target)] > 1 for node in (conv_node, bn_node)):
            continue  # a module that is called twice keeps its own BatchNorms
        _fold(model.get_submodule(str(conv_node.target)), model.get_submodule(str(bn_node.target)))
        bn_node.replace_all_uses_with(conv_node)
        model.graph.erase_node(bn_node)
    model.delete_all_unused_submodules()
    model.recompile()


def _fold(conv: Any, bn: Any) -> None:
    factor = bn.weight.detach() * torch.rsqrt(bn.running_var + bn.eps)
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
    )
    quantizer = getattr(conv, WEIGHT_QUANTIZER, None)
    if quantizer is not None:
        quantizer.set_amax(quantizer.amax.detach().abs() * factor.abs(), quantizer.origin)


def _name_scopes(model: fx.GraphModule) -> None:
    """Make every operation a module at the root that is called as in `fx_graph.view`.

    The exporter names ONNX nodes by the modules it enters: `layer1.0.conv1` becomes /layer1/layer1.0/conv1/Conv, the
    function call `add_3` becomes /add_3/Add. A pattern of `placement.skip` so names the same in both graphs.
    """
    scopes: dict[str, nn.Module] = {}
    for node, name in fx_graph.node_names(model).items():
        flat = name.replace(".", "/")
        if node.op == "call_module":
            module = model.get_submodule(str(node.target))
            # the exporter tells objects apart, not names: a module that is called twice has one for each call
            scopes[flat] = module if name == node.target else copy.copy(module)
        elif node.op in ("call_function", "call_method") and isinstance(node.meta.get("tensor_meta"), TensorMetadata):
            scopes[flat] = _Call(node.target if callable(node.target) else getattr(Tensor, node.target))
        else:
            continue
        with model.graph.inserting_before(node):
            node.replace_all_uses_with(model.graph.create_node("call_module", flat, node.args, node.kwargs))
        model.graph.erase_node(node)
    for flat, module in scopes.items():
        model.add_module(flat, module)
    model.delete_all_unused_submodules()
    model.recompile()


class _Call(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = partial(function)  # a plain function the tracer would try to compile

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


class _ConstantScale(nn.Module):
    """A quantizer as the exporter needs it: the scale is a constant, and weights lie inside ±127 already."""

    def __init__(self, quantizer: Quantizer) -> None:
        super().__init__()
        self.axis = quantizer.axis
        self.register_buffer("scale", quantizer.scale.detach().float())
        self.register_buffer("zero_point", torch.zeros(self.scale.shape, dtype=torch.int32))

    scale: Tensor
    zero_point: Tensor

    def forward(self, x: Tensor) -> Tensor:
        if self.axis is None:
            return torch.fake_quantize_per_tensor_affine(x, self.scale, self.zero_point, -QMAX - 1, QMAX)
        return torch.fake_quantize_per_channel_affine(x, self.scale, self.zero_point, self.axis, -QMAX - 1, QMAX)


def _freeze_quantizers(model: fx.GraphModule) -> None:
    for name, quantizer in quantizers(model).items():
        parent = model.get_submodule(name.rpartition(".")[0])
        if name.endswith(f".{WEIGHT_QUANTIZER}"):
            _clip_weight(parent, quantizer)
        setattr(parent, name.rpartition(".")[2], _ConstantScale(quantizer))


def _clip_weight(layer: Any, quantizer: Quantizer) -> None:
    """The exporter knows only the range [-128, 127]; a weight inside ±amax never reaches -128."""
    shape = [1] * layer.weight.ndim
    shape[quantizer.axis or 0] = -1
    limit = (quantizer.scale * QMAX).reshape(shape)
    with torch.no_grad():
        layer.weight.copy_(torch.minimum(torch.maximum(layer.weight, -limit), limit))


def _exporter_choice(export: Callable[..., Any]) -> dict[str, Any]:
    """The TorchScript exporter writes fake quantizers as Q/DQ; before torch 2.5 there was no other to choose."""
    return {"dynamo": False} if "dynamo" in inspect.signature(export).parameters else {}

"""PyTorch in: trace a model with torch.fx and view it as an op graph."""

from __future__ import annotations

import inspect
import operator
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional as F

from core.console import say
from core.errors import UserError
from core.files.user_code import place_in_user_code
from deploy.graph.opgraph import WEIGHTED, Node, OpGraph
from qat.models.outputs import Key, head_of
from qat.tracing.attention import ATTENTION, open_attention
from qat.tracing.exported import exported
from qat.tracing.functionalize import write_nothing_in_place
from qat.tracing.inputs import Inputs, apply, in_order
from qat.tracing.symbolic import Tracer

FIX = "move control flow that depends on tensor values out of forward()"
# Errors of tracing where a network inspects its values: each library function has its own.
UNTRACEABLE = (fx.proxy.TraceError, TypeError, RuntimeError, ValueError, AttributeError, AssertionError, LookupError)
PARITY_TOLERANCE = 1e-4  # relative to the largest output, FP32

_ATEN = torch.ops.aten  # torch.export writes these

_MODULE_KINDS: dict[type[nn.Module], str] = {
    nn.Conv1d: "Conv",
    nn.Conv2d: "Conv",
    nn.Conv3d: "Conv",
    nn.ConvTranspose1d: "ConvTranspose",
    nn.ConvTranspose2d: "ConvTranspose",
    nn.ConvTranspose3d: "ConvTranspose",
    nn.Linear: "Gemm",
    nn.BatchNorm1d: "BatchNormalization",
    nn.BatchNorm2d: "BatchNormalization",
    nn.BatchNorm3d: "BatchNormalization",
    nn.ReLU: "Relu",
    nn.ReLU6: "Clip",
    nn.Sigmoid: "Sigmoid",
    nn.ZeroPad2d: "Pad",
    nn.ConstantPad2d: "Pad",
    nn.ReflectionPad2d: "Pad",
    nn.ReplicationPad2d: "Pad",
    nn.MaxPool2d: "MaxPool",
    nn.AvgPool2d: "AveragePool",
    nn.AdaptiveAvgPool2d: "GlobalAveragePool",
    nn.Upsample: "Resize",
    nn.Flatten: "Reshape",
    nn.Identity: "Identity",
    nn.Dropout: "Identity",
}
_FUNCTION_KINDS: dict[Any, str] = {
    operator.add: "Add",
    operator.iadd: "Add",
    torch.add: "Add",
    operator.mul: "Mul",
    operator.imul: "Mul",
    torch.mul: "Mul",
    operator.sub: "Sub",
    torch.sub: "Sub",
    torch.cat: "Concat",
    torch.relu: "Relu",
    F.relu: "Relu",
    F.relu6: "Clip",
    F.hardtanh: "Clip",
    torch.sigmoid: "Sigmoid",
    F.interpolate: "Resize",
    F.max_pool2d: "MaxPool",
    F.avg_pool2d: "AveragePool",
    F.adaptive_avg_pool2d: "GlobalAveragePool",
    F.pad: "Pad",
    torch.flatten: "Reshape",
    torch.reshape: "Reshape",
    torch.permute: "Transpose",
    torch.transpose: "Transpose",
    torch.squeeze: "Squeeze",
    torch.unsqueeze: "Unsqueeze",
    torch.sum: "ReduceSum",
    operator.matmul: "MatMul",
    torch.matmul: "MatMul",
    torch.bmm: "MatMul",
    **dict.fromkeys((_ATEN.conv1d.default, _ATEN.conv2d.default, _ATEN.conv3d.default), "Conv"),
    _ATEN.linear.default: "Gemm",
    _ATEN.matmul.default: "MatMul",
    _ATEN.bmm.default: "MatMul",
    F.conv1d: "Conv",
    F.conv2d: "Conv",
    F.conv3d: "Conv",
    F.linear: "Gemm",
}
_METHOD_KINDS = {
    "add": "Add",
    "add_": "Add",
    "mul": "Mul",
    "sub": "Sub",
    "relu": "Relu",
    "sigmoid": "Sigmoid",
    "sum": "ReduceSum",
    "matmul": "MatMul",
    "bmm": "MatMul",
    "view": "Reshape",
    "reshape": "Reshape",
    "flatten": "Reshape",
    "permute": "Transpose",
    "transpose": "Transpose",
    "squeeze": "Squeeze",
    "unsqueeze": "Unsqueeze",
    "contiguous": "Identity",
}
_WEIGHTED_MODULES = (nn.modules.conv._ConvNd, nn.Linear)


def trace(
    model: nn.Module,
    example: Inputs,
    *,
    one_output: bool = True,
    output: Key = None,
    may_export: bool = True,
    leaf: Callable[[nn.Module], bool] = lambda module: False,
) -> fx.GraphModule:
    """Symbolically trace `model` in eval mode and annotate every value with its shape.

    Parameters of `forward` that `example` does not give are constants with their defaults.

    Args:
        model: returns a tensor, or a sequence or mapping of tensors.
        one_output: the traced network returns one of them, and computes nothing that only others need.
        output: position or key of that one, where there are several.
        example: the input, (N, C, H, W) float32, or several.
        may_export: a network that torch.fx cannot trace may go through torch.export.
        leaf: selects the modules that are one operator, besides the modules of `torch.nn`.

    Raises:
        UserError: the model cannot be traced, it returns several tensors of which `output` names none, or the
            traced model computes something else (one that writes into a slice of a tensor does).
    """
    model.eval()
    try:
        given = apply(inspect.signature(model.forward).bind, example).arguments
        tracer = Tracer(leaf, _defaults(model, given), given)
        traced = fx.GraphModule(model, tracer.trace(model), type(model).__name__)
    except UNTRACEABLE as error:
        why = ": ".join(filter(None, (place_in_user_code(error), type(error).__name__, *str(error).splitlines()[:1])))
        if not may_export:
            raise UserError(f"torch.fx cannot trace {type(model).__name__}", why, FIX) from error
        traced = exported(model, example, why)
        say(f"{type(model).__name__} is traced by torch.export, since torch.fx cannot: {why}")
    with torch.no_grad():
        expected = apply(model, example)
        write_nothing_in_place(traced)
        if any(node.target in ATTENTION for node in traced.graph.nodes):
            annotate(traced, example)
            open_attention(traced)
        if one_output:
            expected = head_of(expected, output)
            if not isinstance(expected, Tensor):
                raise UserError(f"{type(model).__name__} returns {type(expected).__name__}, not tensors")
            _keep_one_output(traced, example, output)
        got = apply(traced, example)
        if any(_apart(a, b) for a, b in zip(_tensors(got), _tensors(expected), strict=True)):
            raise UserError(
                f"{type(model).__name__} computes something else when traced",
                why="it writes into a part of a tensor in place, or does not compute the same twice",
                fix="compute such a part as a tensor of its own",
            )
    annotate(traced, example)
    return traced


def _keep_one_output(traced: fx.GraphModule, example: Inputs, output: Key) -> None:
    """Return the head that `output` names, and compute nothing that only others need."""
    result = next(node for node in traced.graph.nodes if node.op == "output")
    value = result.args[0]
    if isinstance(value, fx.Node):  # a tensor, or heads that one operator makes
        made = apply(traced, example)
        if isinstance(made, Tensor):
            return
        names = list(made) if isinstance(made, Mapping) else range(len(made))
        with traced.graph.inserting_before(result):
            value = {name: traced.graph.call_function(operator.getitem, (value, name)) for name in names}
    result.args = (head_of(value, output),)
    traced.graph.eliminate_dead_code()
    traced.delete_all_unused_submodules()
    traced.recompile()


def output_shape(traced: fx.GraphModule) -> tuple[int, ...]:
    """Shape of the one tensor that an annotated network returns."""
    result = next(node for node in traced.graph.nodes if node.op == "output")
    return tuple(result.args[0].meta["tensor_meta"].shape)


def _defaults(model: nn.Module, given: Mapping[str, Any]) -> dict[str, Any]:
    """Of the parameters of `forward` that are not given."""
    parameters = inspect.signature(model.forward).parameters
    left_out = (item for name, item in parameters.items() if name not in given)
    return {item.name: item.default for item in left_out if item.default is not item.empty}


def _tensors(output: Any) -> list[Tensor]:
    """The tensors in nested sequences and mappings."""
    if isinstance(output, Tensor):
        return [output]
    items = output.values() if isinstance(output, Mapping) else output if isinstance(output, list | tuple) else ()
    return [tensor for item in items for tensor in _tensors(item)]


def _apart(got: Tensor, expected: Tensor) -> bool:
    return float((got - expected).abs().max()) > PARITY_TOLERANCE * float(expected.abs().max())


def annotate(traced: fx.GraphModule, example: Inputs) -> None:
    """Record the shape of every value at the size of `example`, (N, C, H, W) or several."""
    with torch.no_grad():
        ShapeProp(traced).propagate(*in_order(traced, example))


def view(traced: fx.GraphModule) -> OpGraph:
    """The op graph of an annotated module; values other than tensors (sizes, indices) are left out.

    Node names are module paths where a module is called once ("layer1.0.conv1"), else fx's own names. Weights
    are named by parameter path ("layer1.0.conv1.weight").
    """
    constants: dict[str, tuple[int, ...]] = {}
    nodes: list[Node] = []
    inputs: list[str] = []
    outputs: list[str] = []
    names = node_names(traced)
    for node in traced.graph.nodes:
        if node.op == "placeholder":
            inputs.append(node.name)
        elif node.op == "output":
            outputs += [source.name for source in node.all_input_nodes]
        elif node.op == "get_attr":
            constants[node.name] = tuple(attribute(traced, str(node.target)).shape)
        elif "tensor_meta" in node.meta:
            nodes.append(_node(traced, node, names[node], constants))
    return OpGraph(nodes, inputs, outputs, constants)


def node_names(traced: fx.GraphModule) -> dict[fx.Node, str]:
    """Op-graph name of every fx node; a function that is called like a module or a method of modules gets `_call`.

    A module that is called once, and a function that is the only reader of its weight, have the path of the layer.
    """
    layers: dict[fx.Node, str] = {}
    for node in traced.graph.nodes:
        if node.op == "call_module":
            layers[node] = str(node.target)
        elif _FUNCTION_KINDS.get(node.target) in WEIGHTED and (weight := _weight_path(traced, node)):
            layers[node] = weight.removesuffix(".weight")
    calls = Counter(layers.values())
    once = {layer for layer, count in calls.items() if count == 1}

    def name(node: fx.Node) -> str:
        if layers.get(node) in once:
            return layers[node]
        return f"{node.name}_call" if node.name in once or hasattr(fx.GraphModule, node.name) else node.name

    return {node: name(node) for node in traced.graph.nodes}


def _weight_path(traced: fx.GraphModule, node: fx.Node) -> str:
    """Path of the parameter `layer.weight` that a function computes with, maybe behind its quantizer; else nothing."""
    weight = node.args[1] if len(node.args) > 1 else node.kwargs.get("weight")
    if isinstance(weight, fx.Node) and weight.op == "call_module":
        weight = weight.args[0] if weight.args else None
    path = str(weight.target) if isinstance(weight, fx.Node) and weight.op == "get_attr" else ""
    return path if path.endswith(".weight") else ""


def is_linear(node: fx.Node) -> bool:
    """Return True if a call of a function computes as a linear layer, with a weight (features out, features in)."""
    return _FUNCTION_KINDS.get(node.target) == "Gemm"


def _node(traced: fx.GraphModule, node: fx.Node, name: str, constants: dict[str, tuple[int, ...]]) -> Node:
    inputs = [source.name for source in node.all_input_nodes if "tensor_meta" in source.meta or source.op == "get_attr"]
    attrs: dict[str, Any] = {}
    if node.op == "call_module":
        module = traced.get_submodule(str(node.target))
        kind = kind_of(type(module))
        if isinstance(module, _WEIGHTED_MODULES):
            for parameter in ("weight", "bias"):
                value = getattr(module, parameter)
                if value is not None:
                    constants[f"{node.target}.{parameter}"] = tuple(value.shape)
                    inputs.append(f"{node.target}.{parameter}")
            attrs = {"groups": getattr(module, "groups", 1), "transB": 1}
        elif isinstance(module, nn.Upsample):
            attrs = {"mode": module.mode}
        elif isinstance(module, nn.ConstantPad2d):
            attrs = {"mode": "constant", "pad_value": module.value}
        elif kind == "Pad":
            attrs = {"mode": "edge"}
    elif node.op == "call_method":
        kind = _METHOD_KINDS.get(str(node.target), f"torch.{node.target}")
    else:
        kind = _FUNCTION_KINDS.get(node.target, _function_name(node.target))
        if kind == "Resize":
            attrs = {"mode": _arguments(node, scale_factor=None, mode="nearest")["mode"]}
        elif kind == "Pad":
            attrs = _arguments(node, mode="constant", value=None)
            attrs["pad_value"] = attrs.pop("value") or 0.0
        elif kind in ("Conv", "Gemm"):
            geometry = _arguments(node, bias=None, stride=1, padding=0, dilation=1, groups=1)
            attrs = {"groups": geometry["groups"], "transB": 1}
    return Node(name, kind, tuple(inputs), (node.name,), attrs)


def _arguments(node: fx.Node, **defaults: Any) -> dict[str, Any]:
    """The arguments after the second of a call, by name."""
    positional = dict(zip(defaults, node.args[2:], strict=False))
    return {**defaults, **positional, **{key: node.kwargs[key] for key in defaults if key in node.kwargs}}


def kind_of(module: type[nn.Module]) -> str:
    """The op graph's name for the operator of a module class."""
    for base in module.__mro__:
        if base in _MODULE_KINDS:
            return _MODULE_KINDS[base]
    return module.__name__


def _function_name(function: Callable[..., Any] | str) -> str:
    return f"torch.{getattr(function, '__name__', function)}"


def attribute(root: nn.Module, path: str) -> Tensor:
    """The parameter or buffer at a dotted path."""
    value: Any = root
    for part in path.split("."):
        value = getattr(value, part)
    assert isinstance(value, Tensor)
    return value

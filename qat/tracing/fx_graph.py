"""PyTorch in: trace a model with torch.fx and view it as an op graph."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional as F

from core.errors import UserError
from core.user_code import place_in_user_code
from deploy.graph.opgraph import Node, OpGraph
from qat.quantization.quantized_layers import layer_type
from qat.tracing.inputs import Inputs, apply, in_order

PARITY_TOLERANCE = 1e-4  # relative to the largest output, FP32

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
    F.conv2d: "Conv",
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
    "view": "Reshape",
    "reshape": "Reshape",
    "flatten": "Reshape",
    "permute": "Transpose",
    "transpose": "Transpose",
    "squeeze": "Squeeze",
    "unsqueeze": "Unsqueeze",
    "contiguous": "Identity",
}
_OUT_OF_PLACE = {operator.iadd: operator.add, operator.imul: operator.mul, "add_": "add"}
_WEIGHTED_MODULES = (nn.modules.conv._ConvNd, nn.Linear)


class _Tracer(fx.Tracer):
    """Keeps the user's own subclasses of layers whole where they only add to the constructor.

    `constants` are values of parameters of `forward`, which may then decide by them.
    """

    def __init__(self, leaf: Callable[[nn.Module], bool], constants: Mapping[str, Any]) -> None:
        super().__init__()
        self.leaf, self.constants = leaf, constants

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> tuple[Any, list[Any]]:
        function, arguments = super().create_args_for_root(root_fn, is_module, concrete_args)
        for position, value in enumerate(arguments):
            if isinstance(value, fx.Proxy) and value.node.target in self.constants:
                arguments[position] = self.constants[str(value.node.target)]
                self.graph.erase_node(value.node)
        return function, arguments

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return layer_type(m) is not None or self.leaf(m) or super().is_leaf_module(m, module_qualified_name)


def trace(
    model: nn.Module,
    example: Inputs,
    *,
    one_output: bool = True,
    leaf: Callable[[nn.Module], bool] = lambda module: False,
) -> fx.GraphModule:
    """Symbolically trace `model` in eval mode and annotate every value with its shape.

    Parameters of `forward` that `example` does not give are constants with their defaults.

    Args:
        model: returns one tensor, or with `one_output` False a sequence or mapping of tensors.
        example: the input, (N, C, H, W) float32, or several.
        leaf: which modules are one operator besides those of `torch.nn`.

    Raises:
        UserError: torch.fx cannot trace the model, or the traced model computes something else (a model that
            relies on in-place ReLUs changing a tensor it reads again does).
    """
    model.eval()
    try:
        traced = fx.GraphModule(model, _Tracer(leaf, _defaults(model, example)).trace(model), type(model).__name__)
    except (fx.proxy.TraceError, TypeError, RuntimeError, ValueError) as error:
        raise UserError(
            f"torch.fx cannot trace {type(model).__name__}",
            why=": ".join(filter(None, (place_in_user_code(error), *str(error).splitlines()[:1]))),
            fix="move control flow that depends on tensor values out of forward()",
        ) from error
    with torch.no_grad():
        expected = apply(model, example)
        _write_nothing_in_place(traced)
        got = apply(traced, example)
        if one_output and not isinstance(expected, Tensor):
            raise UserError(f"{type(model).__name__} returns {type(expected).__name__}, not one tensor")
        if any(_apart(a, b) for a, b in zip(_tensors(got), _tensors(expected), strict=True)):
            raise UserError(
                f"{type(model).__name__} computes something else when traced",
                why="it reads a tensor again after an in-place operation changed it",
                fix="use inplace=False in the modules of the model",
            )
    annotate(traced, example)
    return traced


def _defaults(model: nn.Module, example: Inputs) -> dict[str, Any]:
    """Of the parameters of `forward` that `example` leaves out."""
    signature = inspect.signature(model.forward)
    given = apply(signature.bind, example).arguments
    left_out = (item for name, item in signature.parameters.items() if name not in given)
    return {item.name: item.default for item in left_out if item.default is not item.empty}


def _tensors(output: Any) -> list[Tensor]:
    """The tensors in nested sequences and mappings."""
    if isinstance(output, Tensor):
        return [output]
    items = output.values() if isinstance(output, Mapping) else output if isinstance(output, list | tuple) else ()
    return [tensor for item in items for tensor in _tensors(item)]


def _apart(got: Tensor, expected: Tensor) -> bool:
    return float((got - expected).abs().max()) > PARITY_TOLERANCE * float(expected.abs().max())


def _write_nothing_in_place(traced: fx.GraphModule) -> None:
    """A quantizer reads, and keeps for its gradient, what an in-place operation would overwrite."""
    for module in traced.modules():
        if hasattr(module, "inplace"):
            module.inplace = False  # type: ignore[assignment]
    for node in traced.graph.nodes:
        node.target = _OUT_OF_PLACE.get(node.target, node.target)
    traced.recompile()


def annotate(traced: fx.GraphModule, example: Inputs) -> None:
    """Record the shape of every value at the size of `example`, (N, C, H, W) or several."""
    with torch.no_grad():
        ShapeProp(traced).propagate(*in_order(traced, example))


def view(traced: fx.GraphModule) -> OpGraph:
    """The op graph of an annotated module; values that are no tensors (sizes, indices) are left out.

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
    """Op-graph name of every fx node; a function that is called like a module or a method of modules gets `_call`."""
    calls: dict[str, int] = {}
    for node in traced.graph.nodes:
        if node.op == "call_module":
            calls[str(node.target)] = calls.get(str(node.target), 0) + 1
    once = {target for target, count in calls.items() if count == 1}

    def name(node: fx.Node) -> str:
        if node.op == "call_module" and str(node.target) in once:
            return str(node.target)
        return f"{node.name}_call" if node.name in once or hasattr(fx.GraphModule, node.name) else node.name

    return {node: name(node) for node in traced.graph.nodes}


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
    """What the op graph calls the operator of a module class."""
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

"""A traced network as a float ONNX graph in which every value keeps its name.

    torch.fx value "layer1.0.conv1"  ─▶  ONNX node and tensor "layer1.0.conv1", weight "layer1.0.conv1.weight"

The exporter keeps the names of outputs only. So every value of the traced network is made an output for the export,
and the outputs that are not the network's own are taken away again.
"""

from __future__ import annotations

import copy
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import torch
from accelerate.utils import send_to_device
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import TensorMetadata
from torch.utils._pytree import tree_leaves

from core.errors import UnsupportedEnvironment, UserError
from deploy.graph import onnx_graph
from deploy.plan.picture import PIXELS
from deploy.plan.plan import QuantizationPlan
from deploy.plan.scale import activation_scale
from deploy.rewrites.fold_bn import fold_bn
from qat.quantization.quantized_layers import WEIGHT_FOLD, WEIGHT_QUANTIZER
from qat.quantization.quantizers import quantizers
from qat.tracing import fx_graph
from qat.tracing.inputs import Inputs, in_order

INPUT_NAME, OUTPUT_NAME = "image", "logits"
PICTURE = "picture"  # key of a traced network's meta: the `Picture` whose pixels its first layer reads
OLDEST_TORCH = "2.6"
_ADVICE = re.compile(r"\(?(See|Refer to) the (full )?stack trace[^.]*\.\)?")


def float_graph(
    model: fx.GraphModule, example: Inputs, opset: int, plan: QuantizationPlan | None = None
) -> tuple[gs.Graph, QuantizationPlan]:
    """The network as it computes in eval mode, without its fake quantizers; the model itself is not changed.

    Args:
        model: traced, on any device.
        example: (1, C, H, W) float32, or several inputs; the graph has these static shapes.
        opset: ONNX operator set, 18 or later.
        plan: scales by the names of the unfolded network (see `value_names`); those of weights follow BatchNorm.

    Returns:
        The graph, constants folded, BatchNorm folded into convolutions; and the plan in its names.

    Raises:
        UnsupportedEnvironment: PyTorch is older than its exporter that keeps names.
        UserError: torch cannot export the network, or an input is not a tensor.
    """
    from onnxscript.optimizer import fold_constants, remove_unused_nodes  # slow to import, and few commands export

    exported = without_quantizers(model).cpu().eval()
    example = send_to_device(example, "cpu")
    fx_graph.annotate(exported, example)
    names = value_names(exported)
    own = _output_values(exported)
    _require_exporter()
    others = [node for node in _distinct_values(exported, example) if node not in own]
    result = next(node for node in exported.graph.nodes if node.op == "output")
    result.args = ((*own, *others),)
    exported.recompile()
    with _quiet():
        try:
            program = torch.onnx.export(
                exported,
                in_order(exported, example),
                dynamo=True,
                optimize=False,  # equal weights would be merged, and lose their names
                verbose=False,
                opset_version=opset,
                input_names=input_names(exported, example),
                output_names=[names[node] for node in (*own, *others)],
            )
        except Exception as error:  # the exporter has many exception types, none of them public
            raise UserError(
                "torch.onnx cannot export the network",
                why=_reason(error),
                fix="replace the operator that it names",
            ) from error
        assert program is not None
        fold_constants(program.model)
        remove_unused_nodes(program.model)
    graph = gs.import_onnx(program.model_proto)
    own_names = fx_graph.node_names(exported)
    _name_nodes(graph, {names[node]: own_names[node] for node in (*own, *others)})
    graph.outputs = graph.outputs[: len(own)]
    graph = onnx_graph.clean(graph.cleanup())
    return fold_bn(graph, _name_linear_weights(graph, exported, plan or QuantizationPlan()))


def value_names(model: fx.GraphModule) -> dict[fx.Node, str]:
    """The ONNX name of every tensor value of a traced network."""
    names = {
        node: name
        for node, name in fx_graph.node_names(model).items()
        if isinstance(node.meta.get("tensor_meta"), TensorMetadata) and node.op != "output"
    }
    placeholders = [node for node in model.graph.nodes if node.op == "placeholder"]
    outputs = _output_values(model)
    if len(placeholders) == 1:
        names[placeholders[0]] = INPUT_NAME
    if len(outputs) == 1 and outputs[0].op != "placeholder":
        names[outputs[0]] = OUTPUT_NAME
    names.update({node: str(node.target) for node in names if node.op == "get_attr"})
    return names


def without_quantizers(model: fx.GraphModule) -> fx.GraphModule:
    """A copy of a traced network that computes in float."""
    bare = copy.deepcopy(model)
    kinds = quantizers(bare)
    for node in list(bare.graph.nodes):
        if node.op == "call_module" and node.target in kinds:
            node.replace_all_uses_with(node.args[0])
            bare.graph.erase_node(node)
    for name in kinds:
        parent, _, own = name.rpartition(".")
        if own == WEIGHT_QUANTIZER:
            setattr(bare.get_submodule(parent), WEIGHT_QUANTIZER, nn.Identity())
            setattr(bare.get_submodule(parent), WEIGHT_FOLD, None)
    bare.delete_all_unused_submodules()
    bare.recompile()
    return bare


def input_names(model: fx.GraphModule, inputs: Inputs) -> list[str]:
    """One name for each tensor that `forward` takes; tensors of a tuple `pair` are `pair_0`, `pair_1`."""
    names = [str(node.target).lstrip("*") for node in model.graph.nodes if node.op == "placeholder"]
    parts = [(name, tree_leaves(value)) for name, value in zip(names, in_order(model, inputs), strict=False)]
    if sum(len(leaves) for _, leaves in parts) == 1:
        return [INPUT_NAME]
    return [name if len(leaves) == 1 else f"{name}_{index}" for name, leaves in parts for index, _ in enumerate(leaves)]


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
    return {INPUT_NAME: next(iter(found.values()))} if len(found) == 1 else found


def example_of(model: fx.GraphModule) -> Inputs:
    """Blank inputs of the shapes that a traced network was annotated with, on the CPU."""
    metas = [node.meta["tensor_meta"] for node in model.graph.nodes if node.op == "placeholder"]
    blank = tuple(_blank(meta) for meta in metas)
    return blank[0] if len(blank) == 1 and isinstance(blank[0], Tensor) else blank


def _blank(meta: Any) -> Any:
    if isinstance(meta, TensorMetadata):
        return torch.zeros(meta.shape, dtype=meta.dtype)
    if isinstance(meta, dict):
        return {key: _blank(value) for key, value in meta.items()}
    return tuple(_blank(value) for value in meta)


def plan_of(model: fx.GraphModule) -> QuantizationPlan:
    """The scale and origin of every quantizer, by the names of the unfolded network.

    Raises:
        UserError: a quantizer whose range is not finite, or of unknown origin.
    """
    require_amax(model)
    names, kinds = value_names(model), quantizers(model)
    plan = QuantizationPlan()
    for node in model.graph.nodes:
        quantizer = kinds.get(str(node.target)) if node.op == "call_module" else None
        if quantizer is not None:
            plan = plan.adding({names[_visible(node.args[0], names)]: quantizer.as_scale()}, quantizer.origin)
    for name, quantizer in kinds.items():
        if name.endswith(f".{WEIGHT_QUANTIZER}"):
            plan = plan.adding({f"{name.removesuffix(WEIGHT_QUANTIZER)}weight": quantizer.as_scale()}, quantizer.origin)
    picture = model.meta.get(PICTURE)
    if picture is not None:
        plan = plan.adding({INPUT_NAME: activation_scale(picture.largest)}, PIXELS)
    return plan.model_copy(update={"picture": picture})


def require_amax(model: nn.Module) -> None:
    """Raise `UserError` naming the quantizers whose range is not finite, or of unknown origin."""
    unset = [name for name, quantizer in quantizers(model).items() if not (quantizer.is_set and quantizer.origin)]
    if unset:
        raise UserError(
            f"{len(unset)} quantizers have no finite amax of known origin: {', '.join(unset[:5])}",
            why="no statistics reached them, or they diverged during training",
            fix="calibrate on more images, or lower qat.lr",
        )


def _visible(node: fx.Node, names: dict[fx.Node, str]) -> fx.Node:
    return node if node in names else _visible(node.all_input_nodes[0], names)


def _output_values(model: fx.GraphModule) -> list[fx.Node]:
    result = next(node for node in model.graph.nodes if node.op == "output")
    return list(dict.fromkeys(result.all_input_nodes))


class _Recorder(fx.Interpreter):
    """Notes which values are a tensor of their own; dropout in eval mode, for one, returns the tensor it gets."""

    def __init__(self, model: fx.GraphModule) -> None:
        super().__init__(model)
        self.own: list[fx.Node] = []

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor) and n.op in ("call_module", "call_function", "call_method"):
            sources, _ = self.fetch_args_kwargs_from_env(n)
            if not any(result is source for source in sources):
                self.own.append(n)
        return result


def _distinct_values(model: fx.GraphModule, example: Inputs) -> list[fx.Node]:
    recorder = _Recorder(model)
    recorder.garbage_collect_values = False
    with torch.no_grad():
        recorder.run(*in_order(model, example))
    return recorder.own


def _name_nodes(graph: gs.Graph, values: dict[str, str]) -> None:
    """Name each node after the operation of the traced network that it belongs to; further ones `operation/Op`.

    `values` has the operation that makes each named tensor.
    """
    owner: dict[int, str] = {}
    graph.toposort()
    for position, node in reversed(list(enumerate(graph.nodes))):
        made = next((values[tensor.name] for tensor in node.outputs if tensor.name in values), None)
        readers = (owner[id(reader)] for tensor in node.outputs for reader in tensor.outputs if id(reader) in owner)
        owner[id(node)] = made or next(readers, "")
        node.name = made or f"{owner[id(node)]}/{node.op}_{position}"


def _require_exporter() -> None:
    """Raise `UnsupportedEnvironment` where PyTorch's exporter cannot keep the names of values."""
    if torch.__version__ < OLDEST_TORCH:  # compares versions, not texts
        raise UnsupportedEnvironment(
            f"PyTorch {torch.__version__} cannot export this network",
            why=f"torch.onnx.export(dynamo=True, optimize=False) came with PyTorch {OLDEST_TORCH}",
            fix=f"install PyTorch {OLDEST_TORCH} or newer; NGC images have it since 25.02",
        )


def _reason(error: Exception) -> str:
    """The innermost cause's text, without the exporter's advice to look at a stack trace that is not shown."""
    innermost: BaseException = error
    while innermost.__cause__ is not None:
        innermost = innermost.__cause__
    text = _ADVICE.sub("", str(innermost)).strip()
    return text.splitlines()[-1].strip() if text else type(innermost).__name__


def _name_linear_weights(graph: gs.Graph, model: fx.GraphModule, plan: QuantizationPlan) -> QuantizationPlan:
    """Give the weights of linear layers on more than two dimensions their names back; returns the plan in their layout.

    before   w ─▶ Transpose ─▶ MatMul        or a constant without a name, the transposed weight, ─▶ MatMul
    after    "layer.weight" (features in, features out) ─▶ MatMul
    """
    weights = {name: path for node, name in fx_graph.node_names(model).items() if (path := _linear_weight(model, node))}
    named: dict[str, gs.Constant] = {}
    for node in graph.nodes:
        path = weights.get(node.name.partition("/")[0]) if node.op == "MatMul" else None
        if path is None:
            continue
        values = fx_graph.attribute(model, path).detach().numpy().T
        constant = node.inputs[1] if isinstance(node.inputs[1], gs.Constant) else None
        if constant is not None and not np.array_equal(constant.values, values):
            continue  # a rewrite of the exporter's own
        node.inputs[1] = named.setdefault(path, gs.Constant(path, np.ascontiguousarray(values)))
    graph.cleanup()
    transposed = {
        name: tensor.model_copy(update={"axis": 1})
        for name, tensor in plan.tensors.items()
        if name in named and tensor.axis == 0
    }
    return plan.model_copy(update={"tensors": {**plan.tensors, **transposed}})


def _linear_weight(model: fx.GraphModule, node: fx.Node) -> str | None:
    """Path of the weight of a linear layer, PyTorch's (features out, features in)."""
    if node.op == "call_module":
        return f"{node.target}.weight" if isinstance(model.get_submodule(str(node.target)), nn.Linear) else None
    weight = node.args[1] if node.op == "call_function" and fx_graph.is_linear(node) and len(node.args) > 1 else None
    return str(weight.target) if isinstance(weight, fx.Node) and weight.op == "get_attr" else None


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns and logs about packages that are not there and about itself."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)

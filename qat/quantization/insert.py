"""Put fake quantizers into a traced network where the placement on its float ONNX graph says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import onnx_graphsurgeon as gs
from torch import fx, nn

from core.config import PlacementConfig
from core.errors import UserError
from deploy.graph import onnx_graph
from deploy.graph.opgraph import Edge, Node, OpGraph
from deploy.placement.decide import Placement, placement
from deploy.placement.patterns import require_named
from deploy.placement.rule_sets import rules_of
from deploy.placement.rules.base import Match, Move, Rule, Skip, Verdict, WeightUse
from qat.quantization.quantized_layers import WEIGHT_QUANTIZER, layer_type, quantize_layer
from qat.quantization.quantizers import Quantizer, activation_quantizer, weight_quantizer
from qat.tracing import fx_graph
from qat.tracing.export import example_of, float_graph, value_names
from qat.tracing.inputs import device_of

QUANTIZERS = "quantizers"  # submodule of the model that holds the activation quantizers, by fx value name
PLACEMENT = "placement"  # key of a traced network's meta: the decision that its quantizers follow
OPSET = 18  # of a graph that is made for placement alone


def insert_configured(
    model: fx.GraphModule,
    config: PlacementConfig,
    kind: type[Quantizer] = Quantizer,
    own: Sequence[Rule] = (),
    graph: gs.Graph | None = None,
) -> Placement:
    """`insert` with the rules and patterns of `config`, and the rules `own` besides.

    Raises:
        UserError: a pattern that names nothing in the network.
    """
    graph = graph or float_graph(model, example_of(model), OPSET)[0]
    require_named(onnx_graph.view(graph), config, own)
    return insert(model, rules_of(config, own=own), config.skip, kind, graph, config.weight_scales == "tensor")


def insert(
    model: fx.GraphModule,
    rules: Iterable[Rule],
    skip: Iterable[str] = (),
    kind: type[Quantizer] = Quantizer,
    graph: gs.Graph | None = None,
    shared: bool = False,
) -> Placement:
    """Add quantizers to a traced and annotated `model` (see `qat.tracing.fx_graph.trace`), in place.

    Activations get one quantizer per tensor, shared by all uses that the rules quantize; tensors that the rules tie
    share theirs, so they are calibrated and trained as one range. Layers with quantized weights keep their parameters
    and names, so FP32 checkpoints still load.

    Args:
        kind: the toolkit's class of quantizers (see `qat.quantization.toolkits`).
        graph: the float ONNX graph of `model`, which placement is decided on; None exports one.
        shared: all channels of a weight share a scale.

    Returns:
        The placement that was applied, in the names of the ONNX graph.

    Raises:
        UserError: nothing to quantize, or a planned tensor that the traced network does not have.
    """
    inserter = _Inserter(model, graph or float_graph(model, example_of(model), OPSET)[0], kind, shared)
    where = inserter.decide(tuple(rules), tuple(skip))
    if not where.edges and not where.weights:
        raise UserError(
            "no placement rule found anything to quantize",
            fix="check placement.only, placement.skip and placement.disable",
        )
    inserter.apply(where)
    return where


class _Inserter:
    """Finds the fx counterparts of ONNX tensors and nodes by name (see `qat.tracing.export`)."""

    def __init__(self, model: fx.GraphModule, graph: gs.Graph, kind: type[Quantizer], shared: bool) -> None:
        self.model, self.graph, self.kind, self.shared = model, graph, kind, shared
        tensors = graph.tensors()
        self.names = {node: name for node, name in value_names(model).items() if name in tensors}
        self.by_tensor = {name: node for node, name in self.names.items()}
        self.by_node = {name: node for node, name in fx_graph.node_names(model).items()}
        self.by_node |= {name: node for node, name in self.names.items()}

    def decide(self, rules: Sequence[Rule], skip: Iterable[str]) -> Placement:
        """The placement by `rules`, silent where an operator stands inside a module that torch.fx does not open."""
        view, hidden = onnx_graph.view(self.graph), dict[str, str]()
        while True:
            where = placement(view, _silenced(rules, hidden), skip)
            found = {item.edge.node: item.edge.tensor for item in where.edges if item.edge.tensor not in self.by_tensor}
            found |= {item.use.node: item.use.tensor for item in where.weights if self._weighted(item.use) is None}
            if not found:
                return where
            hidden |= found

    def apply(self, where: Placement) -> None:
        """Add the quantizers."""
        self.model.add_submodule(QUANTIZERS, nn.ModuleDict())
        holders = _holders(where)
        for tensor, edges in where.by_tensor.items():
            source = self._value(tensor)
            target = _path(self._value(holders[tensor]).name)
            if holders[tensor] == tensor:
                self.model.add_submodule(target, activation_quantizer(self.kind).to(device_of(self.model)))
            with self.model.graph.inserting_after(source):
                quantized = self.model.graph.call_module(target, (source,))
            for edge in edges:
                self._reroute(edge, source, quantized)
        for item in where.weights:
            self._quantize_weight(item.use)
        self.model.graph.lint()
        self.model.recompile()
        self.model.meta[PLACEMENT] = where

    def _value(self, tensor: str) -> fx.Node:
        if tensor not in self.by_tensor:
            raise _foreign(tensor)
        return self.by_tensor[tensor]

    def _owner(self, node: str) -> fx.Node:
        """The fx node of an ONNX node; an operator that became several names them `owner/Op`."""
        owner = node.partition("/")[0]
        if owner not in self.by_node:
            raise _foreign(owner)
        return self.by_node[owner]

    def _reroute(self, edge: Edge, source: fx.Node, quantized: fx.Node) -> None:
        reader = self._owner(edge.node)
        for given in reader.all_input_nodes:
            if given is not quantized and self._exported(given) is source:
                reader.replace_input_with(given, quantized)

    def _exported(self, node: fx.Node) -> fx.Node:
        """The value that `node` is in the ONNX graph: dropout and other copies are none of their own."""
        while node not in self.names and len(node.all_input_nodes) == 1:
            node = node.all_input_nodes[0]
        return node

    def _weighted(self, use: WeightUse) -> fx.Node | None:
        """The fx node that computes with the weight, if its layer or parameter can get a quantizer."""
        node = self._owner(use.node)
        if node.op == "call_module":
            layer = self.model.get_submodule(str(node.target))
            return node if layer_type(layer) is not None and use.tensor.endswith(".weight") else None
        parameters = [self.names.get(source) for source in node.all_input_nodes if source.op == "get_attr"]
        return node if use.tensor in parameters else None

    def _quantize_weight(self, use: WeightUse) -> None:
        node = self._owner(use.node)
        if node.op == "call_module":
            layer = self.model.get_submodule(str(node.target))
            if not hasattr(layer, WEIGHT_QUANTIZER):  # a layer called twice is quantized once
                axis = 0 if isinstance(layer, nn.Linear) else use.axis
                quantize_layer(layer, axis, self.kind, shared=self.shared, norm=self._norm_after(node))
            return
        source = self._value(use.tensor)
        target = _path(source.name)
        if not any(reader.target == target for reader in source.users):
            weight = fx_graph.attribute(self.model, str(source.target))
            axis = 0 if fx_graph.is_linear(node) else use.axis  # a linear layer's, whatever layout the file has
            self.model.add_submodule(target, weight_quantizer(weight, axis, self.kind, shared=self.shared))
            with self.model.graph.inserting_after(source):
                self.model.graph.call_module(target, (source,))
        quantized = next(reader for reader in source.users if reader.target == target)
        node.replace_input_with(source, quantized)

    def _norm_after(self, node: fx.Node) -> nn.Module | None:
        """The BatchNorm that is folded into the layer of `node` for the engine."""
        reader = next(iter(node.users)) if len(node.users) == 1 else None
        module = self.model.get_submodule(str(reader.target)) if reader and reader.op == "call_module" else None
        return module if isinstance(module, nn.modules.batchnorm._BatchNorm) else None


def _foreign(name: str) -> UserError:
    return UserError(
        f"the plan quantizes {name}, which the traced network does not have",
        why="the plan was made for another network, or the tensor is inside a module that torch.fx keeps whole",
        fix="make the plan again, or name its readers in placement.skip",
    )


def _silenced(rules: Sequence[Rule], hidden: Mapping[str, str]) -> tuple[Rule, ...]:
    """`rules` that decline the nodes of `hidden`, which has the tensor of each that torch.fx does not see."""

    def silenced(rule: Rule) -> Callable[[OpGraph, Node], Verdict]:
        def match(graph: OpGraph, node: Node) -> Verdict:
            verdict = rule.match(graph, node)
            declined = isinstance(verdict, Match | Move) and node.name in hidden
            return Skip(f"torch.fx does not see {hidden[node.name]}, so it cannot be trained") if declined else verdict

        return match

    return tuple(replace(rule, match=silenced(rule)) for rule in rules)


def _holders(where: Placement) -> dict[str, str]:
    """For every quantized tensor the first, in graph order, that it shares a scale with: the quantizer is named so."""
    group_of = {tensor: group for group in where.groups for tensor in group}
    first: dict[tuple[str, ...], str] = {}
    return {tensor: first.setdefault(group_of.get(tensor, (tensor,)), tensor) for tensor in where.by_tensor}


def _path(value: str) -> str:
    """Module path of the quantizer of a value; `to` and the like are methods of the module that holds it."""
    return f"{QUANTIZERS}.{value}_value" if hasattr(nn.ModuleDict, value) else f"{QUANTIZERS}.{value}"

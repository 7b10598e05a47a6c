"""Put fake quantizers into a traced model where a placement says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import fx, nn

from core.config import PlacementConfig
from core.errors import UserError
from deploy.placement.decide import Placement, placement
from deploy.placement.patterns import require_named
from deploy.placement.rule_sets import rules_of
from deploy.placement.rules.base import Rule, WeightUse
from qat.quantization.quantized_layers import WEIGHT_QUANTIZER, quantize_layer
from qat.quantization.quantizers import Quantizer, activation_quantizer, weight_quantizer
from qat.tracing import fx_graph
from qat.tracing.inputs import device_of

QUANTIZERS = "quantizers"  # submodule of the model that holds the activation quantizers, by fx value name


def insert_configured(
    model: fx.GraphModule, config: PlacementConfig, kind: type[Quantizer] = Quantizer, own: Sequence[Rule] = ()
) -> Placement:
    """`insert` with the rules and patterns of `config`, and the rules `own` besides.

    Raises:
        UserError: a pattern that names nothing in the network.
    """
    require_named(fx_graph.view(model), config, own)
    return insert(model, rules_of(config, own=own), config.skip, kind)


def insert(
    model: fx.GraphModule, rules: Iterable[Rule], skip: Iterable[str] = (), kind: type[Quantizer] = Quantizer
) -> Placement:
    """Add quantizers to a traced and annotated `model` (see `qat.tracing.fx_graph.trace`), in place.

    Activations get one quantizer per tensor, shared by all uses that the rules quantize; tensors that the rules tie
    share theirs, so they are calibrated and trained as one range. Layers with quantized
    weights keep their parameters and names, so FP32 checkpoints still load. `kind` is the toolkit's class of
    quantizers (see `qat.quantization.toolkits`).

    Returns:
        The placement that was applied.
    """
    where = placement(fx_graph.view(model), tuple(rules), skip)
    if not where.edges and not where.weights:
        raise UserError(
            "no placement rule found anything to quantize",
            fix="check placement.only, placement.skip and placement.disable",
        )
    names = fx_graph.node_names(model)
    by_name = {name: node for node, name in names.items()}
    by_value = {node.name: node for node in model.graph.nodes}
    model.add_submodule(QUANTIZERS, nn.ModuleDict())
    holders = _holders(where)
    for tensor, edges in where.by_tensor.items():
        source = by_value[tensor]
        target = _path(holders[tensor])
        if holders[tensor] == tensor:
            model.add_submodule(target, activation_quantizer(kind).to(device_of(model)))
        with model.graph.inserting_after(source):
            quantized = model.graph.call_module(target, (source,))
        for edge in edges:
            by_name[edge.node].replace_input_with(source, quantized)
    for item in where.weights:
        _quantize_weight(model, item.use, by_name[item.use.node], kind)
    model.graph.lint()
    model.recompile()
    return where


def _holders(where: Placement) -> dict[str, str]:
    """For every quantized tensor the first, in graph order, that it shares a scale with: the quantizer is named so."""
    group_of = {tensor: group for group in where.groups for tensor in group}
    first: dict[tuple[str, ...], str] = {}
    return {tensor: first.setdefault(group_of.get(tensor, (tensor,)), tensor) for tensor in where.by_tensor}


def _path(tensor: str) -> str:
    """Module path of the quantizer of a tensor; `to` and the like are methods of the module that holds it."""
    return f"{QUANTIZERS}.{tensor}_value" if hasattr(nn.ModuleDict, tensor) else f"{QUANTIZERS}.{tensor}"


def _quantize_weight(model: fx.GraphModule, use: WeightUse, node: fx.Node, kind: type[Quantizer]) -> None:
    if node.op == "call_module":
        layer = model.get_submodule(str(node.target))
        if not hasattr(layer, WEIGHT_QUANTIZER):  # a layer called twice is quantized once
            quantize_layer(layer, use.axis, kind)
        return
    source = next(n for n in model.graph.nodes if n.name == use.tensor)
    target = _path(use.tensor)
    if not any(reader.target == target for reader in source.users):
        weight = fx_graph.attribute(model, str(source.target))
        model.add_submodule(target, weight_quantizer(weight, use.axis, kind))
        with model.graph.inserting_after(source):
            model.graph.call_module(target, (source,))
    quantized = next(reader for reader in source.users if reader.target == target)
    node.replace_input_with(source, quantized)

"""Provenance of a built engine's layer: its modules, its input's scale, and the rule or reason behind it."""

from __future__ import annotations

from dataclasses import dataclass

from deploy.placement.decide import module_path
from deploy.plan.plan import QuantizationPlan
from deploy.targets.base import LayerInfo


@dataclass(frozen=True)
class Provenance:
    """How a layer joins with the plan of its graph.

    Attributes:
        modules: paths of the modules whose quantized or skipped operators are fused into the layer.
        scale: of the first quantized activation that these operators read; None without one.
        origin, rule: of that activation; "" without one.
        why_float: the reason for which the rules left an operator of the layer in float; "" where they quantized it.
    """

    modules: tuple[str, ...] = ()
    scale: float | None = None
    origin: str = ""
    rule: str = ""
    why_float: str = ""


def nodes_of(layer: LayerInfo) -> set[str]:
    """Names of the ONNX nodes that the layer was made from, as far as the engine lists them."""
    return {layer.name, *layer.origin}


def provenance(layer: LayerInfo, plan: QuantizationPlan) -> Provenance:
    """Join `layer` with the plan of the graph that its engine was built from, by the names of ONNX nodes."""
    nodes = nodes_of(layer)
    uses = [
        (use, tensor)
        for quantized in (plan.activations, plan.weights)  # activations first: their scale is the layer's
        for tensor in quantized.values()
        for use in tensor.uses
        if use.node in nodes
    ]
    skips = [skip for skip in plan.skips if skip.node in nodes]
    modules = dict.fromkeys(module_path(node) for node in (*(use.node for use, _ in uses), *(s.node for s in skips)))
    read = next(((use, tensor) for use, tensor in uses if isinstance(tensor.scale, float) and not tensor.weight), None)
    if read is None:
        return Provenance(tuple(modules), why_float="; ".join(dict.fromkeys(skip.why for skip in skips)))
    use, tensor = read
    assert isinstance(tensor.scale, float)
    return Provenance(tuple(modules), tensor.scale, tensor.origin, use.rule)

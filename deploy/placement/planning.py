"""From ranges to a decided plan: the tensors that a target quantizes, the rule of each, and reasons for float."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence

from core.errors import UserError
from deploy.graph.opgraph import OpGraph
from deploy.placement.decide import Placement, placement
from deploy.placement.rules import bias
from deploy.placement.rules.base import Rule
from deploy.plan.carry import carry, unify
from deploy.plan.plan import QuantizationPlan, Use

SHOWN = 5


def decide(
    graph: OpGraph, plan: QuantizationPlan, rules: Sequence[Rule], skip: Iterable[str] = ()
) -> tuple[QuantizationPlan, tuple[str, ...]]:
    """`plan` with the uses, groups and skips that `rules` give on a float graph; its `measured_floats` stay float.

    A rule that needs a tensor without a scale does not fire, and the skip says so: scales are never invented.

    Args:
        graph: the float network.
        plan: scales of its tensors; uses, groups and skips in it are replaced.
        rules: see `deploy.placement.rule_sets`.
        skip: patterns of nodes that stay in float.

    Returns:
        The plan, and the tensors whose scale became the larger one of the group that they share it with.

    Raises:
        UserError: a weight's scales lie along another axis than INT8 kernels take, or are not one per channel.
    """
    carried = carry(graph, plan)
    steps = {name: scale.largest for name, scale in carried.scales().items()}
    where = placement(graph, rules, skip, steps, plan.measured_floats)
    return record(where, carried, graph.constants, plan.tensors)


def record(
    where: Placement, plan: QuantizationPlan, constants: Mapping[str, tuple[int, ...]], kept: Container[str] = ()
) -> tuple[QuantizationPlan, tuple[str, ...]]:
    """`plan` with the uses, groups and skips of a placement, and the tensors whose scale grew to their group's.

    Args:
        where: decided on a graph whose tensors `plan` has scales of.
        constants: shapes of the graph's constants by name.
        kept: tensors that stay in the plan though nothing uses them.

    Raises:
        UserError: a weight's scales lie along another axis than INT8 kernels take, or are not one per channel.
    """
    unified, widened = unify(where.groups, plan)
    _check_axes(where, unified, constants)
    uses = _uses(where)
    tensors = {
        name: tensor.model_copy(update={"uses": uses.get(name, ()), "weight": name in constants})
        for name, tensor in unified.tensors.items()
        if name in uses or name in kept or tensor.group
    }
    # the rule on biases keeps one input in float, never a node
    skips = tuple(item for item in where.skips if item.rule != bias.RULE.name)
    return unified.model_copy(update={"tensors": tensors, "skips": skips}), widened


def wanted(graph: OpGraph, rules: Sequence[Rule], skip: Iterable[str] = ()) -> tuple[list[str], dict[str, int]]:
    """Activations, and weights with their output-channel axis, that `rules` would quantize if all had scales."""
    where = placement(graph, rules, skip)
    activations = dict.fromkeys([*where.by_tensor, *(name for group in where.groups for name in group)])
    return list(activations), {item.use.tensor: item.use.axis for item in where.weights}


def _uses(where: Placement) -> dict[str, tuple[Use, ...]]:
    found: dict[str, list[Use]] = {}
    for item in where.edges:
        found.setdefault(item.edge.tensor, []).append(Use(node=item.edge.node, input=item.edge.index, rule=item.rule))
    for weight in where.weights:
        use = weight.use
        found.setdefault(use.tensor, []).append(Use(node=use.node, input=use.index, rule=weight.rule))
    return {name: tuple(uses) for name, uses in found.items()}


def _check_axes(where: Placement, plan: QuantizationPlan, shapes: Mapping[str, tuple[int, ...]]) -> None:
    wrong = [item.use.node for item in where.weights if plan.tensors[item.use.tensor].axis not in (None, item.use.axis)]
    if wrong:
        raise UserError(
            f"{', '.join(wrong[:SHOWN])}: weight scales along the wrong axis",
            why="an INT8 kernel has one scale for each output channel",
            fix="quantize weights per output channel or per tensor, or name the nodes in --skip",
        )
    for item in where.weights:
        scale, shape = plan.tensors[item.use.tensor].scale, shapes.get(item.use.tensor)
        if isinstance(scale, tuple) and shape is not None and len(scale) != shape[item.use.axis]:
            raise UserError(
                f"{item.use.tensor} has {len(scale)} scales for {shape[item.use.axis]} output channels",
                why="an INT8 kernel has one scale for each output channel",
                fix="give as many scales as channels, or one for the tensor",
            )

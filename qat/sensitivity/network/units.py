"""Which quantizers are one unit: as fine as single ones, or as coarse as an engine, or a block, sees them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import fx, nn

from deploy.graph.opgraph import Node, commutes
from qat.sensitivity.config import Granularity
from qat.sensitivity.network.foreign import owner_of
from qat.sensitivity.network.functional import INPUT_QUANTIZER
from qat.sensitivity.network.switches import Switch
from qat.sensitivity.types import Part, Unit
from qat.tracing import fx_graph

JOINS = ("Add", "Concat")


@dataclass(frozen=True)
class Use:
    """A quantizer and what it is tied to.

    Attributes:
        readers: nodes that read what it quantizes.
        weighted: those of them that own a weight, also beyond pooling and copies, through which Q/DQ moves freely.
        tied: of networks that came with quantizers: the tensor it quantizes, and the sums and joins that read it.
        tensors: nodes whose outputs it quantizes; several if they share it.
    """

    path: str
    readers: tuple[str, ...]
    weighted: tuple[str, ...]
    tied: tuple[str, ...] = ()
    tensors: tuple[str, ...] = ()


def units_of(
    model: nn.Module, switches: Mapping[str, Switch], granularity: Granularity, part: Part, *, given: bool = False
) -> tuple[Unit, ...]:
    """Units in the order in which the network computes them.

    Args:
        given: the network came with quantizers. Each layer then has its own, and those that read one tensor, or whose
            tensors are added or joined, belong to one group.

    | granularity | a unit is |
    |---|---|
    | quantizer | one quantizer; tensors that share a scale share it |
    | layer | a layer's weight and, unless another layer reads it too, its input |
    | group | quantized tensors and the weights of all layers they feed: what an engine can switch |
    | block | the groups below one parent module |
    """
    uses = _uses(model, switches, given)
    merged = _components(uses, granularity)
    if granularity == "block":
        merged = _blocks(merged)
    units: list[Unit] = []
    for members in merged:
        paths = tuple(use.path for use in members if part in ("both", switches[use.path].part))
        if paths:
            layers = tuple(dict.fromkeys(name for use in members for name in (*use.readers, *use.weighted)))
            tensors = tuple(dict.fromkeys(name for use in members if use.path in paths for name in use.tensors))
            units.append(Unit(_name(members, granularity, units), paths, part, layers, tensors))
    return tuple(units)


def _uses(model: nn.Module, switches: Mapping[str, Switch], given: bool) -> list[Use]:
    if not isinstance(model, fx.GraphModule):
        return [Use(path, (owner,), (owner,)) for path in switches for owner in (owner_of(path),)]
    names = fx_graph.node_names(model)
    operators = {node.name: node for node in fx_graph.view(model).nodes}
    readers: dict[str, list[fx.Node]] = {}
    tied: dict[str, list[str]] = {}
    tensors: dict[str, list[str]] = {}
    for node in model.graph.nodes:
        if node.op != "call_module":
            continue
        inside = [path for path in switches if path.startswith(f"{node.target}.")]
        for path in inside:
            readers.setdefault(path, []).append(node)
            if path.endswith(INPUT_QUANTIZER):
                tied.setdefault(path, []).append(f"tensor {node.all_input_nodes[0]}")
                tensors.setdefault(path, []).append(names[node.all_input_nodes[0]])
        if str(node.target) in switches:
            tensors.setdefault(str(node.target), []).append(names[node.all_input_nodes[0]])
            readers.setdefault(str(node.target), []).extend(node.users)
            if given:
                sums = [user for user in node.users if _kind(operators, names[user]) in JOINS]
                tied.setdefault(str(node.target), []).extend(
                    [f"tensor {node.all_input_nodes[0]}", *(f"node {user}" for user in sums)]
                )
    with_weight = {
        node for path, nodes in readers.items() if switches[path].part == "weight" for node in nodes
    }  # of modules, and of functions whose weight is a parameter of the model

    def reached(node: fx.Node) -> list[fx.Node]:
        if node in with_weight:
            return [node]
        moves = names[node] in operators and commutes(operators[names[node]])
        return [found for user in node.users for found in reached(user)] if moves else []

    return [
        Use(
            path,
            tuple(dict.fromkeys(names[node] for node in nodes)),
            tuple(dict.fromkeys(names[found] for node in nodes for found in reached(node))),
            tuple(tied.get(path, ())),
            tuple(dict.fromkeys(tensors.get(path, ()))),
        )
        for path, nodes in readers.items()
    ]


def _kind(operators: Mapping[str, Node], name: str) -> str:
    return operators[name].kind if name in operators else ""


def _components(uses: list[Use], granularity: Granularity) -> list[list[Use]]:
    """Uses joined over the weighted layers they have in common."""
    if granularity == "quantizer":
        return [[use] for use in uses]
    joined: list[list[Use]] = []
    for use in uses:
        joins = set(_joins(use, granularity))
        touching = [group for group in joined if any(joins & set(_joins(other, granularity)) for other in group)]
        if not touching:
            joined.append([use])
            continue
        first, *rest = touching
        first += [member for group in rest for member in group] + [use]
        joined = [group for group in joined if not any(group is other for other in rest)]
    return joined


def _joins(use: Use, granularity: Granularity) -> tuple[str, ...]:
    if granularity == "layer":
        return use.weighted if len(use.weighted) == 1 else ()
    return (*use.weighted, *use.tied)


def _blocks(groups: Iterable[list[Use]]) -> list[list[Use]]:
    blocks: dict[str, list[Use]] = {}
    for group in groups:
        name = _first_layer(group)
        blocks.setdefault(name.rpartition(".")[0] or name, []).extend(group)
    return list(blocks.values())


def _name(members: list[Use], granularity: Granularity, taken: list[Unit]) -> str:
    shared = granularity == "layer" and len(members[0].weighted) > 1  # it is no single layer's
    name = members[0].path if granularity == "quantizer" or shared else _first_layer(members)
    if granularity == "block":
        name = name.rpartition(".")[0] or name
    return name if all(unit.name != name for unit in taken) else members[0].path


def _first_layer(members: list[Use]) -> str:
    return next((name for use in members for name in use.weighted), next(iter(members[0].readers), members[0].path))

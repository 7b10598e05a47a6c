"""Groups of quantizers that switch together: single quantizers, engine regions, or blocks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from torch import fx, nn

from deploy.graph.opgraph import commutes
from qat.sensitivity.config import Granularity
from qat.sensitivity.network.foreign import owner_of
from qat.sensitivity.network.functional import INPUT_QUANTIZER
from qat.sensitivity.network.switches import Switch
from qat.sensitivity.types import Part, QuantizerGroup
from qat.tracing import fx_graph

JOINS = ("Add", "Concat")


@dataclass
class Use:
    """A quantizer and the nodes that tie it to others; dicts serve as ordered sets.

    Attributes:
        readers: nodes that read the quantized tensor.
        weighted: readers that own a weight, also after pooling and copies, through which Q/DQ moves freely.
        tied: for networks that came with quantizers: the tensor it quantizes, and the sums and joins that read it.
        tensors: nodes whose outputs it quantizes; several if they share the quantizer.
    """

    path: str
    readers: dict[str, None] = field(default_factory=dict)
    weighted: dict[str, None] = field(default_factory=dict)
    tied: dict[str, None] = field(default_factory=dict)
    tensors: dict[str, None] = field(default_factory=dict)


def groups_of(
    model: nn.Module, switches: Mapping[str, Switch], granularity: Granularity, part: Part, *, given: bool = False
) -> tuple[QuantizerGroup, ...]:
    """Groups in the order in which the network computes them.

    Args:
        given: the network came with quantizers. Each layer then has its own; quantizers that read one tensor, or whose
            tensors are added or joined, belong to one group.

    | granularity | a group is |
    |---|---|
    | quantizer | one quantizer; tensors that share a scale share it |
    | layer | a layer's weight and, unless another layer reads it too, its input |
    | group | quantized tensors and the weights of all layers they feed: as an engine can switch them |
    | block | the groups below one parent module |
    """
    if isinstance(model, fx.GraphModule):
        merged = _components(_uses(model, switches, given), granularity)
    else:
        owners = {path: {owner_of(path): None} for path in switches}
        merged = _components([Use(path, owner, owner) for path, owner in owners.items()], granularity)
    if granularity == "block":
        merged = _blocks(merged)
    groups: list[QuantizerGroup] = []
    for members in merged:
        paths = tuple(use.path for use in members if part in ("both", switches[use.path].part))
        if paths:
            layers = tuple(dict.fromkeys(name for use in members for name in (*use.readers, *use.weighted)))
            tensors = tuple(dict.fromkeys(name for use in members if use.path in paths for name in use.tensors))
            groups.append(QuantizerGroup(_name(members, granularity, groups), paths, part, layers, tensors))
    return tuple(groups)


def _uses(model: fx.GraphModule, switches: Mapping[str, Switch], given: bool) -> list[Use]:
    names = fx_graph.node_names(model)
    operators = {node.name: node for node in fx_graph.view(model).nodes}
    uses: dict[str, Use] = {}
    readers: dict[str, list[fx.Node]] = {}
    for node in model.graph.nodes:
        if node.op != "call_module":
            continue
        own = str(node.target)
        for path in switches:
            if path != own and not path.startswith(f"{own}."):
                continue
            use = uses.setdefault(path, Use(path))
            readers.setdefault(path, []).extend(node.users if path == own else [node])
            if path != own and not path.endswith(INPUT_QUANTIZER):
                continue
            source = node.all_input_nodes[0]
            use.tensors[names[source]] = None
            if path != own or given:
                use.tied[f"tensor {source}"] = None
                sums = [user for user in node.users if path == own and _joins(operators, names[user])]
                use.tied.update(dict.fromkeys(f"node {user}" for user in sums))
    with_weight = {
        node for path, nodes in readers.items() if switches[path].part == "weight" for node in nodes
    }  # weights of modules, and of functions whose weight is a parameter of the model

    def reached(node: fx.Node) -> list[fx.Node]:
        if node in with_weight:
            return [node]
        moves = names[node] in operators and commutes(operators[names[node]])
        return [found for user in node.users for found in reached(user)] if moves else []

    for path, nodes in readers.items():
        uses[path].readers.update(dict.fromkeys(names[node] for node in nodes))
        uses[path].weighted.update(dict.fromkeys(names[found] for node in nodes for found in reached(node)))
    return list(uses.values())


def _joins(operators: Mapping[str, object], name: str) -> bool:
    return getattr(operators.get(name), "kind", "") in JOINS


def _components(uses: Iterable[Use], granularity: Granularity) -> list[list[Use]]:
    """Uses, joined where they share nodes."""
    joined: list[tuple[set[str], list[Use]]] = []
    for use in uses:
        ties = _ties(use, granularity)
        touching = [other for other in joined if ties & other[0]]
        if touching:
            first, *others = touching
            first[0].update(ties, *(known for known, _ in others))
            first[1].extend([*(member for _, members in others for member in members), use])
            joined = [other for other in joined if not any(other is gone for gone in others)]
        else:
            joined.append((ties, [use]))
    return [members for _, members in joined]


def _ties(use: Use, granularity: Granularity) -> set[str]:
    if granularity == "quantizer" or (granularity == "layer" and len(use.weighted) != 1):
        return set()
    return set(use.weighted) if granularity == "layer" else {*use.weighted, *use.tied}


def _blocks(groups: Iterable[list[Use]]) -> list[list[Use]]:
    blocks: dict[str, list[Use]] = {}
    for members in groups:
        blocks.setdefault(_parent(_first_layer(members)), []).extend(members)
    return list(blocks.values())


def _name(members: list[Use], granularity: Granularity, taken: list[QuantizerGroup]) -> str:
    shared = granularity == "layer" and len(members[0].weighted) > 1  # it does not belong to a single layer
    name = members[0].path if granularity == "quantizer" or shared else _first_layer(members)
    name = _parent(name) if granularity == "block" else name
    return name if all(group.name != name for group in taken) else members[0].path


def _parent(name: str) -> str:
    return name.rpartition(".")[0] or name


def _first_layer(members: list[Use]) -> str:
    return next((name for use in members for name in use.weighted), next(iter(members[0].readers), members[0].path))

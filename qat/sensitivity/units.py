"""Which quantizers are one unit: as fine as single ones, or as coarse as an engine, or a block, sees them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import fx, nn

from qat import fx_graph
from qat.quantized_layers import WEIGHT_QUANTIZER
from qat.sensitivity.config import Granularity
from qat.sensitivity.switches import Switch
from qat.sensitivity.types import Part, Unit


@dataclass(frozen=True)
class Use:
    """A quantizer and the nodes that read what it quantizes; `weighted` are those of them that own a weight."""

    path: str
    readers: tuple[str, ...]
    weighted: tuple[str, ...]


def units_of(
    model: nn.Module, switches: Mapping[str, Switch], granularity: Granularity, part: Part
) -> tuple[Unit, ...]:
    """Units in the order in which the network computes them.

    | granularity | a unit is |
    |---|---|
    | quantizer | one quantizer; tensors that share a scale share it |
    | layer | a layer's weight and, unless another layer reads it too, its input |
    | group | quantized tensors and the weights of all layers they feed: what an engine can switch |
    | block | the groups below one parent module |
    """
    uses = _uses(model, switches)
    merged = _components(uses, granularity)
    if granularity == "block":
        merged = _blocks(merged)
    units: list[Unit] = []
    for members in merged:
        paths = tuple(use.path for use in members if part in ("both", switches[use.path].part))
        if paths:
            layers = tuple(dict.fromkeys(name for use in members for name in use.readers))
            units.append(Unit(_name(members, granularity, units), paths, part, layers))
    return tuple(units)


def _uses(model: nn.Module, switches: Mapping[str, Switch]) -> list[Use]:
    if not isinstance(model, fx.GraphModule):
        return [Use(path, (owner,), (owner,)) for path in switches for owner in (_owner(path),)]
    names = fx_graph.node_names(model)
    readers: dict[str, list[fx.Node]] = {}
    for node in model.graph.nodes:
        if node.op != "call_module":
            continue
        if str(node.target) in switches:
            readers.setdefault(str(node.target), []).extend(node.users)
        elif f"{node.target}.{WEIGHT_QUANTIZER}" in switches:
            readers.setdefault(f"{node.target}.{WEIGHT_QUANTIZER}", []).append(node)
    with_weight = {
        node for path, nodes in readers.items() if switches[path].part == "weight" for node in nodes
    }  # of modules, and of functions whose weight is a parameter of the model
    return [
        Use(
            path,
            tuple(dict.fromkeys(names[node] for node in nodes)),
            tuple(dict.fromkeys(names[node] for node in nodes if node in with_weight)),
        )
        for path, nodes in readers.items()
    ]


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
    return use.weighted if granularity != "layer" or len(use.readers) == 1 else ()


def _blocks(groups: Iterable[list[Use]]) -> list[list[Use]]:
    blocks: dict[str, list[Use]] = {}
    for group in groups:
        name = _first_layer(group)
        blocks.setdefault(name.rpartition(".")[0] or name, []).extend(group)
    return list(blocks.values())


def _name(members: list[Use], granularity: Granularity, taken: list[Unit]) -> str:
    name = members[0].path if granularity == "quantizer" else _first_layer(members)
    if granularity == "block":
        name = name.rpartition(".")[0] or name
    return name if all(unit.name != name for unit in taken) else members[0].path


def _first_layer(members: list[Use]) -> str:
    return next((name for use in members for name in use.weighted), next(iter(members[0].readers), members[0].path))


def _owner(path: str) -> str:
    """Module that a quantizer belongs to; modelopt keeps several in a row below one name."""
    parts = path.split(".")
    while len(parts) > 1 and (parts[-1].isdigit() or "quantizer" in parts[-1]):
        parts.pop()
    return ".".join(parts)

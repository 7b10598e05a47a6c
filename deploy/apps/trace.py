"""`python -m deploy trace NAME`: one tensor or layer on its way from the network to the layers of the engines."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.config import Config
from core.errors import UserError
from core.files.paths import RunPaths
from deploy.apps.provenance import nodes_of
from deploy.bundle.advice import MANIFEST
from deploy.bundle.store import read_bundle
from deploy.graph import onnx_graph
from deploy.graph.opgraph import Node
from deploy.pipeline import require_trained
from deploy.placement.decide import module_path
from deploy.placement.patterns import suggestion
from deploy.plan.plan import QuantizationPlan, read_placement, read_plan
from deploy.targets import get_backend
from deploy.targets.base import LayerInfo


@dataclass(frozen=True)
class Stop:
    """One line of the way: where the name stands, and what is known of it there."""

    where: str
    text: str


def trace(config: Config, name: str) -> list[Stop]:
    """The way of every node that `name` names: module, plan, each target's graph, each engine's layer.

    Args:
        name: a node, its module path, or a tensor; fnmatch patterns are allowed.

    Raises:
        UserError: the run has no plan yet, or the name is in neither its graph nor its plan.
    """
    paths = RunPaths(config.run)
    require_trained(paths)
    nodes = onnx_graph.view(onnx_graph.load(paths.trained_onnx)).nodes
    found = [node for node in nodes if _names(node, name)]
    plan = read_plan(paths.plan, paths.trained_onnx)
    if not found:
        known = [*plan.tensors, *(module_path(node.name) for node in nodes)]
        raise UserError(f"nothing in {paths.trained_onnx} is called {name}", fix=suggestion(name, known))
    stops: list[Stop] = []
    for node in found:
        stops.append(Stop("module", f"{module_path(node.name)} ({node.kind}), tensor {', '.join(node.outputs)}"))
        stops += _planned(plan, node, "plan.json")
        for backend in config.deploy.backends:
            target = get_backend(backend).target
            report = paths.placement(target)
            if report.is_file():
                stops += _planned(read_placement(report), node, f"{target}.onnx")
            stops += _engine(paths.bundle(backend, "int8"), node)
    return stops


def print_trace(stops: Sequence[Stop]) -> None:
    """One line a stop."""
    width = max(len(stop.where) for stop in stops)
    for stop in stops:
        print(f"{stop.where:{width}}  {stop.text}")


def _names(node: Node, name: str) -> bool:
    known = (node.name, module_path(node.name), *node.inputs, *node.outputs)
    return any(fnmatch.fnmatchcase(candidate, name) for candidate in known if candidate)


def _planned(plan: QuantizationPlan, node: Node, where: str) -> Iterator[Stop]:
    """Scale, origin and rule of each quantized input of `node`, and of its result; else the reasons for float."""
    for tensor, entry in plan.quantized.items():
        for use in entry.uses:
            if use.node == node.name or tensor in node.outputs:
                scales = [entry.scale] if isinstance(entry.scale, float) else list(entry.scale)
                shown = f"{scales[0]:.6g}" if len(scales) == 1 else f"{min(scales):.4g} to {max(scales):.4g}"
                reader = f"input {use.input} of {use.node}"
                group = f", group {entry.group}" if entry.group else ""
                yield Stop(where, f"{tensor} → {reader}: INT8, scale {shown} ({entry.origin}{group}), rule {use.rule}")
    for skip in plan.skips:
        if skip.node == node.name:
            yield Stop(where, f"{skip.node}: float, {skip.rule}: {skip.why}")


def _engine(folder: Path, node: Node) -> Iterator[Stop]:
    if not (folder / MANIFEST).is_file():
        return
    bundle = read_bundle(folder)
    for layer in get_backend(bundle.backend).layers(bundle):
        if _is_made_from(layer, node):
            output = f" → {layer.output}" if layer.output else ""
            yield Stop(str(folder), f"{layer.name}: {layer.kind} in {layer.precision}{output} ({layer.detail})")


def _is_made_from(layer: LayerInfo, node: Node) -> bool:
    return bool({node.name, *node.outputs} & nodes_of(layer))

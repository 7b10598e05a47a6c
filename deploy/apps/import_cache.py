"""`python -m deploy import-cache`: from TensorRT's implicit quantization to Q/DQ, by the ranges of its cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_graphsurgeon as gs

from core.errors import UserError
from core.files.artifacts import write_json
from deploy.apply.apply import Applied, apply
from deploy.apply.calibrate import weight_scales
from deploy.apply.target import TargetConfig
from deploy.apps.place import Choices
from deploy.checks.write import write_verified
from deploy.graph import onnx_graph
from deploy.importing.calibration_cache import read_calibration_cache
from deploy.importing.import_plan import import_plan
from deploy.placement.planning import wanted
from deploy.plan.carry import carry
from deploy.plan.plan import QuantizationPlan, write_plan
from deploy.plan.scale import Scale

SHOWN = 5


@dataclass(frozen=True)
class Imported:
    """The result of importing a cache.

    Attributes:
        without_range: tensors that the rules would quantize and the cache has no range for; they stay in float.
        without_counterpart: names in the cache that the graph does not have.
        unused: tensors with a range that no rule quantizes.
    """

    applied: Applied
    without_range: tuple[str, ...]
    without_counterpart: tuple[str, ...]
    unused: tuple[str, ...]
    written: Path

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "written": str(self.written),
            "activations": len(self.applied.plan.activations),
            "weights": len(self.applied.plan.weights),
            "without_range": list(self.without_range),
            "without_counterpart": list(self.without_counterpart),
            "unused": list(self.unused),
            "widened": list(self.applied.widened),
        }

    def lines(self) -> list[str]:
        """For people."""
        plan = self.applied.plan
        told = [f"{len(plan.activations)} activations and {len(plan.weights)} weights quantized: {self.written}"]
        for names, what in (
            (self.without_range, "tensors have no range in the cache and stay in float"),
            (self.without_counterpart, "names of the cache are not in the graph"),
            (self.unused, "ranges are of tensors that need no pair"),
            (self.applied.widened, "scales grew to their group's largest"),
        ):
            if names:
                more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
                told.append(f"{len(names)} {what}: {', '.join(names[:SHOWN])}{more}")
        return told


def import_cache(cache: Path, source: Path, folder: Path, choices: Choices) -> Imported:
    """Write `float.onnx`, `plan.json` and the Q/DQ graph of the chosen target to `folder`.

    Activations get the cache's ranges, weights their largest magnitude per output channel.

    Raises:
        UserError: the cache or the graph cannot be read, the graph is quantized already, or the cache is of another
            network: none of its names fits.
    """
    found = read_calibration_cache(cache)
    graph, own = import_plan(source)
    if own.tensors:
        raise UserError(f"{source} has Q/DQ nodes already", fix="give the float model that the cache was made for")
    goal = choices.goal()
    view = onnx_graph.view(graph)
    activations, weights = wanted(view, goal.rules or (), goal.skip)
    known = _known(graph, found.scales)
    if not known:
        first = ", ".join(list(found.scales)[:SHOWN])
        raise UserError(
            f"{cache} is of another network than {source}",
            why=f"the graph has none of its tensors: {first}",
            fix="give the ONNX file that was calibrated",
        )
    plan = QuantizationPlan().adding(known, found.origin).adding(weight_scales(graph, weights), "max")
    carried = carry(view, plan).tensors
    applied = apply(graph, plan, goal)
    clean = folder / "float.onnx"
    onnx_graph.save(graph, clean)
    write_plan(plan.of_graph(clean), folder / "plan.json")
    written = _write(applied, goal, folder)
    return Imported(
        applied,
        tuple(name for name in activations if name not in carried),
        tuple(name for name in found.scales if name not in known),
        tuple(name for name in known if name not in applied.plan.quantized),
        written,
    )


def _known(graph: gs.Graph, scales: Mapping[str, Scale]) -> dict[str, Scale]:
    tensors = {name for name, tensor in graph.tensors().items() if not isinstance(tensor, gs.Constant)}
    return {name: scale for name, scale in scales.items() if name in tensors}


def _write(applied: Applied, goal: TargetConfig, folder: Path) -> Path:
    out = folder / f"{goal.target.name}.onnx"
    write_verified(applied, goal.target, out)
    write_json(out.with_suffix(".placement.json"), applied.plan.to_json())
    return out

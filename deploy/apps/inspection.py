"""The layers that a built engine computes in INT8, its other layers, and why a convolution stayed in float."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from core.errors import GateMissed, UserError
from core.files.paths import RunPaths
from deploy.bundle.advice import MANIFEST
from deploy.bundle.store import read_bundle
from deploy.bundle.types import Bundle, Precision
from deploy.placement.rules import OTHERS, RULES, pad_conv, products, small_groups, weighted
from deploy.plan.plan import read_placement
from deploy.targets import get_backend
from deploy.targets.base import LayerInfo
from deploy.targets.layer_work import HALF, EngineWork, caution, executed, is_conversion, work_of
from deploy.targets.tensorrt.inspector import read_information

ENGINES_CHOICE = "quantized in the graph; the engine has taken a float kernel"
NOT_TOLD = "a list of layers does not tell"
_OF_OTHERS = {rule.name for rule in (*RULES, *OTHERS)} - {
    rule.name for rule in (weighted.RULE, products.RULE, small_groups.RULE, pad_conv.RULE)
}
_ADD = re.compile(r"(?:.*[/._])?add(?:_\d+)?", re.IGNORECASE)  # exporters name a residual's node after its operator


@dataclass(frozen=True)
class FloatConvolution:
    """A convolution that does not compute in INT8, and why."""

    name: str
    precision: str
    why: str


@dataclass(frozen=True)
class Inspection:
    """The layers of an engine and what they amount to.

    Attributes:
        work: fused epilogues, bytes moved and multiply-adds per inference.
        int8_percent: share of the convolutions that compute in INT8; 100 for an engine without convolutions.
        conversions: layers that only change format or precision.
        fused_adds: convolutions that add a residual in the same kernel.
        float_outputs: INT8 convolutions whose result is written in float, where the engine lists outputs.
        caution: a sentence where this INT8 engine moves more bytes than the half-precision engine beside it.
    """

    layers: tuple[LayerInfo, ...]
    work: EngineWork
    convolutions: int
    int8_percent: float
    conversions: tuple[str, ...]
    fused_adds: tuple[str, ...]
    float_outputs: tuple[str, ...]
    float_convolutions: tuple[FloatConvolution, ...]
    caution: str = ""

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)

    def require(self, percent: float) -> None:
        """Raise `GateMissed` when less than `percent` of the convolutions compute in INT8, or there are none."""
        if not self.convolutions:
            raise GateMissed(
                f"no convolution computes in INT8, not {percent:g} %", why="the list of layers has no convolution"
            )
        if self.int8_percent < percent:
            first = [f"{conv.name} ({conv.why})" for conv in self.float_convolutions[:3]]
            raise GateMissed(
                f"{self.int8_percent:.1f} % of the convolutions compute in INT8, not {percent:g} %",
                why=f"{len(self.float_convolutions)} in float: {'; '.join(first)}",
            )


def inspect_bundle(bundle: Bundle, placement: Path | None = None) -> Inspection:
    """Read the engine's layers and join them with the operators that placement skipped.

    Args:
        placement: the placement report; None takes the run's, if it still exists.

    Raises:
        UserError: the bundle is not what was built (see `deploy.bundle.store.check_bundle`).
    """
    layers = get_backend(bundle.backend).layers(bundle)
    found = summarize(layers, bundle.precision, _reasons(placement) if placement else _skips(bundle))
    half = layers_beside(bundle, HALF) if bundle.precision == "int8" else {}
    cautions = (caution(found.work, work_of(layers), precision) for precision, layers in half.items())
    return replace(found, caution="; ".join(filter(None, cautions)))


def layers_beside(bundle: Bundle, precisions: Iterable[Precision]) -> dict[Precision, list[LayerInfo]]:
    """Layers of other precisions of the same run, backend and kind of output.

    A bundle that is not there, or that another version built, is left out.
    """
    kind = bundle.dir.name.removeprefix(f"{bundle.backend}-{bundle.precision}")
    found = {}
    for precision in precisions:
        folder = bundle.dir.parent / f"{bundle.backend}-{precision}{kind}"
        if precision != bundle.precision and (folder / MANIFEST).is_file():
            with suppress(UserError):
                found[precision] = get_backend(bundle.backend).layers(read_bundle(folder))
    return found


def inspect_layer_list(path: Path, placement: Path | None = None) -> Inspection:
    """The EngineInspector's list of an engine built elsewhere (see `deploy.targets.tensorrt.inspector`).

    Args:
        placement: the report on the graph it was built from; without it the reasons for float are unknown.
    """
    layers = read_information(path)
    return summarize(layers, "int8", _reasons(placement)) if placement else summarize(layers, "int8", {}, NOT_TOLD)


def summarize(
    layers: Sequence[LayerInfo], precision: str, skips: Mapping[str, str], otherwise: str = ENGINES_CHOICE
) -> Inspection:
    """Count and join.

    Args:
        precision: that the engine was built for.
        skips: why a node stayed in float, by its ONNX name.
        otherwise: why the others did.
    """
    convolutions = [layer for layer in layers if layer.kind == "Conv"]
    int8 = [layer for layer in convolutions if layer.precision == "int8"]
    others = [layer for layer in convolutions if layer.precision != "int8"]
    built = "" if precision == "int8" else f"the engine is built for {precision}"
    return Inspection(
        layers=tuple(layers),
        work=work_of(layers),
        convolutions=len(convolutions),
        int8_percent=100 * len(int8) / len(convolutions) if convolutions else 100.0,
        conversions=tuple(layer.name for layer in executed(layers) if is_conversion(layer)),
        fused_adds=tuple(layer.name for layer in convolutions if any(map(_ADD.fullmatch, layer.origin))),
        float_outputs=tuple(layer.name for layer in int8 if layer.output not in ("", "int8", "unknown")),
        float_convolutions=tuple(
            FloatConvolution(layer.name, layer.precision, built or _why(layer, skips, otherwise)) for layer in others
        ),
    )


def _why(layer: LayerInfo, skips: Mapping[str, str], otherwise: str) -> str:
    names = (*layer.origin, layer.name)
    return next((skips[name] for name in names if name in skips), otherwise)


def _skips(bundle: Bundle) -> dict[str, str]:
    """From the placement report of the run, or the one beside the engine's folder that `quantize` leaves there."""
    folder, target = bundle.dir.resolve(), get_backend(bundle.backend).target
    of_run = [root / RunPaths(folder.parent.name).placement(target) for root in folder.parents[2:3]]
    reports = (*of_run, folder.with_name(f"{target}.placement.json"))
    return next((_reasons(report) for report in reports if report.is_file()), {})


def _reasons(report: Path) -> dict[str, str]:
    """Why operators with weights stayed in float; skips of their biases, or of fused operators, do not count."""
    found: dict[str, str] = {}
    for skip in read_placement(report).skips:
        if skip.rule not in _OF_OTHERS:
            found.setdefault(skip.node, f"{skip.rule}: {skip.why}")
    return found

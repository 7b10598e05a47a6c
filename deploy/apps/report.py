"""The tables and lines that `python -m deploy` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from core.files.artifacts import read_json
from deploy.apply.apply import Applied
from deploy.apps.inspection import Inspection
from deploy.apps.roofline import BOUNDS, IGNORED, Estimate
from deploy.bundle.header import header_lines
from deploy.bundle.types import Bundle
from deploy.pipeline import BuildOutcome
from deploy.placement.rule_sets import RULE_SETS
from deploy.placement.rules import OTHERS, RULES
from deploy.placement.rules.base import Rule
from deploy.plan.plan import OBSERVED, TensorPlan
from deploy.targets import title_of

_out = Console(soft_wrap=True, highlight=False)


def print_outcomes(outcomes: Sequence[BuildOutcome]) -> None:
    """One row per backend and precision: built where, or why not."""
    table = Table(Column("engine", no_wrap=True), "status", _numbers("size"), _names("where / why"))
    for outcome in outcomes:
        size = f"{outcome.bundle.size_bytes / 1e6:.1f} MB" if outcome.bundle else ""
        where = str(outcome.bundle.dir) if outcome.bundle else outcome.reason
        name = f"{title_of(outcome.backend)} {outcome.precision}"
        table.add_row(name, outcome.status, size, where)
        if outcome.mask_reason:
            table.add_row(f"{name} image → mask", "failed", "", outcome.mask_reason)
    _out.print(table)


def _names(title: str) -> Column:
    """A column that a narrow terminal folds."""
    return Column(title, overflow="fold")


def _numbers(title: str) -> Column:
    """A column whose cells are never cut or broken."""
    return Column(title, justify="right", no_wrap=True)


def outcomes_json(outcomes: Sequence[BuildOutcome]) -> list[dict[str, Any]]:
    """One object per backend and precision."""
    return [
        {
            "backend": outcome.backend,
            "precision": outcome.precision,
            "status": outcome.status,
            "reason": outcome.reason,
            "engine": outcome.bundle and str(outcome.bundle.dir),
            "size_bytes": outcome.bundle and outcome.bundle.size_bytes,
            "mask_engine": outcome.mask and str(outcome.mask.dir),
            "mask_reason": outcome.mask_reason,
        }
        for outcome in outcomes
    ]


def placement_json(applied: Applied) -> dict[str, Any]:
    """The plan with its uses and skips, and the scales that changed or are not used."""
    return {**applied.plan.to_json(), "widened": list(applied.widened), "unused": list(applied.unused)}


def print_placement(applied: Applied, *, detailed: bool) -> None:
    """Counts, and with `detailed` every quantized use and every skip with its reason."""
    plan = applied.plan
    if detailed:
        others = map(_names, ("origin", "group", "read by", "rule"))
        table = Table(_names("tensor"), _numbers("scale"), *others)
        for name, tensor in plan.quantized.items():
            for use in tensor.uses:
                node = use.node if tensor.axis is None else f"{use.node} (axis {tensor.axis})"
                table.add_row(name, _scale(tensor), tensor.origin, tensor.group or "", node, use.rule)
        _out.print(table)
        skips = Table(*map(_names, ("left in float", "rule", "why")))
        for skip in plan.skips:
            skips.add_row(skip.node, skip.rule, skip.why)
        _out.print(skips)
        for group, members in plan.groups.items():
            print(f"group {group}, one scale: {', '.join(members)}")
    print(f"{len(plan.activations)} activations and {len(plan.weights)} weights quantized, {len(plan.skips)} skips")
    observed = [name for name, tensor in plan.quantized.items() if tensor.origin == OBSERVED]
    for names, text in (
        (applied.widened, "scales grew to their group's largest"),
        (observed, "scales observed on the calibration images"),
        (applied.unused, "scales of the source are not used"),
    ):
        if names:
            print(f"{len(names)} {text}: {', '.join(names[:5])}")


def _scale(tensor: TensorPlan) -> str:
    if isinstance(tensor.scale, float):
        return f"{tensor.scale:.4g}"
    return f"{min(tensor.scale):.3g} to {max(tensor.scale):.3g}"


def print_trials(tuned: Path) -> None:
    """Show each change that autotune tried, its cost, and the sum of the gains."""
    found = read_json(tuned)
    table = Table(_names("change"), _numbers(f"{found['objective']} [95 %]"), _names("verdict"))
    for trial in found["trials"]:
        table.add_row(trial["choice"], _share(trial["change"]), trial["verdict"])
    _out.print(table)
    total = found["total"]
    print(f"all gains together: {_share(total['change'])}" if total else "nothing gains over the rule set")
    if "engine" in total:
        print("time of the whole engine: {value:.4f} [{low:.4f}, {high:.4f}]".format(**total["engine"]))


def _share(change: Mapping[str, float] | None) -> str:
    return "{value:+.2%} [{low:+.2%}, {high:+.2%}]".format(**change) if change else ""


def rules_json() -> list[dict[str, Any]]:
    """Every rule with the rule sets it belongs to."""
    return [
        {"rule": rule.name, "rule_sets": _sets_of(rule), "why": rule.reason, "source": rule.source}
        for rule in RULES + OTHERS
    ]


def print_rules() -> None:
    """Every rule with its reason and source, and the rule sets it belongs to."""
    table = Table(*map(_names, ("rule", "rule sets", "why", "source")))
    for rule in RULES + OTHERS:
        table.add_row(rule.name, ", ".join(_sets_of(rule)), rule.reason, rule.source)
    _out.print(table)


def _sets_of(rule: Rule) -> list[str]:
    return [name for name, rules in RULE_SETS.items() if rule in rules]


def print_header(bundle: Bundle) -> None:
    """Print the main facts of a bundle's manifest."""
    lines = header_lines(bundle)
    width = max(len(label) for label, _ in lines)
    for label, text in lines:
        print(f"{label:{width}}  {text}")


def print_inspection(found: Inspection, *, layers: bool = False) -> None:
    """Print a summary of the layers, and why a convolution is in float; with `layers`, each layer, too."""
    if layers:
        table = Table(*map(_names, ("layer", "kind", "precision", "evidence", "made from")))
        for layer in found.layers:
            table.add_row(layer.name, layer.kind, layer.precision, layer.detail, " + ".join(layer.origin))
        _out.print(table)
    if found.float_convolutions:
        reasons = Table(*map(_names, ("convolution in float", "precision", "why")))
        for conv in found.float_convolutions:
            reasons.add_row(conv.name, conv.precision, conv.why)
        _out.print(reasons)
    in_int8 = found.convolutions - len(found.float_convolutions)
    print(f"convolutions: {in_int8} of {found.convolutions} in INT8 ({found.int8_percent:.1f} %)")
    print(f"of these, {len(found.float_outputs)} write their result in float")
    work = found.work
    print(f"convolutions that write INT8: {work.int8_outputs}, that write float: {work.float_outputs}")
    print(f"pointwise kernels outside of convolutions: {work.pointwise}")
    print(f"residual additions inside a convolution: {len(found.fused_adds)}")
    print(f"layers that only change format or precision: {len(found.conversions)}")
    if work.bytes_moved is not None:
        print(f"per inference: {work.bytes_moved / 1e6:.2f} MB moved, {work.macs / 1e9:.3f} G multiply-adds")
    if found.caution:
        print(f"caution: {found.caution}")


def print_estimates(estimates: Sequence[Estimate]) -> None:
    """The roofline of each precision, fastest first; every line says that it is an estimate."""
    fastest = min(each.us for each in estimates)
    table = Table(_names("estimate"), *map(_numbers, ("µs", "ratio", *(f"by {bound}" for bound in BOUNDS))))
    for each in sorted(estimates, key=lambda each: each.us):
        counts = (str(each.bound_by(bound)) for bound in BOUNDS)
        table.add_row(f"{each.device} {each.precision}", f"{each.us:.1f}", f"{each.us / fastest:.3f}", *counts)
    _out.print(table)
    print("time bound by: number of layers. Not measured: an estimate from public figures of the device")
    print(f"ignored: {IGNORED}")

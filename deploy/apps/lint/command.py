"""`python -m deploy lint`: every finding, whether `place` fixes it, and the fixed graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx_graphsurgeon as gs

from core.cli.naming import command
from core.errors import UserError
from core.files.artifacts import write_json
from deploy.apply.apply import Applied, apply
from deploy.apply.target import TargetConfig
from deploy.apps.lint.finding import SEVERITIES, Finding
from deploy.apps.lint.parameters import parameter_findings
from deploy.apps.lint.structure import structure_findings, taken_apart
from deploy.apps.place import Choices
from deploy.checks.write import write_verified
from deploy.graph import onnx_graph
from deploy.graph.opgraph import DEQUANTIZE
from deploy.importing.import_plan import import_plan
from deploy.importing.integer_ops import KNOWN
from deploy.targets.tensorrt.target import TARGET


@dataclass(frozen=True)
class Lint:
    """Findings, the worst first, and the graph that `place` makes; None where it refuses, with the reason."""

    findings: tuple[Finding, ...]
    goal: TargetConfig
    placed: Applied | None
    refusal: str = ""

    @property
    def counts(self) -> dict[str, int]:
        """Findings by severity."""
        found = Counter(finding.severity for finding in self.findings)
        return {severity: found[severity] for severity in SEVERITIES}

    def write(self, out: Path) -> None:
        """Write the fixed graph to `out`, verified, and its placement report beside it.

        Raises:
            UserError: `place` refuses the graph.
        """
        if self.placed is None:
            raise UserError(f"{out} is not written", why=self.refusal, fix="see the findings")
        write_verified(self.placed, self.goal.target, out)
        write_json(out.with_suffix(".placement.json"), self.placed.plan.to_json())


def lint(source: Path) -> Lint:
    """All findings on a Q/DQ graph; each says whether it is gone from the graph that `place` makes.

    Raises:
        UserError: no such file, no Q/DQ in it, or pairs that have no plain form.
    """
    graph = onnx_graph.load(source)
    if not any(node.op in (DEQUANTIZE, *KNOWN) for node in graph.nodes):
        raise UserError(
            f"{source} has no Q/DQ nodes", why="there is nothing to check", fix=f"see `{command('quantize')}`"
        )
    goal = replace(Choices().goal(), target=TARGET)  # FP16 casts of the float part would hide nothing here
    before = _findings(graph, goal)
    placed, refusal = None, ""
    try:
        clean, plan = import_plan(source)
        applied = apply(clean, plan, goal)
        if applied.plan.quantized:
            placed = applied
        else:
            refusal = "no tensor would be quantized"
    except UserError as error:
        refusal = " ".join(str(error).split())
    left = {_key(finding) for finding in _findings(placed.graph.copy(), goal)} if placed else None
    told = [replace(each, mended=left is not None and _key(each) not in left) for each in before]
    return Lint(tuple(sorted(told, key=lambda each: SEVERITIES.index(each.severity))), goal, placed, refusal)


def _findings(graph: gs.Graph, goal: TargetConfig) -> list[Finding]:
    onnx_graph.name_nodes(graph)
    found = list(parameter_findings(graph))
    return found + list(structure_findings(taken_apart(graph), goal.rules or ()))


def _key(finding: Finding) -> tuple[str, str]:
    return finding.code, finding.node


def shown(findings: Sequence[Finding]) -> list[str]:
    """Lines for people: what, where, why, source; equal reasons of many nodes in one paragraph."""
    grouped: dict[tuple[str, str, str, bool | None], list[Finding]] = {}
    for each in findings:
        grouped.setdefault((each.severity, each.code, each.source, each.mended), []).append(each)
    lines = []
    for (severity, code, source, mended), members in grouped.items():
        lines.append(f"{severity} {code} ({len(members)}): `place` {'fixes' if mended else 'does not fix'} it")
        lines += [f"  {member.node}: {member.why}" for member in members[:_SHOWN]]
        if len(members) > _SHOWN:
            lines.append(f"  and {len(members) - _SHOWN} more (--json lists all)")
        lines.append(f"  source: {source}")
    return lines


_SHOWN = 4

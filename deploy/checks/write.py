"""Turns a float graph and its plan into a Q/DQ graph file, which is written only after its checks pass.

Until then the previous file stays. Every engine is built from a graph that this module wrote.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from core.files.artifacts import write_atomic
from deploy.apply.apply import Applied, apply
from deploy.apply.target import Target, TargetConfig
from deploy.checks.verify import verify
from deploy.graph import onnx_graph
from deploy.plan.plan import read_plan


def write_applied(
    graph: Path, plan: Path, goal: TargetConfig, path: Path, check: Callable[[Path], object] = lambda _: None
) -> Applied:
    """Apply the plan file `plan` to the float ONNX file `graph` for a target, and write the verified result to `path`.

    Raises:
        UserError: the plan does not belong to the graph, an invariant is broken, or `check` raised it.
    """
    applied = apply(onnx_graph.load(graph), read_plan(plan, graph), goal)
    write_verified(applied, goal.target, path, check)
    return applied


def write_verified(
    applied: Applied, target: Target, path: Path, check: Callable[[Path], object] = lambda _: None
) -> None:
    """Write the graph of `applied` to `path` if it keeps every Q/DQ invariant and `check` accepts the file.

    Raises:
        UserError: an invariant is broken (see `deploy.checks.verify`), or `check` raised it.
    """
    with write_atomic(path) as temporary:
        onnx_graph.write(applied.graph, temporary)
        verify(temporary, applied.plan, target.unsigned, shown=path)
        check(temporary)

"""A Q/DQ graph becomes a file only when it passed its checks; until then the previous file stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from core.artifacts import write_atomic
from deploy.apply.apply import Applied
from deploy.apply.target import Target
from deploy.checks.verify import verify
from deploy.graph import onnx_graph


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

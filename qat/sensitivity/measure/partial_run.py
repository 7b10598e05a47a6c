"""Reruns only the changed part of a network: values that do not depend on the change come from the last run."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable
from typing import Any

from torch import fx, nn

from qat.tracing.inputs import Inputs, in_order


def reusable(model: nn.Module) -> bool:
    """Return True if stored values stay valid: in a traced graph without operations in place."""
    return isinstance(model, fx.GraphModule) and not any(_overwrites(model, node) for node in model.graph.nodes)


class KeptRun:
    """All values of one forward pass, and further passes that differ from it in some quantizers."""

    def __init__(self, model: fx.GraphModule, inputs: Inputs) -> None:
        self.model = model
        self.executed = 0  # nodes computed since, for the cost report
        self.output: Any = None
        self._run = _Plain(model, garbage_collect_values=False)
        self._run.args_iter = iter(in_order(model, inputs))
        for node in model.graph.nodes:
            self._run.env[node] = self._run.run_node(node)
            if node.op == "output":
                self.output = self._run.env[node]
        self._kept = self._run.env

    def again(self, changed: Iterable[str]) -> Any:
        """The output after the quantizers at these module paths were switched since the stored run."""
        below = downstream(self.model, frozenset(changed))
        last_read = {source: node for node in below for source in node.all_input_nodes}
        fresh: dict[fx.Node, Any] = {}
        self._run.env = ChainMap(fresh, self._kept)  # type: ignore[assignment]
        result = self.output
        for node in below:
            result = fresh[node] = self._run.run_node(node)
            for source in node.all_input_nodes:
                if last_read[source] is node:
                    fresh.pop(source, None)
        self.executed += len(below)
        return result


class _Plain(fx.Interpreter):
    """An interpreter without records of traced lines that finds modules by path, which halves the cost of a node."""

    def run_node(self, n: fx.Node) -> Any:
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        return getattr(self, n.op)(n.target, args, kwargs)

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self.submodules[target](*args, **kwargs)


def downstream(model: fx.GraphModule, changed: frozenset[str]) -> list[fx.Node]:
    """The nodes, in graph order, whose value depends on a module in `changed` or on a module inside one of them."""
    tainted: set[fx.Node] = set()
    for node in model.graph.nodes:
        own = node.op == "call_module" and any(
            path == node.target or path.startswith(f"{node.target}.") for path in changed
        )
        if own or any(source in tainted for source in node.all_input_nodes):
            tainted.add(node)
    return [node for node in model.graph.nodes if node in tainted]


def _overwrites(model: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_method":
        return str(node.target).endswith("_") and not str(node.target).endswith("__")
    if node.op == "call_function":
        name = getattr(node.target, "__name__", "")
        return bool(node.kwargs.get("inplace")) or (name.endswith("_") and not name.endswith("__")) or name == "setitem"
    return node.op == "call_module" and bool(getattr(model.get_submodule(str(node.target)), "inplace", False))

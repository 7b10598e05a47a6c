"""torch.fx's tracer for networks that compute with sizes: branches, loops and `int()` of shapes.

The trace stays valid at other sizes where the network only calculates with them. Branches are resolved at the example's
size.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn

from qat.quantization.quantized_layers import layer_type

SIZES = ("shape", "ndim", "size", "dim", "numel", "dtype", "device", "is_cuda")  # they depend on no values
BUILTINS: tuple[Any, ...] = (int, float, round, len, list, tuple)
_LIBRARIES = ("torch", "builtins")
_CALL, _GETATTR = nn.Module.__call__, nn.Module.__getattr__


class Tracer(fx.Tracer):
    """A tracer that keeps the user's own layer subclasses whole where they only extend the constructor.

    Args:
        leaf: selects modules that count as one operator besides those of `torch.nn`.
        constants: values of parameters of `forward`, which may then branch on them.
        inputs: an example by the name of the parameter, for its sizes.
    """

    def __init__(
        self, leaf: Callable[[nn.Module], bool], constants: Mapping[str, Any], inputs: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.leaf, self.constants, self.inputs = leaf, constants, inputs
        self.values: dict[fx.Node, Any] = {}

    def trace(self, root: Any, concrete_args: Any = None) -> fx.Graph:
        """The graph of `root`'s forward."""
        with _builtins_for_proxies(root):
            return super().trace(root, concrete_args)

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> tuple[Any, list[Any]]:
        function, arguments = super().create_args_for_root(root_fn, is_module, concrete_args)
        for position, value in enumerate(arguments):
            if isinstance(value, fx.Proxy) and value.node.target in self.constants:
                arguments[position] = self.constants[str(value.node.target)]
                self.graph.erase_node(value.node)
        return function, arguments

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return layer_type(m) is not None or self.leaf(m) or super().is_leaf_module(m, module_qualified_name)

    def to_bool(self, obj: fx.Proxy) -> bool:
        """The result of a branch on sizes, at the example's sizes; a branch on values is refused as before."""
        return bool(self._value(obj.node)) if _is_of_sizes(obj.node) else super().to_bool(obj)

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        """Items of a shape, as many as in the example."""
        if not _is_of_sizes(obj.node):
            return super().iter(obj)
        items: Any = obj
        return iter([items[index] for index in range(len(self._value(obj.node)))])

    def length(self, obj: fx.Proxy) -> Any:
        """Length of a shape, or of the result of an operator."""
        if _is_of_sizes(obj.node):
            return len(self._value(obj.node))
        return obj.size(0)

    def _value(self, node: fx.Node) -> Any:
        """The value of the node for the example."""
        if node not in self.values:
            with torch.no_grad(), _modules_as_ever():
                self.values[node] = self._run(node)
        return self.values[node]

    def _run(self, node: fx.Node) -> Any:
        if node.op == "placeholder":
            return self.inputs[str(node.target)]
        if node.op == "get_attr":
            value: Any = self.root
            for part in str(node.target).split("."):
                value = getattr(value, part)
            return value
        for source in node.all_input_nodes:
            self._value(source)
        args: Any = fx.node.map_arg(node.args, lambda source: _own_copy(self.values[source]))
        kwargs: Any = fx.node.map_arg(node.kwargs, lambda source: _own_copy(self.values[source]))
        if node.op == "call_module":
            return self.root.get_submodule(str(node.target))(*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        assert callable(node.target)
        return node.target(*args, **kwargs)


@contextmanager
def _modules_as_ever() -> Iterator[None]:
    """Restore, within the context, the methods that torch.fx replaces while it traces."""
    tracing = nn.Module.__call__, nn.Module.__getattr__
    nn.Module.__call__, nn.Module.__getattr__ = _CALL, _GETATTR  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.__call__, nn.Module.__getattr__ = tracing  # type: ignore[method-assign]


def _own_copy(value: Any) -> Any:
    """A copy of a tensor, so that operators in place do not change values that others read."""
    return value.clone() if isinstance(value, Tensor) else value


def _is_of_sizes(node: fx.Node) -> bool:
    """Return True if the value depends on inputs only through their sizes."""
    if node.op == "call_method" and node.target in SIZES:
        return True
    if node.op == "call_function" and node.target is getattr and node.args[1] in SIZES:
        return True
    if node.op in ("placeholder", "get_attr", "call_module"):
        return False
    return bool(node.all_input_nodes) and all(_is_of_sizes(source) for source in node.all_input_nodes)


class _StandIn(type):
    """Metaclass of the stand-ins for builtins in the user's modules while they are traced."""

    real: Any

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if not args or not isinstance(args[0], fx.Proxy):
            return cls.real(*args, **kwargs)
        proxy = args[0]
        if cls.real is len:
            return proxy.tracer.length(proxy)  # type: ignore[attr-defined]  # of `Tracer` here
        if cls.real in (list, tuple):
            return cls.real(iter(proxy))
        return proxy.tracer.create_proxy("call_function", cls.real, args, kwargs)

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, cls.real)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, cls.real)


@contextmanager
def _builtins_for_proxies(root: Any) -> Iterator[None]:
    """Turn calls such as `int(x.shape[2] / 2)` in the network's own files into nodes of the graph."""
    modules = root.modules() if isinstance(root, nn.Module) else ()
    names = {kind.__module__ for module in modules for kind in type(module).__mro__}
    files = [vars(sys.modules[name]) for name in names if name.partition(".")[0] not in _LIBRARIES]
    patched = []
    for builtin in BUILTINS:
        stand_in = _StandIn(builtin.__name__, (), {"real": builtin})
        for names_of_file in files:
            if builtin.__name__ not in names_of_file:
                names_of_file[builtin.__name__] = stand_in
                patched.append((names_of_file, builtin.__name__))
    try:
        yield
    finally:
        for names_of_file, name in patched:
            del names_of_file[name]

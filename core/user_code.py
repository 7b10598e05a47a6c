"""Python files of the user's own, and functions named in the config as "file.py:function"."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from core.errors import UserError


def load_module(path: Path, key: str, fix: str) -> ModuleType:
    """The Python file at `path`, executed.

    Raises:
        UserError: no such file, or whatever it raises; `key` of the config and `fix` are in the message.
    """
    if path.suffix != ".py" or not path.is_file():
        raise UserError(f"{key}: no Python file {path}", fix=fix)
    spec = importlib.util.spec_from_file_location(f"{key.replace('.', '_')}_{path.stem}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever the user's file raises is the user's to read
        raise UserError(f"{key}: {path} fails", why=f"{type(error).__name__}: {error}", fix=fix) from error
    return module


def load_function(reference: str, key: str) -> Callable[..., Any]:
    """The function that "path/to/file.py:function" names; the file is executed.

    Raises:
        UserError: no such file or function, or the file fails; `key` of the config is named.
    """
    file, separator, name = reference.rpartition(":")
    fix = "write file.py:function"
    if not separator:
        raise UserError(f"{key}: no Python file and function in {reference}", fix=fix)
    module = load_module(Path(file), key, fix)
    if not callable(getattr(module, name, None)):
        raise UserError(f"{key}: {reference}", why=f"{file} has no function {name}", fix=fix)
    function: Callable[..., Any] = getattr(module, name)
    return function


def call_with(function: Callable[..., Any], offered: Mapping[str, Any], what: str) -> Any:
    """Call `function` with those of `offered` that it takes by name, all of them where it takes `**options`.

    Raises:
        UserError: it needs an argument that is not offered; `what` says which function it is.
    """
    signature = inspect.signature(function)
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    takes_all = inspect.Parameter.VAR_KEYWORD in kinds
    arguments = {name: value for name, value in offered.items() if takes_all or name in signature.parameters}
    try:
        signature.bind(**arguments)
    except TypeError as error:
        fix = f"it gets {', '.join(offered)} by name; give its other arguments defaults"
        raise UserError(what, why=str(error), fix=fix) from error
    return function(**arguments)

"""Python files of the user's own, and functions named in the config as "file.py:function"."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import sysconfig
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from core.errors import UserError
from core.files.paths import ROOT

_OURS = tuple(ROOT / name for name in ("benchmarks", "core", "deploy", "qat"))
_START = ROOT / "core" / "cli" / "command.py"  # it calls every command, including scripts outside the project's folders
_INSTALLED = tuple(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib"))


def load_module(path: Path, key: str, fix: str) -> ModuleType:
    """The Python file at `path`, executed.

    Raises:
        UserError: no such file, or the file raises an error; the message names `key` of the config and `fix`.
    """
    if path.suffix != ".py" or not path.is_file():
        raise UserError(f"{key}: no Python file {path}", fix=fix)
    spec = importlib.util.spec_from_file_location(f"{key.replace('.', '_')}_{path.stem}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # dataclasses look up their module in sys.modules
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the user must see any exception of the user's file
        line = next((frame.lineno for frame in reversed(_frames(error)) if frame.filename == str(path)), None)
        where = f", line {line}" if line else ""
        raise UserError(f"{key}: {path} fails{where}", why=_reason(error), fix=fix) from error
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
    """Call `function` with the arguments of `offered` that it names, or with all of them where it takes `**options`.

    Raises:
        UserError: it needs an argument that is not offered; `what` names the function in the message.
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


def fault_in_user_code(error: BaseException) -> UserError | None:
    """The message for an exception that came out of the user's own Python code, with its file and line.

    Code is the user's when the project called it and it is neither the project's nor an installed package: a factory,
    `forward`, `__getitem__`, a rule's `match`, and everything that they import. None: no such code took part.
    """
    place = place_in_user_code(error)
    if place is None:
        return None
    ended = isinstance(error, SystemExit)
    return UserError(
        f"{place}: {'the code ends the program' if ended else 'it fails'}",
        why=_reason(error),
        fix="fix that code, or see the whole traceback with --debug",
    )


def place_in_user_code(error: BaseException) -> str | None:
    """ "file.py, line 3, in forward": the innermost line of the user's code that `error` came through, if any."""
    frames = _frames(error)
    first = next((index for index, frame in enumerate(frames) if _is_ours(frame.filename)), len(frames))
    theirs = [frame for frame in frames[first:] if _is_users(frame.filename)]
    return f"{theirs[-1].filename}, line {theirs[-1].lineno}, in {theirs[-1].name}" if theirs else None


def _frames(error: BaseException) -> list[traceback.FrameSummary]:
    return list(traceback.extract_tb(error.__traceback__))


def _reason(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _is_ours(filename: str) -> bool:
    path = Path(filename)
    return path != _START and any(path.is_relative_to(folder) for folder in _OURS)


def _is_users(filename: str) -> bool:
    """The file, if it exists: generated code has names such as `<eval_with_key>.3`."""
    path = Path(filename).absolute()
    return path.is_file() and not any(path.is_relative_to(folder) for folder in (*_OURS, *_INSTALLED))

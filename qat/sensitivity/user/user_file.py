"""The user's Python file: four functions that it must have, and `evaluate` and `get_class_names` where it has them."""

from __future__ import annotations

import inspect
import math
import pickle
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from core.errors import UserError
from core.files.user_code import load_module
from qat.device import device_for
from qat.models.tensor_file import reason_of
from qat.sensitivity.config import SensitivityConfig

REQUIRED = ("get_model", "get_data_loader", "get_criterion", "get_optimizer")
DOCS = "docs/guides/sensitivity.md has the functions and their parameters"
VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
Split = Literal["train", "val"]


@dataclass(frozen=True)
class UserFile:
    """The user's functions, called with the documented arguments that they have parameters for."""

    path: Path
    functions: ModuleType
    config: SensitivityConfig

    def model(self) -> nn.Module:
        """`get_model()`'s network."""
        model = unwrapped(self._call("get_model"))
        self._require(isinstance(model, nn.Module), "get_model", model, "return an nn.Module")
        return model

    def loads_itself(self) -> bool:
        """True where `get_model` takes the path of the weights, and so loads them."""
        return "model_path" in self._parameters("get_model")

    def places_itself(self) -> bool:
        """True where the user places the network: `get_model` takes the device, or `evaluate` feeds the network."""
        return "device" in self._parameters("get_model") or self.evaluate is not None

    def loader(self, split: Split) -> Iterable[Any]:
        """Batches of "train" (calibration, recovery) or "val"."""
        loader = self._call("get_data_loader", split=split)
        is_loader = hasattr(loader, "__iter__") and not isinstance(loader, torch.Tensor | Mapping | str)
        is_loader &= not isinstance(loader, Dataset) or isinstance(loader, DataLoader)
        self._require(is_loader, "get_data_loader", loader, "return a DataLoader or a list of batches")
        return loader

    def criterion(self) -> Callable[[Any, Any], torch.Tensor]:
        """The loss: (output, target) → scalar."""
        criterion = self._call("get_criterion")
        self._require(callable(criterion), "get_criterion", criterion, "return a loss: (output, target) → scalar")
        return criterion

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """An optimizer of `model`'s parameters, for the recovery."""
        optimizer = self._call("get_optimizer", model=model)
        is_one = isinstance(optimizer, torch.optim.Optimizer)
        self._require(is_one, "get_optimizer", optimizer, "return a torch.optim.Optimizer")
        return optimizer

    def class_names(self) -> tuple[str, ...]:
        """`get_class_names()`'s names in the order of the classes; empty when the file has none."""
        if not hasattr(self.functions, "get_class_names"):
            return ()
        names = self._call("get_class_names")
        are_names = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
        are_names = are_names and len(set(names)) == len(names)
        self._require(are_names, "get_class_names", names, "return a list of strings, each once")
        return tuple(names)

    @property
    def evaluate(self) -> Callable[[nn.Module, Any], float] | None:
        """`evaluate(model, loader)`, higher is better; None when the file has none."""
        return self._evaluated if hasattr(self.functions, "evaluate") else None

    def _evaluated(self, model: nn.Module, loader: Any) -> float:
        value = self._call("evaluate", model=model, loader=loader)
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        fix = "return a finite number, the lowest value of the metric where it is not defined"
        self._require(math.isfinite(number), "evaluate", value, fix)
        return number

    def _call(self, name: str, **arguments: Any) -> Any:
        """The function `name` with those of the documented arguments that it takes."""
        offered = {
            "model_path": str(self.config.model_path),
            "data_path": str(self.config.data_path),
            "config": self.config,
            "device": device_for(self.config.device).type,
            "seed": self.config.seed,
            **arguments,
        }
        given = {}
        for parameter in self._parameters(name).values():
            if parameter.name in offered and parameter.kind is not parameter.POSITIONAL_ONLY:
                given[parameter.name] = offered[parameter.name]
            elif parameter.default is parameter.empty and parameter.kind not in VARIADIC:
                raise UserError(
                    f"{name}() in {self.path} has a parameter {parameter.name!r} that nothing is given for",
                    why=f"it can take {', '.join(offered)}, by name",
                    fix=f"{_nearest(parameter.name, offered)}rename it or give it a default; {DOCS}",
                )
        try:
            return getattr(self.functions, name)(**given)
        except UserError:
            raise
        except (Exception, SystemExit) as error:
            raise UserError(
                f"{name}() in {self.path} failed at line {_line_of(error, self.path)}",
                why=described(error),
                fix="--debug shows the whole traceback",
            ) from error

    def _parameters(self, name: str) -> Mapping[str, inspect.Parameter]:
        return inspect.signature(getattr(self.functions, name)).parameters

    def _require(self, holds: bool, name: str, value: Any, fix: str) -> None:
        if not holds:
            shown = value if isinstance(value, float) else type(value).__name__
            raise UserError(f"{name}() in {self.path} returned {shown}", why=DOCS, fix=fix)


def described(error: BaseException) -> str:
    """Kind and text of an error in the user's code, on one line; PyTorch's advice to run pickled code is left out."""
    text = reason_of(error) if isinstance(error, pickle.UnpicklingError) else " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:400]


def _line_of(error: BaseException, path: Path) -> int | str:
    """The innermost line of the user's file that the error passed."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).name == path.name]
    return lines[-1] if lines and lines[-1] else "?"


def _nearest(name: str, known: Iterable[str]) -> str:
    found = get_close_matches(name, known, n=1)
    return f"did you mean {found[0]}? " if found else ""


def load_user_file(config: SensitivityConfig) -> UserFile:
    """Execute `config.model_file`.

    Raises:
        UserError: there is no such file, it cannot be imported, or a function is missing.
    """
    path = config.model_file
    sys.path.insert(0, str(path.resolve().parent))  # the file imports its neighbours
    module = load_module(path, "model_file", f"write it with {', '.join(REQUIRED)}")
    for name in REQUIRED:
        if not callable(getattr(module, name, None)):
            fix = f"{_nearest(name, vars(module))}{DOCS}"
            raise UserError(f"{path} has no function {name}", why=f"it needs {', '.join(REQUIRED)}", fix=fix)
    return UserFile(path, module, config)


def unwrapped(model: Any) -> Any:
    """The network inside `torch.compile` and `nn.DataParallel`."""
    model = getattr(model, "_orig_mod", model)
    return model.module if isinstance(model, nn.DataParallel) else model

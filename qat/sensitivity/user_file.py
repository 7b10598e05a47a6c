"""The user's Python file: `get_model`, `get_data_loader`, `get_optimizer`, `get_criterion`, and maybe `evaluate`."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import torch
from torch import nn

from core.errors import UserError
from qat.sensitivity.config import SensitivityConfig

REQUIRED = ("get_model", "get_data_loader", "get_optimizer", "get_criterion")
Split = Literal["train", "val"]


@dataclass(frozen=True)
class UserFile:
    """The functions, called with the arguments they ask for by name.

    Understood names: `model_path` (also `checkpoint`, `weights`), `data_path` (also `data_dir`, `data_root`, `root`,
    `path`), `split` and `mode` ("train" or "val"), `train`, `training` and `is_train` (bool), `seed` and
    `config` (a dict). Parameters with other names keep their defaults; the first one of `get_optimizer` is the model.
    """

    path: Path
    functions: SimpleNamespace
    config: SensitivityConfig

    def model(self) -> nn.Module:
        """`get_model()`'s network."""
        model = self._call("get_model")
        if not isinstance(model, nn.Module):
            raise UserError(f"get_model() in {self.path} returned {type(model).__name__}", fix="return an nn.Module")
        return model

    def loads_itself(self) -> bool:
        """Whether `get_model` asks for the weights' path, and so loads them."""
        names = inspect.signature(self.functions.get_model).parameters
        return bool({"model_path", "checkpoint", "weights"} & set(names))

    def loader(self, split: Split) -> Iterable[Any]:
        """Batches of "train" (calibration, recovery) or "val"; one loader serves both if only one is given.

        `get_data_loader` may return one loader, a pair (train, val), or a mapping of these names.
        """
        loaders = self._call("get_data_loader", split=split)
        if isinstance(loaders, Mapping):
            known = ("train", "val") if split == "train" else ("val", "valid", "validation", "test")
            loaders = next((loaders[name] for name in known if name in loaders), None)
        elif isinstance(loaders, tuple):
            loaders = loaders[0 if split == "train" else min(1, len(loaders) - 1)]
        if loaders is None or not hasattr(loaders, "__iter__"):
            raise UserError(f"get_data_loader() in {self.path} gave no {split} loader", fix="return a DataLoader")
        return loaders

    def criterion(self) -> Callable[[Any, Any], torch.Tensor]:
        """The loss: (output, target) → scalar."""
        criterion = self._call("get_criterion")
        if not callable(criterion):
            raise UserError(f"get_criterion() in {self.path} returned nothing callable", fix="return a loss")
        return criterion

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """Of `model`'s parameters; only the fine-tuning at the end wants it."""
        optimizer = self._call("get_optimizer", model=model)
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise UserError(f"get_optimizer() in {self.path} returned {type(optimizer).__name__}")
        return optimizer

    @property
    def evaluate(self) -> Callable[[nn.Module, Any], float] | None:
        """`evaluate(model, loader)`, higher is better; None when the file has none."""
        return getattr(self.functions, "evaluate", None)

    def _call(self, name: str, split: Split = "val", model: nn.Module | None = None) -> Any:
        function = getattr(self.functions, name)
        training = split == "train"
        offered: dict[str, Any] = {
            **dict.fromkeys(("model_path", "checkpoint", "weights"), str(self.config.model_path)),
            **dict.fromkeys(("data_path", "data_dir", "data_root", "root", "path"), str(self.config.data_path)),
            **dict.fromkeys(("split", "mode"), split),
            **dict.fromkeys(("train", "training", "is_train"), training),
            "seed": self.config.seed,
            "config": self.config.model_dump(mode="json"),
        }
        arguments: dict[str, Any] = {}
        first: list[Any] = []
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            if model is not None and not first:
                first = [model if not parameter.name.startswith("param") else model.parameters()]
            elif parameter.name in offered:
                arguments[parameter.name] = offered[parameter.name]
            elif parameter.default is parameter.empty:
                raise UserError(
                    f"{name}() in {self.path} wants an argument {parameter.name!r}",
                    why=f"understood names: {', '.join(sorted(offered))}",
                    fix="rename it, or give it a default",
                )
        return function(*first, **arguments)


def load_user_file(config: SensitivityConfig) -> UserFile:
    """Execute `config.model_file`.

    Raises:
        UserError: there is no such file, it cannot be imported, or a function is missing.
    """
    path = config.model_file
    if not path.is_file():
        raise UserError(f"no model file {path}", fix=f"write it with {', '.join(REQUIRED)}, or set model_file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # pickled models and dataclasses look their module up there
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except (SyntaxError, ImportError, NameError) as error:
        raise UserError(f"{path} cannot be imported", why=str(error)) from error
    missing = [name for name in REQUIRED if not callable(getattr(module, name, None))]
    if missing:
        raise UserError(f"{path} has no function {', '.join(missing)}", fix="see docs/sensitivity.md")
    return UserFile(path, SimpleNamespace(**vars(module)), config)

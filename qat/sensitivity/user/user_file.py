"""The user's Python file: `get_model`, `get_data_loader`, `get_optimizer`, `get_criterion`, and maybe `evaluate`."""

from __future__ import annotations

import importlib.util
import inspect
import math
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from core.errors import UserError
from qat.sensitivity.config import SensitivityConfig
from qat.sensitivity.user.batch import is_batch
from qat.sensitivity.user.device import device_for

REQUIRED = ("get_model", "get_data_loader", "get_optimizer", "get_criterion")
MODEL_PATHS = ("model_path", "checkpoint", "checkpoint_path", "ckpt", "ckpt_path", "weights", "weights_path")
DATA_PATHS = ("data_path", "data_dir", "data_root", "data", "dataset_path", "root")
ANY_PATH = ("path", "file")
DATASET_BATCH = 16  # where the user gives a dataset instead of a loader
Split = Literal["train", "val"]


@dataclass(frozen=True)
class UserFile:
    """The functions, called with the arguments they ask for by name.

    Understood names: see `offered`. Parameters with other names keep their defaults.
    """

    path: Path
    functions: SimpleNamespace
    config: SensitivityConfig

    def model(self) -> nn.Module:
        """`get_model()`'s network."""
        model = unwrapped(self._call("get_model"))
        if not isinstance(model, nn.Module):
            raise UserError(f"get_model() in {self.path} returned {type(model).__name__}", fix="return an nn.Module")
        return model

    def loads_itself(self) -> bool:
        """Whether `get_model` asks for the weights' path, and so loads them."""
        names = inspect.signature(self.functions.get_model).parameters
        return bool({*MODEL_PATHS, *ANY_PATH} & set(names))

    def places_itself(self) -> bool:
        """Whether the network stays where it is: `get_model` asks for the device, or `evaluate` feeds the network."""
        return "device" in inspect.signature(self.functions.get_model).parameters or self.evaluate is not None

    def loader(self, split: Split) -> Iterable[Any]:
        """Batches of "train" (calibration, recovery) or "val"; one loader serves both if only one is given.

        `get_data_loader` may return one loader, a pair (train, val), a mapping of these names, a dataset, or a
        single batch.
        """
        loaders = self._call("get_data_loader", split=split)
        if isinstance(loaders, Mapping) and not is_batch(loaders):
            known = ("train", "val") if split == "train" else ("val", "valid", "validation", "test")
            loaders = next((loaders[name] for name in known if name in loaders), None)
        elif is_batch(loaders):
            loaders = [loaders]
        elif isinstance(loaders, list | tuple) and loaders and all(_is_loader(item) for item in loaders):
            loaders = loaders[0 if split == "train" else min(1, len(loaders) - 1)]
        if isinstance(loaders, Dataset):
            loaders = DataLoader(loaders, batch_size=DATASET_BATCH)
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
        if not hasattr(self.functions, "evaluate"):
            return None
        return self._evaluated

    def _evaluated(self, model: nn.Module, loader: Any) -> float:
        """The user's number; parameters after the first two are filled in by name."""
        known = offered(self.config, "val", "evaluate")
        parameters = list(inspect.signature(self.functions.evaluate).parameters.values())[2:]
        extra = {item.name: known[item.name] for item in parameters if item.name in known}
        value = self._run(lambda: self.functions.evaluate(model, loader, **extra), "evaluate")
        try:
            number = float(value)
        except (TypeError, ValueError) as error:
            why = f"it returned {type(value).__name__}"
            raise UserError(f"evaluate() in {self.path} gives no number", why, "return a float") from error
        if not math.isfinite(number):
            fix = "return the lowest value of the metric where it is not defined"
            raise UserError(f"evaluate() in {self.path} gives no finite number", f"it returned {number}", fix)
        return number

    def _run(self, function: Callable[[], Any], name: str) -> Any:
        try:
            return function()
        except UserError:
            raise
        except (Exception, SystemExit) as error:
            raise UserError(
                f"{name}() in {self.path} failed at line {_line_of(error, self.path)}",
                why=f"{type(error).__name__}: {error}",
                fix="--debug shows the whole traceback",
            ) from error

    def _call(self, name: str, split: Split = "val", model: nn.Module | None = None) -> Any:
        function = getattr(self.functions, name)
        known = offered(self.config, split, name)
        parameters = [
            parameter
            for parameter in inspect.signature(function).parameters.values()
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        ]
        if model is not None:
            known |= _as_model(model, [parameter.name for parameter in parameters], known)
        positional: list[Any] = []
        arguments: dict[str, Any] = {}
        for parameter in parameters:
            if parameter.name not in known:
                if parameter.default is not parameter.empty:
                    continue
                raise UserError(
                    f"{name}() in {self.path} wants an argument {parameter.name!r}",
                    why=f"understood names: {', '.join(sorted(known))}",
                    fix="rename it, or give it a default",
                )
            if parameter.kind is parameter.POSITIONAL_ONLY:
                positional.append(known[parameter.name])
            else:
                arguments[parameter.name] = known[parameter.name]
        return self._run(lambda: function(*positional, **arguments), name)


def _line_of(error: BaseException, path: Path) -> int | str:
    """The innermost line of the user's file that the error passed."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).name == path.name]
    return lines[-1] if lines and lines[-1] else "?"


class Settings(dict[str, Any]):
    """The config for user files that write `config["data_path"]` and for those that write `config.data_path`."""

    def __getattr__(self, name: str) -> Any:
        if name not in self:
            raise AttributeError(f"config.yaml has no key {name}")
        return self[name]


def offered(config: SensitivityConfig, split: Split, function: str) -> dict[str, Any]:
    """What the user's functions may ask for, by parameter name; `path` is the model's for `get_model` only."""
    settings = Settings(config.model_dump(mode="json"))
    paths = MODEL_PATHS if function == "get_model" else DATA_PATHS
    return {
        **dict.fromkeys(MODEL_PATHS, str(config.model_path)),
        **dict.fromkeys(DATA_PATHS, str(config.data_path)),
        **dict.fromkeys(ANY_PATH, str(config.model_path if paths is MODEL_PATHS else config.data_path)),
        **dict.fromkeys(("split", "mode", "phase", "subset") if paths is DATA_PATHS else (), split),
        **dict.fromkeys(("train", "training", "is_train"), split == "train"),
        **dict.fromkeys(("config", "cfg", "conf", "args", "opt", "opts"), settings),
        "device": device_for(config.device).type,
        "seed": config.seed,
    }


def _is_loader(value: Any) -> bool:
    """Whether it gives batches; a list is one if all of it is batches."""
    if isinstance(value, list | tuple):
        return bool(value) and not is_batch(value) and all(is_batch(item) for item in value)
    return hasattr(value, "__iter__") and not isinstance(value, torch.Tensor | Mapping | str)


def _as_model(model: nn.Module, names: Sequence[str], known: Mapping[str, Any]) -> dict[str, Any]:
    """Which parameter of `get_optimizer` is the model, by its name or by being the first unknown one."""
    wanted = next((name for name in names if name in ("model", "net", "network", "module")), None)
    wanted = wanted or next((name for name in names if name not in known), None)
    return {} if wanted is None else {wanted: model.parameters() if "param" in wanted else model}


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
    except (Exception, SystemExit) as error:  # exit() and argparse stand at the end of many scripts
        why = f"{type(error).__name__}: {error}"
        raise UserError(f"{path} cannot be imported, line {_line_of(error, path)}", why=why) from error
    missing = [name for name in REQUIRED if not callable(getattr(module, name, None))]
    if missing:
        raise UserError(f"{path} has no function {', '.join(missing)}", fix="see docs/sensitivity.md")
    return UserFile(path, SimpleNamespace(**vars(module)), config)


def unwrapped(model: Any) -> Any:
    """The network inside `torch.compile` and `nn.DataParallel`."""
    model = getattr(model, "_orig_mod", model)
    return model.module if isinstance(model, nn.DataParallel) else model

"""What would only fail after hours is tried on the first images: the user's functions, and bringing the model back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from core.errors import UserError
from qat.sensitivity.network.outputs import logits_of
from qat.sensitivity.network.save import Quantization, load, save
from qat.sensitivity.user.batch import shapes_of
from qat.sensitivity.user.device import to_device
from qat.tracing.inputs import Inputs, apply, device_of

FAILURES = (RuntimeError, TypeError, ValueError, AttributeError, LookupError, AssertionError, NotImplementedError)
HALF_NAMES = ("BFloat16", "c10::Half")  # in what PyTorch says about operands of two types


def rehearse(model: nn.Module, inputs: Inputs, target: Any, criterion: Callable[[Any, Any], Tensor]) -> None:
    """One pass of the network as the user gives it, and its loss.

    Raises:
        UserError: either fails, or the network does not give the same output twice.
    """
    inputs, target = to_device((inputs, target), device_of(model))
    model.eval()
    try:
        with torch.no_grad():
            output, again = apply(model, inputs), apply(model, inputs)
    except FAILURES as error:
        raise UserError(
            f"get_model()'s network fails on an input of shape {', '.join(map(str, shapes_of(inputs)))}",
            why=_told(error),
            fix="forward() must not cast to half precision, which is taken to float32 here"
            if any(name in str(error) for name in HALF_NAMES)
            else "get_data_loader() must give batches of (input, target) as forward() takes them",
        ) from error
    if not torch.equal(logits_of(output).nan_to_num(), logits_of(again).nan_to_num()):
        raise UserError(
            "get_model()'s network gives another output each time",
            why="quantization cannot be told from chance",
            fix="draw no random numbers in forward() when self.training is False",
        )
    try:
        criterion(output, target)
    except FAILURES as error:
        raise UserError(
            "get_criterion()'s loss fails on the network's output and the first target",
            why=_told(error),
            fix="it is called as criterion(output, target) with what forward() and get_data_loader() give",
        ) from error


def rehearse_saving(model: nn.Module, how: Quantization, given: Callable[[], nn.Module], example: Inputs) -> None:
    """Save `model`, load it into what `given` returns, and compare what both compute.

    Raises:
        UserError: the file could not be read back, or computes something else.
    """
    with TemporaryDirectory() as folder, torch.no_grad():
        path = save(model, how, Path(folder) / "model.pt", met=True)
        try:
            loaded = load(path, given()).to(device_of(model))
            found, expected = (logits_of(apply(network, example)) for network in (loaded, model))
            same = torch.allclose(found, expected, rtol=1e-4, atol=1e-5, equal_nan=True)
        except (UserError, *FAILURES) as error:
            raise UserError(
                "the quantized model could not be loaded again after it was saved",
                why=_told(error),
                fix="get_model() must return the same network each time, quantized in the same way",
            ) from error
    if not same:
        raise UserError(
            "the quantized model computes something else after it was saved and loaded",
            why="not all of its state is in state_dict()",
            fix="register what forward() uses as parameters or buffers",
        )


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:400]

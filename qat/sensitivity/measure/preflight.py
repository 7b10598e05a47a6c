"""Preflight checks on the first images: user functions, saving and loading, which could otherwise fail after hours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from core.errors import UserError
from qat.sensitivity.network.save import Quantization, load, save
from qat.sensitivity.user.batch import logits_of, shapes_of
from qat.sensitivity.user.device import to_device
from qat.sensitivity.user.user_file import described
from qat.tracing.inputs import Inputs, apply, device_of

HALF_NAMES = ("BFloat16", "c10::Half")  # in PyTorch's errors about operands of two types


def check_forward(model: nn.Module, inputs: Inputs, target: Any, criterion: Callable[[Any, Any], Tensor]) -> None:
    """Run the user's network once and compute its loss.

    Raises:
        UserError: network or loss fails, or the network does not give the same output twice.
    """
    inputs, target = to_device((inputs, target), device_of(model))
    model.eval()
    try:
        with torch.no_grad():
            output, again = apply(model, inputs), apply(model, inputs)
    except Exception as error:
        fix = "get_data_loader() must give batches of (input, target) as forward() takes them"
        if any(name in str(error) for name in HALF_NAMES):
            fix = "forward() must not cast to half precision, which is taken to float32 here"
        shapes = ", ".join(map(str, shapes_of(inputs)))
        what = f"get_model()'s network fails on an input of shape {shapes}"
        raise UserError(what, described(error), fix) from error
    if not torch.equal(logits_of(output).nan_to_num(), logits_of(again).nan_to_num()):
        raise UserError(
            "get_model()'s network gives another output each time",
            why="random differences would hide the effect of quantization",
            fix="draw no random numbers in forward() when self.training is False",
        )
    try:
        criterion(output, target)
    except Exception as error:
        raise UserError(
            "get_criterion()'s loss fails on the network's output and the first target",
            why=described(error),
            fix="the call is criterion(output, target), with values from forward() and get_data_loader()",
        ) from error


def check_saving(model: nn.Module, how: Quantization, given: Callable[[], nn.Module], example: Inputs) -> None:
    """Save `model`, load it into the network that `given` returns, and compare the outputs of both.

    Raises:
        UserError: the file could not be read back, or the loaded network computes something else.
    """
    with TemporaryDirectory() as folder, torch.no_grad():
        path = save(model, how, Path(folder) / "model.pt", met=True)
        try:
            loaded = load(path, given()).to(device_of(model))
            found, expected = (logits_of(apply(network, example)) for network in (loaded, model))
            same = torch.allclose(found, expected, rtol=1e-4, atol=1e-5, equal_nan=True)
        except Exception as error:
            raise UserError(
                "the quantized model could not be loaded again after it was saved",
                why=described(error),
                fix="get_model() must return the same network each time, quantized in the same way",
            ) from error
    if not same:
        raise UserError(
            "the quantized model computes something else after it was saved and loaded",
            why="not all of its state is in state_dict()",
            fix="register all tensors that forward() uses as parameters or buffers",
        )

"""Saves the best model: weights, ranges and its quantization; `load` restores it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.console import say
from core.errors import UserError
from core.files.artifacts import write_atomic
from qat.models.tensor_file import load_file
from qat.sensitivity.config import PREVIOUS, UNMET
from qat.sensitivity.network.foreign import make_room_for_ranges
from qat.sensitivity.network.functional import Weights
from qat.sensitivity.network.subject import Subject, quantize_layers, quantize_traced
from qat.sensitivity.network.switches import Switch
from qat.sensitivity.network.weights import converted_by_modelopt
from qat.sensitivity.types import Form
from qat.sensitivity.user.batch import map_tensors
from qat.sensitivity.user.device import in_float32, to_device
from qat.sensitivity.user.user_file import unwrapped
from qat.tracing.inputs import Inputs, device_of

SCHEMA_VERSION = 5
MODELOPT_STATE = "modelopt_state"


@dataclass(frozen=True)
class Quantization:
    """Everything that turns the user's float model into the saved model.

    Attributes:
        form: origin of its quantizers.
        example: zeros in the shapes and types of the input that it was traced with.
        switched_off: quantizers of the float groups, which pass their input through.
        functions: for the form "layers": weights that `forward` passes to functions directly, and their channel axis.
    """

    form: Form
    example: Inputs
    switched_off: tuple[str, ...] = ()
    functions: Weights = ()


def quantization_of(subject: Subject, quantized: frozenset[str], example: Inputs) -> Quantization:
    """A description that rebuilds `subject` with exactly the groups in `quantized` quantized."""
    on = {path for group in subject.groups if group.name in quantized for path in group.quantizers}
    return Quantization(
        form=subject.form,
        example=map_tensors(example, _zeros),
        switched_off=tuple(path for path in subject.all_switches if path not in on),
        functions=getattr(subject.model, "functional_weights", ()),
    )


def _zeros(value: Tensor) -> Tensor:
    """One zero, expanded to the shape: a file stores it only once."""
    return torch.zeros((), dtype=value.dtype).expand(value.shape)


def save(model: nn.Module, how: Quantization, output_file: Path, *, met: bool) -> Path:
    """Write the model; returns the path.

    A model that missed the tolerance goes to `*.unmet.pt`. `output_file` then does not exist afterwards: an older one
    is renamed to `*.previous.pt`, so that nobody mistakes it for this run's best. A success removes an older
    `*.unmet.pt`.
    """
    unmet = output_file.with_suffix(UNMET)
    if met:
        unmet.unlink(missing_ok=True)
    elif output_file.exists():
        previous = output_file.with_suffix(PREVIOUS)
        output_file.replace(previous)
        say(f"{output_file} of an earlier run is now {previous}")
    target = output_file if met else unmet
    content = {
        "schema": SCHEMA_VERSION,
        "met": met,
        "quantization": asdict(how),
        "state_dict": map_tensors(model.state_dict(), lambda value: value.detach().cpu()),
        MODELOPT_STATE: modelopt_state(model),
    }
    with write_atomic(target) as temporary:
        torch.save(content, temporary)
    return target


def modelopt_state(model: nn.Module) -> dict[str, Any] | None:
    """The state by which modelopt turns the float network into `model` again; None for other networks."""
    if "modelopt" not in sys.modules:
        return None
    import modelopt.torch.opt as mto

    return mto.modelopt_state(model) if mto.ModeloptStateManager.is_converted(model) else None


def load(path: Path | str, model: nn.Module) -> nn.Module:
    """The saved quantized model, in eval mode, on the device of `model`.

    Args:
        path: a file that `save` wrote; no code in it is executed.
        model: the network of `get_model()`; its weights are replaced, and half precision becomes float32.

    Raises:
        UserError: the file has another form, or belongs to another model.
    """
    content = _read(Path(path))
    how = Quantization(**content["quantization"])
    device = device_of(model)
    model = quantized(in_float32(unwrapped(model)), how)
    if content[MODELOPT_STATE] is not None and modelopt_state(model) is None:
        model = converted_by_modelopt(model, content[MODELOPT_STATE])
    make_room_for_ranges(model, content["state_dict"])
    try:
        model.load_state_dict(content["state_dict"])
    except (RuntimeError, KeyError) as error:
        raise UserError(
            f"{path} does not fit {type(model).__name__}",
            why=" ".join(str(error).split()),
            fix="load it into the model that get_model() returned when it was saved",
        ) from error
    for name in how.switched_off:
        Switch(name, "activation", model.get_submodule(name)).turn(False)
    return model.to(device).eval()


def quantized(model: nn.Module, how: Quantization) -> nn.Module:
    """`model` with the quantizers that `how` describes, still without ranges."""
    if how.form == "given":
        return model
    if how.form == "layers":
        return quantize_layers(model, how.functions)
    return quantize_traced(model, to_device(how.example, device_of(model)))


def _read(path: Path) -> Mapping[str, Any]:
    content = load_file(path, "saved model", "run sensitivity_analysis.py first")
    if not isinstance(content, Mapping) or content.get("schema") != SCHEMA_VERSION or "quantization" not in content:
        raise UserError(f"{path} is not a model that this version of sensitivity_analysis.py saved")
    return content

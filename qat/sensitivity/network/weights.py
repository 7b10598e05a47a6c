"""`model_path` into the network of `get_model()`, every key accounted for; and the hash that probes must not change."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.console import say
from core.errors import UnsupportedEnvironment, UserError
from qat.sensitivity.network.foreign import foreign_quantizers, make_room_for_ranges
from qat.training.checkpointing import UNREADABLE, reason_of

INSIDE = ("state_dict", "model_state_dict", "model_state", "model", "net", "weights")  # where training scripts put it
PREFIXES = ("module.", "_orig_mod.", "model.")  # DataParallel, torch.compile, wrappers
SHOWN = 5


def load_weights(model: nn.Module, path: Path) -> nn.Module:
    """`model` with the weights of `path`, or the pickled module itself when the file holds one.

    The file may hold a state dict (also inside a checkpoint, also with the prefixes of wrappers), a module, or what
    modelopt's `mto.save` writes.

    Raises:
        UserError: no such file, not a checkpoint, or keys that are missing, unexpected or of another shape.
        UnsupportedEnvironment: modelopt wrote it and is not installed.
    """
    content = _read(path)
    if isinstance(content, nn.Module):
        return content
    if isinstance(content, Mapping) and content.get("modelopt_state") is not None:
        model = converted_by_modelopt(model, content["modelopt_state"])
    if isinstance(content, Mapping):
        content = next((content[key] for key in INSIDE if isinstance(content.get(key), Mapping | nn.Module)), content)
    if isinstance(content, nn.Module):
        return content
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds {type(content).__name__}, neither a state dict nor a module")
    state = {str(name): value for name, value in content.items()}
    wanted = model.state_dict()
    for prefix in PREFIXES:
        if state and all(name.startswith(prefix) for name in state) and not any(n.startswith(prefix) for n in wanted):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    make_room_for_ranges(model, state)
    wanted = model.state_dict()
    tensors = {name for name, value in wanted.items() if isinstance(value, Tensor)}
    problems = {
        "missing": sorted(wanted.keys() - state.keys()),
        "unexpected": sorted(state.keys() - wanted.keys()),
        "other shape": sorted(n for n in tensors & state.keys() if getattr(state[n], "shape", None) != wanted[n].shape),
    }
    theirs = tuple(f"{path}." for path in foreign_quantizers(model))
    ranges = [name for name in problems["missing"] if _of_a_quantizer(name) or name.startswith(theirs)]
    if ranges and problems["missing"] == ranges and not problems["unexpected"] and not problems["other shape"]:
        return _with_ranges(model, state, path)
    if any(problems.values()):
        why = "; ".join(f"{what}: {', '.join(names[:SHOWN])}" for what, names in problems.items() if names)
        fix = "get_model() must build the network that was saved"
        if any(_of_a_quantizer(name) for name in problems["unexpected"]):
            fix = "the file is of a quantized network: return it quantized, or save it with modelopt's mto.save"
        raise UserError(f"{path} does not fit {type(model).__name__}", why=why, fix=fix)
    model.load_state_dict(state)
    return model


def converted_by_modelopt(model: nn.Module, state: Mapping[str, Any]) -> nn.Module:
    """The float `model` with the quantizers that modelopt recorded in `state`."""
    try:
        import modelopt.torch.opt as mto
    except ModuleNotFoundError as error:
        raise UnsupportedEnvironment(
            "modelopt quantized this network, and it is not installed", str(error), "pip install nvidia-modelopt"
        ) from error
    return mto.restore_from_modelopt_state(model, state)


def _of_a_quantizer(name: str) -> bool:
    return "quantizer" in name


def _with_ranges(model: nn.Module, state: Mapping[str, Any], path: Path) -> nn.Module:
    """A quantized network and a file of float weights: they must be those that its ranges were calibrated with."""
    held = model.state_dict()
    if not all(torch.equal(held[name].cpu(), value.cpu()) for name, value in state.items()):
        raise UserError(
            f"get_model() returns a calibrated network that does not hold the weights of {path}",
            why="ranges that were found with other weights say nothing about these",
            fix="let get_model take model_path, load it there and quantize after that; or save the quantized network",
        )
    return model


def model_hash(model: nn.Module) -> str:
    """Hex BLAKE2b of all parameters and buffers, persistent or not, by name."""
    digest = hashlib.blake2b(digest_size=32)  # taken after every series of probes: SHA-256 takes four times as long
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _read(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"no weights {path}", fix="check model_path")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        say(f"{path} is more than tensors: unpickling it runs the code it names")
    except UNREADABLE as error:
        raise UserError(f"{path} cannot be read as a PyTorch checkpoint", why=reason_of(error)) from error
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except (*UNREADABLE, ImportError, AttributeError) as error:
        raise UserError(f"{path} cannot be read as a PyTorch checkpoint", why=reason_of(error)) from error

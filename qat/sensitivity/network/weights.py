"""`model_path` into the network of `get_model()`, every key accounted for; and the hash that trials must not change."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file as load_safetensors
from torch import Tensor, nn

from core.errors import UnsupportedEnvironment, UserError
from core.nearest import path_hint
from qat.models.tensor_file import UNREADABLE, reason_of
from qat.sensitivity.network.foreign import make_room_for_ranges

INSIDE = ("state_dict", "model_state_dict")  # of a checkpoint; the second is what modelopt's mto.save writes
WRAPPER = "module."  # before every key that nn.DataParallel saved
SHOWN = 5
CONVERT = (
    "save its weights alone: torch.save(model.state_dict(), FILE) or safetensors.torch.save_model(model, FILE); "
    "if you trust whoever made the file, set trust_pickle: true"
)


def load_weights(model: nn.Module, path: Path, trust_pickle: bool = False) -> nn.Module:
    """`model` with the weights of `path`.

    The file holds a state dict, also under "state_dict", a safetensors file, or what modelopt's `mto.save` writes.

    Args:
        trust_pickle: the file may also hold a pickled module, which is then returned; loading it runs code.

    Raises:
        UserError: no such file, not a checkpoint, or keys that are missing, unexpected or of another shape.
        UnsupportedEnvironment: modelopt wrote it and is not installed.
    """
    content = _read(path, trust_pickle)
    if isinstance(content, Mapping):
        if content.get("modelopt_state") is not None:
            model = converted_by_modelopt(model, content["modelopt_state"])
        content = next((content[key] for key in INSIDE if isinstance(content.get(key), Mapping)), content)
    if isinstance(content, nn.Module):
        return content
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds {type(content).__name__}, not a state dict", fix=CONVERT)
    state = {str(name): value for name, value in content.items()}
    if state and all(name.startswith(WRAPPER) for name in state):
        state = {name.removeprefix(WRAPPER): value for name, value in state.items()}
    make_room_for_ranges(model, state)
    wanted = model.state_dict()
    tensors = {name for name, value in wanted.items() if isinstance(value, Tensor)}
    problems = {
        "missing": sorted(wanted.keys() - state.keys()),
        "unexpected": sorted(state.keys() - wanted.keys()),
        "other shape": sorted(n for n in tensors & state.keys() if getattr(state[n], "shape", None) != wanted[n].shape),
    }
    if any(problems.values()):
        why = "; ".join(f"{what}: {', '.join(names[:SHOWN])}" for what, names in problems.items() if names)
        fix = "get_model() must build the network that was saved"
        if any("quantizer" in name for name in problems["missing"]):
            fix = "get_model() is quantized and the file is not: let it take model_path, load it, then quantize"
        if any("quantizer" in name for name in problems["unexpected"]):
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


def model_hash(model: nn.Module) -> str:
    """Hex BLAKE2b of all parameters and buffers, persistent or not, by name."""
    digest = hashlib.blake2b(digest_size=32)  # taken after every series of trials: SHA-256 takes four times as long
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _read(path: Path, trust_pickle: bool) -> Any:
    if not path.is_file():
        raise UserError(f"no weights {path}", fix=path_hint(path, "check model_path"))
    try:
        if path.suffix == ".safetensors":
            return load_safetensors(path)
        return torch.load(path, map_location="cpu", weights_only=not trust_pickle)
    except (*UNREADABLE, SafetensorError, ImportError, AttributeError) as error:
        fix = CONVERT if isinstance(error, pickle.UnpicklingError) else "check model_path"
        raise UserError(f"{path} cannot be loaded as weights", why=reason_of(error), fix=fix) from error

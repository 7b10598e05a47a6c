"""A Triton model repository of an image → mask engine: configuration, versioned model and labels.

Source: Triton Inference Server documentation, "Model Configuration" and "Model Repository", and the README files of
its TensorRT, ONNX Runtime and OpenVINO backends. Never served during development.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.files.artifacts import folder_atomic, write_text
from deploy.bundle.store import check_bundle, check_files
from deploy.bundle.types import Bundle
from deploy.targets import get_backend
from deploy.targets.base import Triton

CONFIG, LABELS = "config.pbtxt", "labels.txt"
QUEUE_DELAY_US = 2000  # how long a request may wait for others: little beside an inference on a CPU
VERSION = "1"

_NAME = re.compile(r"[^\s/\\.][^\s/\\]*")

_TYPES = {"uint8": "TYPE_UINT8", "int8": "TYPE_INT8", "float32": "TYPE_FP32", "float16": "TYPE_FP16"}


def write_repository(bundle: Bundle, out: Path, name: str, max_batch: int) -> Path:
    """Write `out`/`name` and return it.

    Args:
        bundle: an image → mask engine.
        max_batch: largest batch that Triton may form, where the engine's batch is dynamic.

    Raises:
        UserError: the engine changed since it was built or is of another version, Triton has no backend for it, `name`
            cannot name a model, or `out`/`name` holds files that this function did not write.
    """
    if not _NAME.fullmatch(name):
        raise UserError(f"{name!r} cannot name a model", why="it becomes a folder and a part of the server's addresses")
    served = _served(bundle)
    _check(bundle, served)
    folder = out / name
    _require_ours(folder)
    names = [entry["name"] for entry in bundle.manifest["meaning"].get("classes", ())]
    config = config_text(bundle, name, max_batch)
    with folder_atomic(folder) as made:
        (made / VERSION).mkdir()
        for source, expected in served.files.items():
            shutil.copyfile(bundle.dir / source, made / VERSION / expected)
        write_text(made / LABELS, "".join(f"{label}\n" for label in names))
        write_text(made / CONFIG, config)
    return folder


def _served(bundle: Bundle) -> Triton:
    found = get_backend(bundle.backend).triton
    if found is None:
        raise UserError(
            f"{bundle.dir} cannot be served by Triton",
            why=f"it has no backend for {bundle.backend}; its TensorRT backend loads plans of TensorRT alone",
            fix="build on the GPU machine with the TensorRT of its Triton container",
        )
    return found


def _check(bundle: Bundle, served: Triton) -> None:
    """An engine that Triton's own library loads may be of any version; others are of the version that is here."""
    if served.built_elsewhere:
        check_files(bundle, tuple(served.files))
    else:
        check_bundle(bundle, get_backend(bundle.backend).version(), tuple(served.files))


def _require_ours(folder: Path) -> None:
    """The whole folder is replaced, so that no file of another backend stays: raise if it holds anything else."""
    written = {CONFIG, LABELS, VERSION}
    others = sorted(path.name for path in folder.iterdir() if path.name not in written) if folder.is_dir() else []
    if others:
        raise UserError(
            f"{folder} is not replaced", f"it holds {', '.join(others[:5])}, which was not written here", "give --name"
        )


def config_text(bundle: Bundle, name: str, max_batch: int) -> str:
    """The model's `config.pbtxt`.

    Triton batches along a first dimension that the configuration leaves out, and only where `max_batch_size` is above
    zero. An engine of a fixed batch gets zero, all its dimensions, and no batching.
    """
    tensors, served = bundle.manifest["tensors"], _served(bundle)
    every = [*tensors["inputs"], *tensors["outputs"]]
    batched = all(tensor["shape"] and not isinstance(tensor["shape"][0], int) for tensor in every)
    fields: list[tuple[str, Any]] = [
        ("name", name),
        ("backend", served.backend),
        ("max_batch_size", min(max_batch, _profile_max(bundle)) if batched else 0),
        *(("input", _tensor(tensor, batched)) for tensor in tensors["inputs"]),
        *(("output", [*_tensor(tensor, batched), ("label_filename", LABELS)]) for tensor in tensors["outputs"]),
        ("instance_group", [("count", 1), ("kind", _Word(served.kind))]),
    ]
    if batched:
        fields.append(("dynamic_batching", [("max_queue_delay_microseconds", QUEUE_DELAY_US)]))
    fields += [
        ("parameters", [("key", key), ("value", [("string_value", value)])])
        for key, value in served.parameters(bundle.manifest).items()
    ]
    return _text(fields)


def _profile_max(bundle: Bundle) -> float:
    """Largest batch of a TensorRT engine's optimisation profile; other engines have no limit."""
    batch = bundle.manifest["options"].get("tensorrt", {}).get("batch")
    return batch["max"] if batch else math.inf


class _Word(str):
    """An enum value, which text format writes without quotes."""


def _tensor(tensor: Mapping[str, Any], batched: bool) -> list[tuple[str, Any]]:
    dims = [side if isinstance(side, int) else -1 for side in tensor["shape"][batched:]]
    if tensor["dtype"] not in _TYPES:
        raise UserError(f"Triton has no name here for tensor {tensor['name']} of {tensor['dtype']}")
    return [
        ("name", tensor["name"]),
        ("data_type", _Word(_TYPES[tensor["dtype"]])),
        *(("dims", side) for side in dims),
    ]


def _text(fields: Sequence[tuple[str, Any]], indent: str = "") -> str:
    """Protobuf text format: lists of pairs are messages, JSON escapes strings as text format does."""
    lines = []
    for key, value in fields:
        if isinstance(value, list):
            lines.append(f"{indent}{key} {{\n{_text(value, indent + '  ')}{indent}}}\n")
        else:
            shown = (
                json.dumps(value, ensure_ascii=False)
                if isinstance(value, str) and not isinstance(value, _Word)
                else value
            )
            lines.append(f"{indent}{key}: {shown}\n")
    return "".join(lines)

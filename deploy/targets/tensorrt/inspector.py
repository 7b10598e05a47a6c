"""Precision of each TensorRT layer, from the EngineInspector's JSON.

`IEngineInspector.get_engine_information` gives it, and `trtexec --exportLayerInfo` writes it. Keys by version: a
tensor's type is in `Format/Datatype`, together with its memory format, up to 10.x; 11.x has `DataType` and `Format`,
RTX `Datatype` and `Format`. Weights are in `Weights`, of a convolution with pooling in `ConvWeights`; RTX lists
`Constants`. `Metadata` came with 8.6. The engine's own tensors, `Bindings` up to 10.x and `I/O Tensors` since, are not
read: every layer lists its inputs and outputs. Sources: NVIDIA TensorRT documentation, "Engine Inspector" and
"Migrating IEngineInspector Usage from TensorRT 10.x to 11.x"; the layer lists of TensorRT 8 beside NVIDIA's
trt-engine-explorer; for RTX the log of its builder, which prints the same keys.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import UserError, one_line
from deploy.targets.base import LayerInfo
from deploy.targets.tensorrt.layer_kinds import Described, DescribedTensor, layers_of

_TYPE_KEYS = ("Datatype", "DataType", "Format/Datatype", "Format/DataType")
_OTHER_PROFILE = re.compile(r"\[profile \d+\]$")  # every profile but the first repeats all layers


def from_information(text: str, source: str) -> list[LayerInfo]:
    """Layers of one engine.

    Args:
        text: the inspector's output in its JSON format.
        source: origin of the text, for messages.

    Raises:
        UserError: there is no layer list, or it holds names only.
    """
    try:
        information = json.loads(text, strict=False)  # names may hold the separators of metadata
    except ValueError as error:
        raise UserError(f"{source} is not JSON", why=str(error)) from error
    layers = information.get("Layers") if isinstance(information, dict) else None
    if not isinstance(layers, list):
        raise UserError(
            f"{source} holds no layers of a TensorRT engine",
            why='there is no list "Layers"',
            fix="give a bundle's folder, a .plan or .engine file, or a file of trtexec --exportLayerInfo",
        )
    if not all(isinstance(layer, dict) and "LayerType" in layer for layer in layers):
        raise UserError(
            f"{source} names the layers and nothing else",
            why="the engine was not built with detailed profiling verbosity",
            fix="build it with trtexec --profilingVerbosity=detailed or ProfilingVerbosity.DETAILED",
        )
    try:
        return layers_of(_described(layer) for layer in layers if not _OTHER_PROFILE.search(layer["Name"]))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise UserError(
            f"{source} holds layers in an unknown form", why=one_line(error), fix="export it again"
        ) from error


def read_information(path: Path) -> list[LayerInfo]:
    """Layers of an engine from the file that `trtexec --exportLayerInfo` wrote; raises as `from_information` does."""
    return from_information(path.read_text(encoding="utf-8", errors="replace"), str(path))


def engine_information(trt: Any, logger: Any, engine: bytes, host_code: bool) -> str | None:
    """The inspector's JSON on a serialized engine; None where it cannot be loaded, for example without its GPU.

    Args:
        trt: `tensorrt` or `tensorrt_rtx`.
        host_code: allow the engine to contain host code, which a version-compatible engine does.
    """
    runtime = trt.Runtime(logger)
    if host_code:
        runtime.engine_host_code_allowed = True
    loaded = runtime.deserialize_cuda_engine(engine)
    if loaded is None:
        return None
    return str(loaded.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON))


def _described(layer: Mapping[str, Any]) -> Described:
    weights = layer.get("Weights") or layer.get("ConvWeights")
    return Described(
        name=layer["Name"],
        kind=layer["LayerType"],
        inputs=_tensors(layer, "Inputs"),
        outputs=_tensors(layer, "Outputs"),
        weights=weights and DescribedTensor((weights.get("Count", 0),), weights.get("Type", "")),
        constants=_tensors(layer, "Constants"),
        metadata=layer.get("Metadata", ""),
    )


def _tensors(layer: Mapping[str, Any], key: str) -> list[DescribedTensor]:
    return [DescribedTensor(_shape(tensor), _type(tensor)) for tensor in layer.get(key, ())]


def _shape(tensor: Mapping[str, Any]) -> tuple[int, ...]:
    """A dimension that is not a positive number is dynamic."""
    return tuple(side if isinstance(side, int) and side > 0 else 1 for side in tensor.get("Dimensions", ()))


def _type(tensor: Mapping[str, Any]) -> str:
    return next((str(tensor[key]) for key in _TYPE_KEYS if key in tensor), "")

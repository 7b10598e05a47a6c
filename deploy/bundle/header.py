"""A bundle's manifest in a few lines: its builder, its inputs and outputs, and its quantized part."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from deploy.bundle.types import Bundle

_SHOWN = ("backend", "precision", "version", "device", "source", "tensors", "meaning", "placement", "options", "files")
_HASH_DIGITS = 12


def header_json(bundle: Bundle) -> dict[str, Any]:
    """The same for programs, as the manifest has it."""
    return {key: bundle.manifest[key] for key in _SHOWN}


def header_lines(bundle: Bundle) -> list[tuple[str, str]]:
    """Label and text of each line."""
    manifest, meaning = bundle.manifest, bundle.manifest["meaning"]
    lines = [("engine", _engine(bundle)), ("device", _device(manifest))]
    kinds = {"input": _input(meaning), "output": str(meaning.get("output", ""))}
    for kind, says in kinds.items():
        lines += [(kind, _listed([_tensor(tensor), says])) for tensor in manifest["tensors"][f"{kind}s"]]
    if manifest.get("pixels"):
        lines.append(("blocks", _blocks(manifest["pixels"]["constants"])))
    if meaning.get("normalization"):
        lines.append(("pixels", _normalization(meaning["normalization"])))
    if meaning.get("classes"):
        names = [entry["name"] for entry in meaning["classes"]]
        lines.append(("classes", f"{len(names)}: {', '.join(names)}"))
    if bundle.precision == "int8":
        lines.append(("placement", _placement(manifest["placement"])))
    return lines


def _engine(bundle: Bundle) -> str:
    version, source = bundle.manifest["version"], bundle.manifest["source"]
    built = version if " " in version else f"{bundle.backend} {version}"  # TensorRT's names its package
    made_of = f"{source['name']} (sha256 {source['sha256'][:_HASH_DIGITS]}…)"
    return f"{bundle.backend} {bundle.precision}, built with {built} from {made_of}"


def _device(manifest: Mapping[str, Any]) -> str:
    device = manifest["device"]
    if "cpu" in device:
        needs = f", for CPUs with {' and '.join(device['cpu'])}" if device["cpu"] else ""
        return f"CPU, built on {manifest['cpu']['model']} ({' '.join(manifest['cpu']['flags'])}){needs}"
    if device["gpu"] is None:
        targets = manifest["options"].get("tensorrt", {}).get("compute_capabilities")
        return f"GPUs of compute capability {', '.join(targets)}" if targets else "GPUs of the builder's own choice"
    return f"GPU, built on {device['gpu']['name']} (compute capability {device['gpu']['compute_capability']})"


def _tensor(tensor: Mapping[str, Any]) -> str:
    sides = ", ".join("?" if side is None else str(side) for side in tensor["shape"])
    return f"{tensor['name']}: {tensor['dtype']} [{sides}] {tensor.get('layout') or ''}".rstrip()


def _input(meaning: Mapping[str, Any]) -> str:
    image = meaning.get("input", {})
    low_high = "{} to {}".format(*image["range"]) if "range" in image else ""
    return _listed([image.get("color", ""), low_high])


def _blocks(constants: Sequence[int]) -> str:
    side = math.isqrt(len(constants))
    return f"of {side}×{side} pixels: red, green, blue, and constants {' '.join(map(str, constants))}"


def _normalization(normalization: Mapping[str, Any]) -> str:
    mean, std = (" ".join(map(str, normalization[key])) for key in ("mean", "std"))
    return f"x → {normalization['of']}, {normalization['where']}; mean {mean}, std {std}"


def _placement(found: Mapping[str, Any]) -> str:
    how = [found.get("target", "of unknown origin"), "tuned" if found.get("tuned") else ""]
    unsigned = f" ({found['unsigned_activations']} as uint8)" if found["unsigned_activations"] else ""
    counts = (
        f"{found['activations']} activations{unsigned}, {found['weights']} weights, "
        f"{found['quantized_convolutions']} of {found['convolutions']} convolutions quantized"
    )
    skips = ", ".join(f"{rule} {count}" for rule, count in found.get("skips", {}).items())
    return f"{_listed(how)}: {counts}" + (f"; skips by rule: {skips}" if skips else "")


def _listed(parts: Iterable[str]) -> str:
    return ", ".join(filter(None, parts))

"""Engines from image to mask beside those of the network alone, and what their manifests say of input and classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from core.artifacts import read_json, write_json
from core.config import Config
from core.errors import UserError
from core.paths import RunPaths
from core.stages import Stage, ensure
from deploy import onnx_graph
from deploy.backends.base import Bundle
from deploy.bake import Form, Normalization, bake

BAKE_VERSION = 2  # raise when the graph that `deploy.bake` writes changes
MASK_SUFFIX = "-mask"
_FORMS: dict[str, Form] = {"trt": "resize"}


def write_classes(target: Path, names: tuple[str, ...], colors: tuple[tuple[int, int, int], ...]) -> None:
    """Names and RGB colours by class index, for manifests."""
    pairs = zip(names, colors, strict=True)
    write_json(target, [{"name": name, "color": list(color)} for name, color in pairs])


def tensors_of(onnx: Path) -> dict[str, list[dict[str, Any]]]:
    """Name, dtype and shape of each input and output of a graph; a dynamic side is a name or None."""
    graph = onnx_graph.load(onnx)
    return {
        kind: [{"name": item.name, "dtype": np.dtype(item.dtype).name, "shape": list(item.shape)} for item in tensors]
        for kind, tensors in (("inputs", graph.inputs), ("outputs", graph.outputs))
    }


def meaning_of(config: Config, paths: RunPaths, baked: Path) -> dict[str, Any]:
    """What goes into the mask engine built from `baked` and what comes out, as its manifest holds it.

    Raises:
        UserError: the run has no classes.json yet.
    """
    if not paths.classes.is_file():
        raise UserError(f"no {paths.classes}", why="the QAT stage has not run", fix="run `make qat`")
    data = config.data
    return {
        "kind": "mask",
        "input": {
            "layout": "NHWC",
            "color": "RGB",
            "dtype": "uint8",
            "height_px": data.height_px,
            "width_px": data.width_px,
        },
        "normalization": {"mean": list(data.mean), "std": list(data.std), "of": "x / 255, inside the engine"},
        "classes": read_json(paths.classes),
        "tensors": tensors_of(baked),
    }


def ensure_baked(config: Config, paths: RunPaths, source: Path, backend: str) -> Path:
    """The image → mask form of `source` for a backend, made if missing or stale; returns its file."""
    form = _FORMS.get(backend, "bands")
    target = source.with_name(f"{source.stem}{MASK_SUFFIX}-{form}.onnx")
    normalization = Normalization(config.data.mean, config.data.std)
    stage = Stage(
        name=f"bake {target.stem}",
        outputs=(target,),
        inputs=(source,),
        params={"mean": list(normalization.mean), "std": list(normalization.std), "version": BAKE_VERSION},
    )
    ensure(stage, paths.manifest, lambda: bake(source, target, normalization, form))
    return target


def mask_bundle_beside(bundle: Bundle) -> Path:
    """Folder of the image → mask engine of the same backend and precision."""
    return bundle.dir if is_mask(bundle) else bundle.dir.with_name(bundle.dir.name + MASK_SUFFIX)


def is_mask(bundle: Bundle) -> bool:
    """Whether the engine takes images and gives masks."""
    return bool(bundle.manifest.get("meaning", {}).get("kind") == "mask")

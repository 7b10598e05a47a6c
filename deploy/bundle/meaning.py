"""Engines from image to mask beside engines of the network alone, and the tensor entries in the manifests of both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from core.cli.naming import by_make
from core.config import Config
from core.errors import UserError
from core.files.artifacts import read_json, write_json
from core.files.paths import RunPaths
from core.stages import Stage, ensure
from deploy.apply.bake import Form, Normalization, bake
from deploy.bundle.types import Bundle

BAKE_VERSION = 3  # raise when the graph that `deploy.apply.bake` writes changes
MASK_SUFFIX = "-mask"
Kind = Literal["mask", "logits"]


def write_classes(target: Path, names: tuple[str, ...], colors: tuple[tuple[int, int, int], ...]) -> None:
    """Names and RGB colours by class index, for manifests."""
    pairs = zip(names, colors, strict=True)
    write_json(target, [{"name": name, "color": list(color)} for name, color in pairs])


def meaning_of(config: Config, paths: RunPaths, kind: Kind, *, pixels: bool = False) -> dict[str, Any]:
    """Return the meaning of the inputs and outputs of an engine of the run, as its manifest holds it.

    Args:
        kind: "mask" from image to label map, "logits" for the network alone.
        pixels: the network alone takes pixels, too.

    Raises:
        UserError: the run has no classes.json yet.
    """
    if not paths.classes.is_file():
        raise UserError(
            f"no {paths.classes}", why="the QAT stage has not run", fix=f"run `{by_make('qat')}` with the same config"
        )
    data, inside = config.data, pixels or kind == "mask"
    return {
        "kind": kind,
        "input": {
            "color": "RGB",
            "height_px": data.height_px,
            "width_px": data.width_px,
            "range": [0, 255] if inside else _range(data.mean, data.std),
        },
        "normalization": {
            "mean": list(data.mean),
            "std": list(data.std),
            "of": "(x / 255 - mean) / std",
            "where": "inside the engine" if inside else "before the engine",
        },
        "output": "class of each pixel" if kind == "mask" else "score of each class",
        "task": config.task,
        "classes": read_json(paths.classes),
    }


def _range(mean: Sequence[float], std: Sequence[float]) -> list[float]:
    """Smallest and largest value that a normalised image can have."""
    pairs = list(zip(mean, std, strict=True))
    return [round(min(-m / s for m, s in pairs), 4), round(max((1 - m) / s for m, s in pairs), 4)]


def ensure_baked(config: Config, paths: RunPaths, source: Path, form: Form) -> Path:
    """The image → mask graph of `source` in that form, made if missing or stale; returns its file."""
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
    """Return True if the engine takes images and gives masks."""
    return bool(bundle.manifest.get("meaning", {}).get("kind") == "mask")

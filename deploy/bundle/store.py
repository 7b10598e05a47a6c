"""A built engine on disk: its files and a manifest that says what they are and what made them."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from core.errors import UserError
from core.files.artifacts import folder_atomic, read_json, sha256_file, write_json
from core.versions import installed
from deploy.apply.feed_pixels import pixels_of
from deploy.bundle.advice import MANIFEST, engines_near, rebuild
from deploy.bundle.graph_facts import quantized_in, read_graph, tensors_of
from deploy.bundle.manifest import manifest_problems, threads_of
from deploy.bundle.types import BuildOptions, Bundle, Precision
from deploy.hardware.cpu import abilities, cpu_flags, cpu_model
from deploy.hardware.machine import require_threads

SCHEMA_VERSION = 2
SHOWN_PROBLEMS = 5
_ABOUT = ("meaning", "placement")
_TOOLS = ("onnx", "onnx-graphsurgeon", "polygraphy", "numpy")


class Builder(Protocol):
    """The facts that a manifest states of a backend."""

    name: str

    def version(self) -> str:
        """Version of the vendor's library."""

    def device(self, precision: Precision) -> Mapping[str, Any]:
        """The part of this machine that decides how `precision` is built."""


def write_bundle(
    out: Path,
    backend: Builder,
    options: BuildOptions,
    source: Path,
    fill: Callable[[Path], Mapping[str, Any]],
    facts: Mapping[str, Any] | None = None,
) -> Bundle:
    """Let `fill` write the engine files into an empty folder, describe them, and put the folder at `out`.

    An older bundle at `out` is replaced only after `fill` succeeded.

    Args:
        backend: the builder.
        options: of the builder.
        source: the file it is built from.
        fill: writes the files and returns what else belongs in the manifest (how they are to be opened).
        facts: `tensors` and `placement` of a source that is not ONNX.
    """
    if facts is None:
        graph = read_graph(source)
        facts = {"tensors": tensors_of(graph), "placement": quantized_in(graph)}
        pixels = pixels_of(graph.doc_string)
        facts |= {"pixels": pixels} if pixels else {}
    with folder_atomic(out) as folder:
        extra = fill(folder)
        files = {path.name: sha256_file(path) for path in sorted(folder.iterdir())}
        manifest = {
            "schema": SCHEMA_VERSION,
            "backend": backend.name,
            "version": backend.version(),
            "precision": options.precision,
            "options": {key: value for key, value in vars(options).items() if key not in _ABOUT},
            "device": backend.device(options.precision),
            "tensors": facts["tensors"],
            "meaning": dict(options.meaning),
            **({"pixels": facts["pixels"]} if "pixels" in facts else {}),
            "placement": {**options.placement, **facts["placement"]},
            "source": {"name": source.name, "sha256": sha256_file(source)},
            "files": files,
            "cpu": {"model": cpu_model(), "flags": sorted(cpu_flags())},
            "platform": platform.platform(),
            "tools": installed(_TOOLS),
            **extra,
        }
        write_json(folder / MANIFEST, manifest)
    return Bundle(out, backend.name, options.precision, manifest)


def read_bundle(folder: Path) -> Bundle:
    """The bundle in `folder`; raises `UserError` when there is none, or its manifest is not one of this version."""
    path = folder / MANIFEST
    if not path.is_file():
        raise UserError(f"no engine bundle in {folder}", why=f"{MANIFEST} is missing", fix=engines_near(folder))
    try:
        manifest = read_json(path)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged", why=f"it is not JSON: {error}", fix=rebuild(folder)) from error
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if schema != SCHEMA_VERSION:
        raise UserError(f"{path} is of schema {schema!r:.20}, not {SCHEMA_VERSION}", fix=rebuild(folder))
    found = manifest_problems(manifest)
    if found:
        raise UserError(f"{path} is damaged", why="; ".join(found[:SHOWN_PROBLEMS]), fix=rebuild(folder))
    return Bundle(folder, manifest["backend"], manifest["precision"], manifest)


def check_bundle(bundle: Bundle, version: str, loaded: Sequence[str]) -> None:
    """Refuse a changed or foreign engine before a byte of it is deserialized: an engine is native code.

    Args:
        version: of the vendor's library here.
        loaded: every file of the bundle that is going to be loaded.

    Raises:
        UserError: a file is missing, its hash differs, or it was built with another version than `version`, for a
            CPU that has more than this one, or for more of them.
    """
    check_files(bundle, loaded)
    built = bundle.manifest["version"]
    if built != version:
        raise UserError(f"{bundle.dir}: built with {bundle.backend} {built}, have {version}", fix=rebuild(bundle.dir))
    require_threads(threads_of(bundle.manifest), str(bundle.dir), f"{rebuild(bundle.dir)} for fewer threads")
    lost = [name for name in bundle.manifest["device"].get("cpu", ()) if name not in abilities()]
    if lost:
        raise UserError(
            f"{bundle.dir}: built for a CPU with {' and '.join(lost)}, have {cpu_model()} without",
            fix=rebuild(bundle.dir),
        )


def check_files(bundle: Bundle, loaded: Sequence[str]) -> None:
    """Raise `UserError` unless every file is there and is the one that was built, each of `loaded` among them."""
    unknown = [name for name in loaded if name not in bundle.manifest["files"]]
    if unknown:
        raise UserError(
            f"{bundle.dir / MANIFEST} is damaged",
            why=f"files: {', '.join(unknown)} is missing, which {bundle.backend} loads",
            fix=rebuild(bundle.dir),
        )
    for name, expected in bundle.manifest["files"].items():
        path = bundle.dir / name
        if not path.is_file() or sha256_file(path) != expected:
            what = "changed since it was built" if path.is_file() else "missing"
            raise UserError(
                f"{path} is {what}", why="it is not loaded unless its hash matches", fix=rebuild(bundle.dir)
            )

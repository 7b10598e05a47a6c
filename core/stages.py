"""Re-run a stage only when something it depends on changed, and say what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.console import say
from core.course import current
from core.errors import UserError
from core.files.artifacts import discard_unfinished, read_json, sha256_file, sha256_json, write_json
from core.run_lock import claim

SCHEMA_VERSION = 1
LONGEST_VALUE = 80  # in messages, in characters


@dataclass(frozen=True)
class Stage:
    """One step of the line.

    Attributes:
        name: key in the manifest, shown to the user.
        outputs: files the step writes.
        inputs: files it reads; a changed hash makes the stage stale.
        params: JSON values it depends on (config sections, rule-set and tool versions).
        editable: outputs that a user may change by hand; a changed one does not make the stage stale.
    """

    name: str
    outputs: Sequence[Path]
    inputs: Sequence[Path] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    editable: Sequence[Path] = ()


def stale_reasons(stage: Stage, manifest: Path) -> list[str]:
    """The reasons why `stage` must run again; an empty list means its outputs are current."""
    record = _load(manifest)["stages"].get(stage.name)
    missing = [path.name for path in stage.outputs if not path.exists()]
    absent = [path for path in stage.inputs if not path.exists()]
    if absent:
        raise UserError(f"{stage.name} needs {', '.join(map(str, absent))}", why="no such file")
    if record is None:
        return [f"{', '.join(missing)} not made yet" if missing else "no record of how it was made"]
    if missing:
        return [f"{', '.join(missing)} missing"]
    reasons = []
    made = [path for path in stage.outputs if path not in stage.editable]
    for kind, paths in (("inputs", stage.inputs), ("outputs", made)):
        recorded = record[kind]
        reasons += [f"{path.name} changed" for path in paths if recorded.get(str(path)) != sha256_file(path)]
    for key in sorted(set(stage.params) | set(record["params"])):
        old, new = record["params"].get(key), stage.params.get(key)
        if sha256_json(old) != sha256_json(new):
            reasons.append(_difference(key, old, new))
    return reasons


def ensure(stage: Stage, manifest: Path, build: Callable[[], None]) -> bool:
    """Run `build` if the stage is stale, then record hashes in `manifest`. Returns whether it ran.

    Raises:
        UnsupportedEnvironment: another process works in the folder of `manifest`.
        UserError: an input is missing, or `build` left an output out.
    """
    if not begin(stage, manifest):
        return False
    build()
    record(stage, manifest)
    return True


def begin(stage: Stage, manifest: Path) -> bool:
    """Say whether the stage runs, and why, and clear its outputs if it does; returns whether it must run."""
    claim(manifest.parent)
    reasons = stale_reasons(stage, manifest)
    if not reasons:
        edited = [path.name for path in stage.editable if edited_since(path, manifest)]
        current().is_current(stage.name, f"{', '.join(edited)} was edited by hand and is kept" if edited else "")
        return False
    current().starts(stage.name, reasons)
    clear_outputs(stage, manifest)
    return True


def clear_outputs(stage: Stage, manifest: Path) -> None:
    """Before `stage` runs: remove halves of files that a killed run left, and put aside what a user edited."""
    for path in (*stage.outputs, manifest):
        discard_unfinished(path)
    for path in stage.editable:
        if edited_since(path, manifest):
            kept = path.with_name(f"{path.stem}.edited{path.suffix}")
            path.replace(kept)
            say(f"{stage.name}: makes {path.name} again; the one edited by hand is now {kept}")


def edited_since(path: Path, manifest: Path) -> bool:
    """Return True if the file `path` differs from the record in `manifest` of the stage that made it."""
    recorded = [
        stage["outputs"][str(path)] for stage in _load(manifest)["stages"].values() if str(path) in stage["outputs"]
    ]
    return bool(recorded) and path.is_file() and sha256_file(path) not in recorded


def record(stage: Stage, manifest: Path) -> None:
    """Write down in `manifest` the outputs of `stage`, which has just run, and its inputs."""
    lost = [str(path) for path in stage.outputs if not path.is_file()]
    if lost:
        raise UserError(f"{stage.name} ended without {', '.join(lost)}", fix="run the command again")
    content = _load(manifest)
    content["stages"][stage.name] = {
        "outputs": {str(path): sha256_file(path) for path in stage.outputs},
        "inputs": {str(path): sha256_file(path) for path in stage.inputs},
        "params": dict(stage.params),
    }
    write_json(manifest, content)


def _load(manifest: Path) -> dict[str, Any]:
    """Records of earlier stages; none where the file is damaged or of another version: all stages run again then."""
    try:
        content = read_json(manifest)
    except (FileNotFoundError, ValueError, RecursionError):
        content = None
    if isinstance(content, dict) and content.get("schema") == SCHEMA_VERSION:
        stages = content.get("stages")
        if isinstance(stages, dict) and all(map(_is_record, stages.values())):
            return content
    return {"schema": SCHEMA_VERSION, "stages": {}}


def _is_record(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(key), dict) for key in ("inputs", "outputs", "params"))


def _difference(key: str, old: Any, new: Any) -> str:
    """Name the innermost key that changed, so that the user sees `train.lr` and not a page of config."""
    if isinstance(old, dict) and isinstance(new, dict):
        for inner in sorted(set(old) | set(new)):
            if old.get(inner) != new.get(inner):
                return _difference(f"{key}.{inner}", old.get(inner), new.get(inner))
    return f"{key}: {_short(old)} → {_short(new)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"

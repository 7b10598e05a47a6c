"""The way to a working engine, for messages: never a command that would train or build another run."""

from __future__ import annotations

import difflib
from pathlib import Path

from core.cli.naming import by_make, command
from core.files.artifacts import read_json
from core.files.paths import RunPaths

ENGINES, MANIFEST, RESULT = Path("engines"), "manifest.json", "quantize.json"
SHOWN = 4


def rebuild(folder: Path) -> str:
    """A sentence that names the command which made the engine in `folder`, for building it again."""
    config = RunPaths(folder.parent.name).config
    if config.is_file() and folder.parent.parent.resolve() == ENGINES.resolve():
        return f"run `{by_make('engine', config)}`"
    try:
        return f"run `{read_json(folder.parent / RESULT)['command']}`"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "build it again as it was built"


def engines_near(folder: Path) -> str:
    """A sentence that lists the engines there are, those first whose path is like `folder`."""
    beside = folder.parent.glob("*/") if folder.parent.is_dir() else folder.parent.parent.glob("*/*/")
    known = sorted({str(each) for each in (*beside, *ENGINES.glob("*/*/")) if _is_engine(each)})
    if not known:
        return f"there are no engines yet; `{command('--help')}` lists the commands that build one"
    known.sort(key=lambda name: -difflib.SequenceMatcher(None, str(folder), name).ratio())
    more = f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
    return f"engines: {', '.join(known[:SHOWN])}{more}"


def _is_engine(folder: Path) -> bool:
    try:
        return "backend" in read_json(folder / MANIFEST)
    except (OSError, ValueError, TypeError, RecursionError):
        return False

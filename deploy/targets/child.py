"""Runs a step in a separate Python process, so that a crash in a vendor's native code ends only that step."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.files.artifacts import read_json, write_json
from core.files.paths import ROOT

_REQUEST, _REFUSAL, _OUTPUT = "request.json", "refusal.json", "output.txt"


class ChildFailed(RuntimeError):
    """The process ended without a result: a signal killed it, or it raised an error other than `UserError`."""


def run_in_child(module: str, request: Mapping[str, Any], folder: Path) -> None:
    """Run `python -m module folder` and wait; `module` ends in `serve(step)`, and the step writes its results to
    `folder`.

    Args:
        request: JSON for the step.
        folder: empty; belongs to the child while it runs.

    Raises:
        UserError: the step raised it.
        ChildFailed: any other failure; the message names the signal or ends with the process's last output.
    """
    write_json(folder / _REQUEST, dict(request))
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    with open(folder / _OUTPUT, "wb") as output:
        ended = subprocess.run(
            [sys.executable, "-m", module, str(folder)],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    refusal = folder / _REFUSAL
    if refusal.is_file():
        raise UserError(**read_json(refusal))
    if ended.returncode:
        raise ChildFailed(f"{module} {_ending(ended.returncode)}{_last_words(folder / _OUTPUT)}")


def serve(step: Callable[[Mapping[str, Any], Path], None]) -> None:
    """Run `step(request, folder)` in the child, and write a `UserError` to a file for the parent."""
    folder = Path(sys.argv[1])
    try:
        step(read_json(folder / _REQUEST), folder)
    except UserError as error:
        write_json(folder / _REFUSAL, {"what": error.what, "why": error.why, "fix": error.fix})


def _ending(code: int) -> str:
    if code > 0:
        return f"failed with exit code {code}"
    names = {number.value: number.name for number in signal.Signals}
    return f"crashed in native code ({names.get(-code, f'signal {-code}')})"


def _last_words(output: Path) -> str:
    lines = output.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f": {lines[-1]}" if lines else ""

"""Commands as a user starts them, and assertions on refusals."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Outcome:
    """Exit code and the text of both streams."""

    code: int
    out: str
    err: str

    def refuses(self, code: int, *words: str) -> None:
        """Assert one message that holds `words`, this exit code, and no traceback."""
        assert self.code == code, self.err
        assert "Traceback" not in self.err + self.out, self.err
        assert [line for line in self.err.splitlines() if line.startswith("error: ")], self.err
        assert self.err.count("error: ") == 1, self.err
        for word in words:
            assert word in self.err, self.err


def start(
    *arguments: object,
    folder: Path,
    before: Callable[[], None] | None = None,
    text: bool = True,
    **environment: str,
) -> subprocess.Popen[Any]:
    """Start `python *arguments` in `folder`; `before` runs in the new process."""
    inherited = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.Popen(
        [sys.executable, *map(os.fspath, map(_text, arguments))],
        cwd=folder,
        env=inherited,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=before,
        text=text,
    )


def finish(process: subprocess.Popen[str], timeout_s: float = 120) -> Outcome:
    """The outcome of the ended process."""
    out, err = process.communicate(timeout=timeout_s)
    return Outcome(process.returncode, out, err)


def call(program: str, *arguments: object) -> int:
    """Run `main()` of a module such as `deploy.__main__` in this process, with the test's streams and folder."""
    main = importlib.import_module(program).main
    before, sys.argv = sys.argv, [program, *map(str, arguments)]
    try:
        return int(main() or 0)
    finally:
        sys.argv = before


def options(overrides: list[str], config: Path) -> list[str]:
    """The options `--config` and `--set` of a command line."""
    return ["--config", str(config), *(word for override in overrides for word in ("--set", override))]


def edit_json(path: Path, change: Callable[[Any], Any]) -> None:
    """Replace the JSON in `path` by the result of `change`, or by the value that `change` edited."""
    content = json.loads(path.read_text(encoding="utf-8"))
    changed = change(content)
    path.write_text(json.dumps(content if changed is None else changed), encoding="utf-8")


def files_below(folder: Path) -> dict[str, bytes]:
    """Contents by path, hidden files included: a half-written file would show."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _text(argument: object) -> Any:
    return argument if isinstance(argument, str | bytes | os.PathLike) else str(argument)

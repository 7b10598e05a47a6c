"""Commands in messages, as the reader can type them in this folder."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

from core.files.paths import ROOT

PROGRAM = "pidnet-int8"
_INSTALL = {"setup": f"pip install {PROGRAM}", "peers": f"pip install '{PROGRAM}[peers]'"}  # targets without a verb


def command(verb: str, *words: str) -> str:
    """`pidnet-int8 VERB WORDS…`, with the path of the program where the shell would not find it."""
    return f"{_program()} {shlex.join([verb, *words])}"


def by_make(target: str, config: Path | None = None) -> str:
    """`make TARGET` in the checkout; elsewhere, where there is no such Makefile, the command that does the same."""
    if _in_checkout():
        return f"make {target}" + (f" CONFIG={shlex.quote(str(config))}" if config else "")
    options = ["--config", str(config)] if config else []
    return _INSTALL.get(target) or command(target, *options)


def words_after(verb: str) -> list[str]:
    """The command line of this process after the program and, where it was named, the verb."""
    words = sys.argv[1:]
    return words[1:] if words[:1] == [verb] else words


def _in_checkout() -> bool:
    makefile = Path("Makefile")
    return makefile.is_file() and (ROOT / makefile).is_file() and makefile.samefile(ROOT / makefile)


def _program() -> str:
    installed = Path(sys.executable).parent / PROGRAM
    if not installed.is_file():
        return "python -m benchmarks"
    found = shutil.which(PROGRAM)
    if found is not None and Path(found).samefile(installed):
        return PROGRAM
    here = Path.cwd()
    return shlex.quote(str(installed.relative_to(here) if installed.is_relative_to(here) else installed))

"""Scripts started with any Python go on in the project's own environment. Standard library only."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from core.cli.naming import by_make
from core.errors import UnsupportedEnvironment
from core.files.paths import ROOT

# Each script needs these before it can say anything more useful itself.
NEEDED = ("pydantic", "yaml", "rich", "numpy", "onnx", "torch")

# Libraries read these once, when the process starts or they are loaded. The Makefile exports the same.
# - glibc gives large freed blocks back to the kernel and faults them in again on the next inference, up to half of
#   its time.
# - OpenMP's threads spin while they wait for work, and take the CPU from a second training on the same machine.
SETTINGS = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "1073741824", "OMP_WAIT_POLICY": "passive"}


def use_project_environment(needed: Sequence[str] = NEEDED, root: Path = ROOT) -> None:
    """Return if this process has what it needs, else start the same command again in one that has.

    The command is replaced (`exec`), so arguments, streams and exit code stay the caller's. It happens when a package
    of `needed` cannot be imported and `.venv` exists, and on Linux when one of `SETTINGS` is not set.
    Exits with `UnsupportedEnvironment`'s message and code when there is no environment to switch to.
    """
    missing = missing_packages(needed)
    venv = root / ".venv"
    python = venv / "bin" / "python"
    if missing and (Path(sys.prefix).resolve() == venv.resolve() or not python.exists()):
        error = UnsupportedEnvironment(
            f"this needs {', '.join(missing)}, which {sys.executable} does not have",
            why=f"{venv} is incomplete" if python.exists() else f"there is no environment in {venv}",
            fix=f"run `{by_make('setup')}`, then the same command again",
        )
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code)
    environment = settled_environment(os.environ) if sys.platform == "linux" else dict(os.environ)
    if missing:
        print(f"using {python} (no {', '.join(missing)} in {sys.executable})", file=sys.stderr, flush=True)
    elif environment == dict(os.environ):
        return
    interpreter = str(python) if missing else sys.executable
    sys.stdout.flush()
    os.execve(interpreter, [interpreter, *sys.orig_argv[1:]], environment)


def missing_packages(needed: Sequence[str]) -> list[str]:
    """Those of `needed` that this interpreter cannot find; nothing is imported."""
    return [name for name in needed if importlib.util.find_spec(name) is None]


def settled_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` with `SETTINGS` added; those the user set are kept."""
    return {**SETTINGS, **environment}

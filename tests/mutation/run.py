"""Mutation test: checks that tests notice changes of the placement rules, of Q/DQ insertion, and of `verify`.

python -m tests.mutation.run [--only PART] [--out FILE]

Each mutant runs in a forked process that has the vendors' packages loaded already. A mutant that no test of its list
notices is a survivor; it is either equivalent or a test is missing. docs/testing.md has the last score.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import pickle
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.mutation.mutants import Mutant, mutants

ROOT = Path(__file__).parents[2]
RULES = sorted(path for path in (ROOT / "deploy/placement/rules").glob("*.py") if path.name != "__init__.py")
FILES = [*RULES, ROOT / "deploy/apply/insert.py", ROOT / "deploy/checks/verify.py"]
# Quick tests first; slower tests run on mutants that they do not notice.
SLOWER = ("tests/unit/deploy/placement/test_partial.py", "tests/unit/deploy/placement/test_patterns.py")
QUICK_RULES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests/rules").glob("test_*.py"))
QUICK = {
    "rules": [path for path in QUICK_RULES if path not in SLOWER],
    "insert.py": ["tests/unit/deploy/apply/test_passes.py", "tests/unit/deploy/apply/test_qdq.py"],
    "verify.py": ["tests/unit/deploy/checks/test_verify.py"],
}
WHOLE = {
    "rules": ["tests/unit/deploy/apply/test_place.py", "tests/property/test_random_placement.py"],
    "insert.py": ["tests/unit/deploy/apply", "tests/property/test_random_placement.py"],
    "verify.py": ["tests/unit/deploy/apply/test_place.py", "tests/property/test_random_placement.py"],
}
VENDORS = (
    *("numpy", "onnx", "onnx_graphsurgeon", "onnxruntime", "torch", "hypothesis", "pytest", "pydantic", "cv2"),
    *("onnxscript", "torch.onnx._internal.exporter._core"),
)
LIMIT_S = 600
PREBUILT = "exported.pickle"


class Instead(importlib.abc.MetaPathFinder, importlib.abc.SourceLoader):
    """Imports one module from changed source instead of its file."""

    def __init__(self, name: str, path: Path, source: str) -> None:
        self.name, self.path, self.source = name, path, source

    def find_spec(self, name: str, _path: object, _target: object = None) -> importlib.machinery.ModuleSpec | None:
        return importlib.util.spec_from_loader(name, self, origin=str(self.path)) if name == self.name else None

    def get_filename(self, _name: str) -> str:
        return str(self.path)

    def get_data(self, _path: str | bytes) -> bytes:
        return self.source.encode()


def export_once(folder: Path) -> None:
    """Export the test network in a separate process; every mutant's tests get these files (`noticed`)."""
    child = os.fork()
    if child == 0:
        from tests.nets.exported import export

        (folder / PREBUILT).write_bytes(pickle.dumps(export(folder)))
        os._exit(0)
    os.waitpid(child, 0)


def noticed(file: Path, mutant: Mutant, tests: Sequence[str], prebuilt: Path) -> bool:
    """Return True if a test fails, crashes or does not end with the mutant in place of its file."""
    child = os.fork()
    if child == 0:
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        sys.meta_path.insert(0, Instead(name, file, mutant.source))
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        signal.alarm(LIMIT_S)
        code = 1
        with contextlib.suppress(BaseException):
            import pytest

            from tests.nets import exported

            found = pickle.loads((prebuilt / PREBUILT).read_bytes())
            exported.export = lambda _folder: found
            code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow and not gpu", *tests]))
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0


def tests_of(file: Path, table: dict[str, list[str]]) -> list[str]:
    """The tests of a table that must notice a change of `file`; its own come first."""
    own = [path for path in QUICK["rules"] if path.endswith(f"/test_{file.stem}.py") and table is QUICK]
    return [*own, *table.get(file.name, table["rules"])]


def main() -> int:
    """Print every survivor and the score of each file; 1 when a file's tests fail without any mutant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="PART", help="files whose path holds this")
    parser.add_argument("--out", type=Path, help="write the lines to this file, too")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    for vendor in VENDORS:
        importlib.import_module(vendor)
    found = survived = 0
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(open(arguments.out, "a", encoding="utf-8")) if arguments.out else None
        prebuilt = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        export_once(prebuilt)

        def tell(line: str) -> None:
            print(line, file=sys.stdout, flush=True)
            if log:
                print(line, file=log, flush=True)

        for file in FILES:
            shown = file.relative_to(ROOT).as_posix()
            if arguments.only not in shown:
                continue
            source, started = file.read_text(encoding="utf-8"), time.monotonic()
            if any(
                noticed(file, Mutant(source, 0, "none"), tests_of(file, table), prebuilt) for table in (QUICK, WHOLE)
            ):
                tell(f"{shown}: its tests fail already")
                return 1
            alive = made = list(mutants(source))
            for table in (QUICK, WHOLE):
                alive = [mutant for mutant in alive if not noticed(file, mutant, tests_of(file, table), prebuilt)]
                tell(f"{shown}: {len(alive)} of {len(made)} left, {time.monotonic() - started:.0f} s")
            found, survived = found + len(made), survived + len(alive)
            for mutant in alive:
                tell(f"{shown}:{mutant.line}: {mutant.change}")
        tell(f"all: {found - survived} of {found} mutants noticed")
    return 0


if __name__ == "__main__":
    sys.exit(main())

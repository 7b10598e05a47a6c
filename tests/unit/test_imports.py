"""Importing the project changes nothing of the process: that is a command's business (core/cli/command.py)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("core", "deploy", "qat", "benchmarks")
# Vendors may settle things when they are imported; they come first, so that only changes of ours are left.
VENDORS = ("cv2", "torch", "onnx", "onnxruntime", "onnxscript", "openvino", "accelerate", "modelopt.torch.quantization")
SCRIPT = """
import contextlib, importlib, json, logging, os, signal, sys, warnings
modules, vendors = json.loads(sys.argv[1])
for name in vendors:
    with contextlib.suppress(ModuleNotFoundError):
        importlib.import_module(name)

def state():
    cv2, torch = sys.modules.get("cv2"), sys.modules.get("torch")
    loggers = [logging.getLogger(), *map(logging.getLogger, logging.root.manager.loggerDict)]
    return {
        "cv2 threads": cv2 and cv2.getNumThreads(),
        "cv2 log level": cv2 and cv2.utils.logging.getLogLevel(),
        "torch threads": torch and torch.get_num_threads(),
        "torch gradients": torch and torch.is_grad_enabled(),
        "sys.path": list(sys.path),
        "environment": dict(os.environ),
        "log levels": {item.name: item.level for item in loggers if item.level},
        "log handlers": {item.name: len(item.handlers) for item in loggers if item.handlers},
        "logging disabled": logging.root.manager.disable,
        "warnings filters": list(map(str, warnings.filters)),
        "hooks": [str(sys.excepthook), str(sys.stdout), str(sys.stderr)],
        "SIGTERM": str(signal.getsignal(signal.SIGTERM)),
    }

changed, before = {}, state()
for name in modules:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name.partition(".")[0] in PACKAGES:
            raise
    after = state()
    if found := [key for key in before if before[key] != after[key]]:
        changed[name] = found
    before = after
print(json.dumps({"changed": changed, "imported": sum(name in sys.modules for name in modules)}))
""".replace("PACKAGES", repr(PACKAGES))


def modules(root: Path) -> list[str]:
    """Every module below the packages in `root`, by its dotted name."""
    files = (file.relative_to(root) for name in PACKAGES for file in sorted((root / name).rglob("*.py")))
    return [".".join(file.with_suffix("").parts).removesuffix(".__init__") for file in files]


def imported(root: Path, vendors: tuple[str, ...]) -> dict[str, object]:
    """The changes that importing all modules of `root` makes in a new process, and the number of modules."""
    names = modules(root)
    command = [sys.executable, "-c", SCRIPT, json.dumps([names, vendors])]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]) | {"modules": len(names)}


def test_importing_every_module_changes_nothing_of_the_process():
    found = imported(ROOT, VENDORS)
    assert found["changed"] == {}
    assert found["imported"] > 300 and found["imported"] >= found["modules"] - 2, "but for those of absent vendors"


@pytest.mark.parametrize(
    "line, what",
    [
        ("import cv2; cv2.setNumThreads(cv2.getNumThreads() + 1)", "cv2 threads"),
        ("import sys; sys.path.append('/nowhere')", "sys.path"),
        ("import logging; logging.getLogger('torch').setLevel(40)", "log levels"),
        ("import warnings; warnings.simplefilter('ignore')", "warnings filters"),
    ],
)
def test_such_a_change_would_be_seen(tmp_path, line, what):
    for name in PACKAGES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    (tmp_path / "core" / "rude.py").write_text(line)
    assert imported(tmp_path, ("cv2",))["changed"] == {"core.rude": [what]}

"""Commands start at once: slow packages are imported only when they are needed."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
SLOW = ("torch", "modelopt", "onnxscript", "sympy", "scipy", "openvino", "tensorrt_rtx")
TOLD = f"print(*[name for name in {SLOW} if name in sys.modules])"
STARTS = (
    "qat",
    "qat.__main__",
    "deploy.__main__",
    "benchmarks.run",
    "benchmarks.report.__main__",
    "benchmarks.peers",
    "benchmarks.sweep",
    "benchmarks.qat_table",
    "benchmarks.gpu_check",
    "sensitivity_analysis",
)


def imported(code):
    """The slow packages that `code` imports in a new process."""
    command = [sys.executable, "-c", f"import sys; {code}; {TOLD}"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()


def test_no_command_imports_them_to_parse_its_words():
    assert imported(f"import {', '.join(STARTS)}") == []


def test_training_and_analysis_import_no_toolkit_and_no_exporter_before_they_use_them():
    found = imported("from qat.pipeline import run; from qat.sensitivity import load")
    assert "torch" in found and not {"modelopt", "onnxscript", "openvino", "tensorrt_rtx"} & {*found}

"""OpenVINO leaves Python's signal handlers too little stack; it is large again after each compiled model."""

import subprocess
import sys

import pytest

from deploy.hardware.signal_stack import BYTES

PROGRAM = """
import faulthandler, signal, subprocess, sys
from deploy.targets.openvino.engine import compile_model
from deploy.hardware import signal_stack
faulthandler.enable()
before = signal_stack.size()
model = compile_model(sys.argv[1], {})
caught = []
signal.signal(signal.SIGCHLD, lambda *_: caught.append(1))
subprocess.run([sys.executable, "-c", "pass"], check=True)
print(before, signal_stack.size(), len(caught))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="alternate signal stacks are looked at on Linux only")
def test_handlers_have_room_after_a_model_was_compiled(exported):
    pytest.importorskip("openvino")
    command = [sys.executable, "-c", PROGRAM, exported.fp32]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    before, after, caught = map(int, done.stdout.split())
    assert before > 0 and after == BYTES and caught >= 1  # OpenVINO may start child processes

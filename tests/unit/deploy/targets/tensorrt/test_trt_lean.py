"""The session code, its doubles and the inspector against the genuine Python bindings of TensorRT 11.

`tensorrt-lean-cu13` has no builder and no inspector, but the same runtime classes as `tensorrt`. Without a driver its
runtime is an empty shell, and a plan given to it ends the process in native code. Engines are therefore never opened
before `runnable` has found a GPU, and the test below does it in a process of its own.
"""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.unit.deploy.targets.tensorrt.trt_doubles import Engine, ExecutionContext, Machine
from tests.unit.deploy.targets.tensorrt.trt_surface import BUILDER, FUNCTIONS, NEWER, RUNTIME, missing

trt = pytest.importorskip("tensorrt_lean_bindings", reason="pip install tensorrt-lean-cu13-bindings and -libs")
ROOT = Path(__file__).parents[5]
NOT_IN_LEAN = {"IBuilderConfig", "INetworkDefinition"}
MACHINE = Machine()
DOUBLES = {"Runtime": MACHINE.trt.Runtime("logger"), "ICudaEngine": Engine(MACHINE)}
DOUBLES["IExecutionContext"] = ExecutionContext(MACHINE)
METHODS = [
    (name, member)
    for name, double in DOUBLES.items()
    for member in RUNTIME[name]
    if callable(getattr(double, member, None))
]


def test_names():
    builder = {name: members for name, members in BUILDER.items() if name not in NOT_IN_LEAN}
    assert [missing(trt, surface) for surface in (RUNTIME, builder, NEWER)] == [[], [], []]
    assert trt.LayerInformationFormat.JSON
    assert hasattr(trt.ICudaEngine, "create_engine_inspector")
    assert not hasattr(trt, "CudaGraphStrategy")  # by which the session knows TensorRT-RTX
    assert all(callable(getattr(trt, name)) for name in FUNCTIONS)
    assert trt.nptype(trt.float32) is np.float32


def test_names_that_11_took_away_are_gone():
    gone = {"ICudaEngine": ("num_bindings", "get_binding_name"), "IExecutionContext": ("execute_async_v2",)}
    assert len(missing(trt, gone)) == 3
    assert not hasattr(trt.BuilderFlag, "INT8")


def overloads(name: str, member: str) -> list[tuple[int, int]]:
    """Fewest and most arguments, without self, of each signature in the vendor's docstring."""
    text = getattr(getattr(trt, name), member).__doc__
    found = re.findall(rf"{member}\((self: .*?)\) ->", text)
    assert found, f"{name}.{member} documents no signature"
    # every parameter is `name: type`, and one of them may be `name: type = default`
    counts = [(len(re.findall(r"\w+: ", each)) - 1, each.count(" = ")) for each in found]
    return [(most - optional, most) for most, optional in counts]


@pytest.mark.parametrize(("name", "member"), METHODS, ids=".".join)
def test_doubles_take_the_vendors_number_of_arguments(name, member):
    parameters = inspect.signature(getattr(DOUBLES[name], member)).parameters.values()
    most = len(parameters)
    fewest = sum(parameter.default is parameter.empty for parameter in parameters)
    assert (fewest, most) in overloads(name, member)


CHILD = """
import sys
import tensorrt_lean_bindings as trt
from deploy.targets.tensorrt.inspector import engine_information
sys.stdout.write(str(engine_information(trt, trt.Logger(trt.Logger.ERROR), b"no plan at all", host_code=False)))
"""


def test_a_plan_that_is_none():
    told = subprocess.run([sys.executable, "-c", CHILD], cwd=ROOT, capture_output=True, text=True)
    if told.returncode == 0:  # a driver is here
        assert told.stdout.endswith("None")
    else:
        assert told.returncode < 0
        assert "CUDA initialization failure" in told.stdout + told.stderr

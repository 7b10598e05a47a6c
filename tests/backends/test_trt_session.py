"""The TensorRT session against recording doubles: what it allocates, binds, runs and gives back."""

from __future__ import annotations

import importlib
import sys
from contextlib import contextmanager
from types import ModuleType

import numpy as np
import pytest

from core.errors import UnsupportedEnvironment
from deploy.backends.trt_build import vendor_package
from deploy.backends.trt_session import trt_session
from tests.backends.trt_doubles import TENSORS, TRT_FUNCTIONS, TRT_SURFACE, Engine, ExecutionContext, Machine

IMAGE = np.arange(48, dtype=np.float32).reshape(1, 3, 4, 4)


@pytest.fixture
def opened(monkeypatch):
    """Opens a session on a `Machine`."""

    @contextmanager
    def open_on(machine):
        package = ModuleType("pycuda")
        package.driver = machine.cuda
        monkeypatch.setitem(sys.modules, "pycuda", package)
        monkeypatch.setitem(sys.modules, "pycuda.driver", machine.cuda)
        with trt_session(machine.trt, "logger", b"plan") as session:
            yield session

    return open_on


def assert_clean(machine):
    """Everything allocated was freed while the context was current, and the context was popped last."""
    assert machine.allocated == {}
    assert machine.count("free") == machine.count("alloc")
    assert machine.count("push") == machine.count("pop") == 1
    assert machine.calls[-1] == "pop"


def test_doubles_use_the_vendors_names():
    package = vendor_package()
    if package is None:
        pytest.skip("neither tensorrt nor tensorrt_rtx is installed; fix: pip install tensorrt-rtx")
    real = importlib.import_module(package)
    for name, members in TRT_SURFACE.items():
        assert [member for member in members if not hasattr(getattr(real, name), member)] == [], name
    assert all(callable(getattr(real, name)) for name in TRT_FUNCTIONS)
    assert real.nptype(real.float32) is np.float32


def test_doubles_have_no_member_that_the_vendor_list_lacks():
    machine = Machine()
    doubles = {
        "Runtime": machine.trt.Runtime("logger"),
        "ICudaEngine": Engine(machine),
        "IExecutionContext": ExecutionContext(machine),
    }
    for name, double in doubles.items():
        public = {member for member in dir(double) if not member.startswith("_")} - {"machine"}
        assert public == set(TRT_SURFACE[name])
    assert set(vars(machine.trt)) == {"Runtime", "TensorIOMode", *TRT_FUNCTIONS}
    assert set(vars(machine.trt.TensorIOMode)) == set(TRT_SURFACE["TensorIOMode"])


def test_names_inputs_and_outputs(opened):
    with opened(Machine()) as session:
        assert session.input_names == ("image",)
        assert session.output_names == ("logits", "edges")


def test_engine_is_loaded_with_the_context_current(opened):
    machine = Machine()
    with opened(machine):
        pass
    assert machine.calls[:4] == ["init", "push", "runtime with logger", "deserialize b'plan'"]


def test_every_tensor_has_memory_of_its_own_size(opened):
    machine = Machine()
    with opened(machine):
        assert set(machine.addresses) == set(TENSORS)
        for name, (_, shape) in TENSORS.items():
            assert machine.allocated[machine.addresses[name]].data.size == 4 * np.prod(shape)
        assert len(set(machine.addresses.values())) == len(TENSORS)


def test_run_copies_in_executes_and_copies_every_output_out(opened):
    machine = Machine()
    with opened(machine) as session:
        before = len(machine.calls)
        result = session.run({"image": IMAGE})
        assert machine.calls[before:] == ["copy in", "execute on 7", "copy out", "copy out", "synchronize"]
    assert {name: value.shape for name, value in result.items()} == {"logits": (1, 2, 4, 4), "edges": (1, 1, 4, 4)}
    assert all((value == IMAGE.sum()).all() for value in result.values())


def test_results_outlive_the_next_run(opened):
    with opened(Machine()) as session:
        first = session.run({"image": IMAGE})["logits"]
        session.run({"image": 2 * IMAGE})
    assert (first == IMAGE.sum()).all()


def test_time_counts_the_engine_and_no_copies(opened):
    machine = Machine()
    with opened(machine) as session:
        before = len(machine.calls)
        samples = session.time_ms({"image": IMAGE}, runs=3)
        calls = machine.calls[before:]
    np.testing.assert_allclose(samples, [2.5, 2.5, 2.5])
    assert calls == ["copy in", *(["record", "execute on 7", "record", "event synchronize"] * 3)]


def test_memory_and_context_are_given_back(opened):
    machine = Machine()
    with opened(machine) as session:
        session.run({"image": IMAGE})
    assert_clean(machine)


def test_memory_and_context_are_given_back_when_the_user_fails(opened):
    machine = Machine()
    with pytest.raises(RuntimeError, match="elsewhere"), opened(machine):
        raise RuntimeError("elsewhere")
    assert_clean(machine)


def test_engine_that_does_not_load_says_so(opened):
    machine = Machine(loads=False)
    with pytest.raises(UnsupportedEnvironment, match="cannot load") as caught, opened(machine):
        pass
    assert "make engine" in caught.value.fix
    assert_clean(machine)


def test_full_device_gives_back_what_it_had(opened):
    machine = Machine(memory=1)
    with pytest.raises(MemoryError), opened(machine):
        pass
    assert machine.count("alloc") == 1
    assert_clean(machine)


@pytest.mark.parametrize("use", [lambda s: s.run({"image": IMAGE}), lambda s: s.time_ms({"image": IMAGE}, 2)])
def test_refused_enqueue_is_an_error_not_a_stale_result(opened, use):
    machine = Machine(runs=False)
    with pytest.raises(UnsupportedEnvironment, match="could not run"), opened(machine) as session:
        use(session)
    assert "copy out" not in machine.calls
    assert_clean(machine)

"""The TensorRT session against recording doubles: what it allocates, binds, runs and gives back."""

from __future__ import annotations

import importlib
import sys
from contextlib import contextmanager
from types import ModuleType

import numpy as np
import pytest

from core.errors import UnsupportedEnvironment, UserError
from deploy.backends.cuda_graph import CudaGraph
from deploy.backends.trt_build import vendor_package
from deploy.backends.trt_session import trt_session
from tests.backends.trt_doubles import (
    LARGEST_BATCH,
    STREAM,
    TENSORS,
    Engine,
    ExecutionContext,
    Machine,
    RtxEngine,
)
from tests.backends.trt_surface import (
    CUDA_DRIVER,
    FUNCTIONS,
    PYCUDA,
    PYCUDA_FUNCTIONS,
    RTX_RUNTIME,
    RUNTIME,
    missing,
)

IMAGE = np.arange(48, dtype=np.float32).reshape(1, 3, 4, 4)


@pytest.fixture
def opened(monkeypatch):
    """Opens a session on a `Machine`."""

    @contextmanager
    def open_on(machine, **options):
        for name, module in (
            ("pycuda", ModuleType("pycuda")),
            ("pycuda.driver", machine.cuda),
            ("cuda", ModuleType("cuda")),
            ("cuda.bindings", ModuleType("cuda.bindings")),
            ("cuda.bindings.driver", machine.driver),
        ):
            monkeypatch.setitem(sys.modules, name, module)
        for package, module in (("pycuda", machine.cuda), ("cuda.bindings", machine.driver)):
            monkeypatch.setattr(sys.modules[package], "driver", module, raising=False)
        with trt_session(machine.trt, "logger", b"plan", **options) as session:
            yield session

    return open_on


def assert_clean(machine):
    """All memory was given back, then what TensorRT made, newest first, then the context; each of them once."""
    assert machine.allocated == {}
    assert machine.page_locked == 0
    assert machine.count("free") == machine.count("alloc")
    assert machine.count("push") == machine.count("pop") == machine.count("detach") == 1
    assert machine.count("destroy graph") == sum(call.startswith("capture ") for call in machine.calls)
    assert machine.calls[-2:] == ["pop", "detach"]
    made = [call for call in machine.calls if call.endswith(" gone")]
    assert made == ["context gone", "engine gone", "runtime gone"][-len(made) :]
    freed = [index for index, call in enumerate(machine.calls) if call.startswith("free")]
    assert all(index < machine.calls.index(made[0]) for index in freed)


def test_doubles_use_the_vendors_names():
    package = vendor_package()
    if package is None:
        pytest.skip("neither tensorrt nor tensorrt_rtx is installed; fix: pip install tensorrt-rtx")
    real = importlib.import_module(package)
    assert missing(real, RUNTIME) == []
    assert missing(real, RTX_RUNTIME) == ([] if package == "tensorrt_rtx" else missing(object(), RTX_RUNTIME))
    assert all(callable(getattr(real, name)) for name in FUNCTIONS)
    assert real.nptype(real.float32) is np.float32


def test_doubles_have_no_member_that_the_vendor_list_lacks():
    machine = Machine()
    doubles = {
        "Runtime": machine.trt.Runtime("logger"),
        "ICudaEngine": Engine(machine),
        "IExecutionContext": ExecutionContext(machine),
        "TensorIOMode": machine.trt.TensorIOMode,
    }
    assert doubles.keys() == RUNTIME.keys()
    for name, double in doubles.items():
        assert {member for member in dir(double) if not member.startswith("_")} == set(RUNTIME[name])
    assert set(vars(machine.trt)) == {"Runtime", "TensorIOMode", *FUNCTIONS}
    assert set(dir(RtxEngine)) - set(dir(Engine)) == set(RTX_RUNTIME["ICudaEngine"])
    rtx = Machine(rtx=True).trt
    assert set(vars(rtx)) - set(vars(machine.trt)) == {"CudaGraphStrategy"}
    assert set(vars(rtx.CudaGraphStrategy)) == set(RTX_RUNTIME["CudaGraphStrategy"])
    assert set(vars(RtxEngine(machine).create_runtime_config())) == set(RTX_RUNTIME["IRuntimeConfig"])
    assert {name for name in vars(machine.driver) if not name.startswith("_")} == set(CUDA_DRIVER)


def test_doubles_of_pycuda_have_no_member_that_its_list_lacks():
    cuda = Machine().cuda
    device = cuda.Device(0)
    doubles = {
        "Device": device,
        "Context": device.retain_primary_context(),
        "Stream": cuda.Stream(),
        "Event": cuda.Event(),
        "DeviceAllocation": cuda.mem_alloc(4),
        "PagelockedHostAllocation": cuda.pagelocked_empty(1, np.float32).base,
    }
    assert doubles.keys() == PYCUDA.keys()
    for name, double in doubles.items():
        assert {member for member in dir(double) if not member.startswith("_")} == set(PYCUDA[name])
    public = {name for name in vars(cuda) if not name.startswith("_")}
    assert public == {"Device", "Stream", "Event", *PYCUDA_FUNCTIONS}


def test_doubles_of_pycuda_use_its_names():
    why = "pycuda is not installed, or there is no driver"
    real = pytest.importorskip("pycuda.driver", reason=why, exc_type=ImportError)
    assert missing(real, PYCUDA) == []
    assert [name for name in PYCUDA_FUNCTIONS if not hasattr(real, name)] == []


def test_graph_doubles_use_the_names_of_cuda_python():
    real = pytest.importorskip("cuda.bindings.driver", reason="cuda-python is not installed; pip install cuda-bindings")
    assert [name for name in CUDA_DRIVER if not hasattr(real, name)] == []
    assert hasattr(real.CUresult, "CUDA_SUCCESS")
    assert hasattr(real.CUstreamCaptureMode, "CU_STREAM_CAPTURE_MODE_THREAD_LOCAL")


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
            assert machine.allocated[machine.addresses[name]]._data.size == 4 * np.prod(shape)
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


def test_everything_is_given_back_in_reverse_order(opened):
    machine = Machine()
    with opened(machine) as session:
        session.run({"image": IMAGE})
        before = len(machine.calls)
    freed = ["free", "free host"] * len(TENSORS)
    assert machine.calls[before:] == [
        "synchronize",
        *freed,
        "context gone",
        "engine gone",
        "runtime gone",
        "pop",
        "detach",
    ]
    assert_clean(machine)


def test_everything_is_given_back_when_the_user_fails(opened):
    machine = Machine()
    with pytest.raises(RuntimeError, match="elsewhere"), opened(machine) as session:
        session.run({"image": IMAGE})
        raise RuntimeError("elsewhere")
    assert_clean(machine)


def test_engine_that_does_not_load_says_so(opened):
    machine = Machine(loads=False)
    with pytest.raises(UnsupportedEnvironment, match="cannot load") as caught, opened(machine):
        pass
    assert "make engine" in caught.value.fix
    assert_clean(machine)


@pytest.mark.parametrize("fits", range(len(TENSORS)))
def test_full_device_gives_back_what_it_had(opened, fits):
    machine = Machine(memory=fits)
    with pytest.raises(MemoryError), opened(machine):
        pass
    assert machine.count("alloc") == fits
    assert machine.count("free host") == fits + 1
    assert_clean(machine)


@pytest.mark.parametrize("fits", range(len(TENSORS)))
def test_without_page_locked_memory_the_device_gets_back_what_it_gave(opened, fits):
    machine = Machine(host_memory=fits)
    with pytest.raises(MemoryError), opened(machine):
        pass
    assert machine.count("alloc") == machine.count("free host") == fits
    assert_clean(machine)


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("use", [lambda s: s.run({"image": IMAGE}), lambda s: s.time_ms({"image": IMAGE}, 2)])
def test_refused_enqueue_is_an_error_not_a_stale_result(opened, use, graph):
    machine = Machine(runs=False)
    with pytest.raises(UnsupportedEnvironment, match="could not run"), opened(machine, cuda_graph=graph) as session:
        use(session)
    assert "copy out" not in machine.calls
    assert_clean(machine)


@pytest.mark.parametrize("host_code", [False, True])
def test_host_code_of_an_engine_runs_only_where_it_is_allowed(opened, host_code):
    machine = Machine()
    with opened(machine, host_code=host_code):
        pass
    assert ("deserialize b'plan' with host code" in machine.calls) is host_code


def test_dynamic_batch_has_memory_for_the_largest(opened):
    machine = Machine(dynamic=True)
    with opened(machine):
        sizes = {name: machine.allocated[address]._data.size for name, address in machine.addresses.items()}
    assert sizes == {name: 4 * LARGEST_BATCH * int(np.prod(shape)) for name, (_, shape) in TENSORS.items()}
    assert_clean(machine)


def test_dynamic_batch_runs_each_size_in_the_same_memory(opened):
    machine = Machine(dynamic=True)
    with opened(machine) as session:
        for batch in (2, 1, LARGEST_BATCH):
            images = np.repeat(IMAGE, batch, axis=0)
            result = session.run({"image": images})
            assert {name: value.shape[0] for name, value in result.items()} == {"logits": batch, "edges": batch}
            assert all((value == images.sum()).all() for value in result.values())
    assert machine.count("alloc") == len(TENSORS)
    assert_clean(machine)


@pytest.mark.parametrize(
    ("dynamic", "shape"), [(True, (LARGEST_BATCH + 1, 3, 4, 4)), (True, (1, 3, 4, 5)), (False, (2, 3, 4, 4))]
)
def test_shape_that_the_engine_does_not_take_is_refused_with_its_limits(opened, dynamic, shape):
    machine = Machine(dynamic=dynamic)
    with pytest.raises(UserError, match="does not take image") as caught, opened(machine) as session:
        session.run({"image": np.zeros(shape, np.float32)})
    assert str((1, 3, 4, 4)) in caught.value.why
    assert str((LARGEST_BATCH if dynamic else 1, 3, 4, 4)) in caught.value.why
    assert "copy in" not in machine.calls
    assert_clean(machine)


def test_one_image_is_not_spread_over_a_batch(opened):
    machine = Machine(dynamic=True)
    with opened(machine) as session:
        assert session.run({"image": IMAGE})["logits"].shape[0] == 1


def test_graph_is_captured_once_and_launched_for_every_run(opened):
    machine = Machine()
    with opened(machine, cuda_graph=True) as session:
        before = len(machine.calls)
        for factor in (1, 2):
            result = session.run({"image": factor * IMAGE})
            assert (result["logits"] == factor * IMAGE.sum()).all()
        calls = machine.calls[before:]
    capture = ["execute on 7", "capture 7 thread local", "execute on 7", "captured", "destroy graph"]
    launch = ["launch on 7", "copy out", "copy out", "synchronize"]
    assert calls == ["copy in", *capture, *launch, "copy in", *launch]
    assert machine.count("destroy executable graph") == 1
    assert_clean(machine)


def test_time_of_a_graph_has_no_capture_in_it(opened):
    machine = Machine()
    with opened(machine, cuda_graph=True) as session:
        samples = session.time_ms({"image": IMAGE}, runs=2)
        calls = machine.calls[machine.calls.index("record") :]
    np.testing.assert_allclose(samples, [2.5, 2.5])
    assert calls == ["record", "launch on 7", "record", "event synchronize"] * 2


def test_another_batch_gets_a_graph_of_its_own(opened):
    machine = Machine(dynamic=True)
    with opened(machine, cuda_graph=True) as session:
        for batch in (1, 3):
            images = np.repeat(IMAGE, batch, axis=0)
            assert (session.run({"image": images})["logits"] == images.sum()).all()
    assert machine.count("captured") == machine.count("destroy executable graph") == 2
    assert_clean(machine)


def test_stream_that_cannot_be_captured_names_the_way_out(opened):
    machine = Machine(captures=False)
    with (
        pytest.raises(UnsupportedEnvironment, match="CUDA graph") as caught,
        opened(machine, cuda_graph=True) as session,
    ):
        session.run({"image": IMAGE})
    assert "CAPTURE_UNSUPPORTED" in caught.value.why
    assert "deploy.trt.cuda_graph" in caught.value.fix
    assert machine.allocated == {}
    assert machine.calls[-2:] == ["pop", "detach"]


def test_graph_without_cuda_python_says_what_to_install(opened, monkeypatch):
    machine = Machine()
    with opened(machine, cuda_graph=True) as session:
        monkeypatch.setitem(sys.modules, "cuda.bindings", None)
        with pytest.raises(UnsupportedEnvironment, match="cuda-python") as caught:
            session.run({"image": IMAGE})
    assert "pip install cuda-bindings" in caught.value.fix
    assert_clean(machine)


@pytest.mark.parametrize("graph", [False, True])
def test_rtx_captures_graphs_itself(opened, graph):
    machine = Machine(rtx=True)
    with opened(machine, cuda_graph=graph) as session:
        assert (session.run({"image": IMAGE})["logits"] == IMAGE.sum()).all()
    assert machine.count("graphs: WHOLE_GRAPH_CAPTURE") == graph
    assert machine.count("captured") == 0
    assert_clean(machine)


def test_capture_ends_when_what_is_captured_fails(opened):
    machine = Machine()

    def fail():
        raise RuntimeError("elsewhere")

    with opened(machine):
        with pytest.raises(RuntimeError, match="elsewhere"):
            CudaGraph(STREAM, fail)
        assert machine.capturing is None

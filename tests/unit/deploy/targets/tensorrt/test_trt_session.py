"""The TensorRT session against recording doubles: what it allocates, binds, runs and gives back."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import UnsupportedEnvironment, UserError
from tests.unit.deploy.targets.tensorrt.trt_clean import assert_clean
from tests.unit.deploy.targets.tensorrt.trt_doubles import IMAGE, LARGEST_BATCH, TENSORS, Machine


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


@pytest.mark.parametrize(
    ("invalid", "why", "fix"),
    [
        (2, "unsupported cc", "deploy.tensorrt.compute_capabilities"),
        (4, "old cuda driver", "update the NVIDIA driver"),
        (1, "version mismatch", "build the engine again"),
        (1 | 16, "version mismatch, insufficient gpu memory", "free GPU memory"),
        (0, "see TensorRT's errors above", "build the engine again"),
    ],
)
def test_rtx_says_why_an_engine_does_not_load(opened, invalid, why, fix):
    machine = Machine(loads=False, rtx=True, invalid=invalid)
    with pytest.raises(UnsupportedEnvironment, match="cannot load") as caught, opened(machine):
        pass
    assert caught.value.why == why and fix in caught.value.fix
    assert machine.allocated == {} and machine.calls[-2:] == ["pop", "detach"]


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
    assert "build the engine again" in caught.value.fix
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

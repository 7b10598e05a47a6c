"""A closed TensorRT session leaves nothing behind."""

from __future__ import annotations

from tests.unit.deploy.targets.tensorrt.trt_doubles import Machine


def assert_clean(machine: Machine) -> None:
    """Assert that memory was freed first, then TensorRT's objects, newest first, then the context, each once."""
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

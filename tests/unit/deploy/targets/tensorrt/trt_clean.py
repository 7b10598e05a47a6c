"""What a closed TensorRT session leaves behind: nothing."""

from __future__ import annotations

from tests.unit.deploy.targets.tensorrt.trt_doubles import Machine


def assert_clean(machine: Machine) -> None:
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

"""The key `device`: its meaning for one process and for several."""

import pytest
import torch

from core.config import load_config
from core.errors import UnsupportedEnvironment, UserError
from qat import device
from qat.device import device_for
from tests.small_line import CONFIG

TWO = [torch.device("cuda:0"), torch.device("cuda:1")]


@pytest.mark.parametrize(
    ("wanted", "found", "expected"),
    [
        ("auto", [], "cpu"),
        ("auto", TWO, "cuda:0"),
        ("cpu", TWO, "cpu"),
        ("cuda", TWO, "cuda:0"),
        ("cuda:1", TWO, "cuda:1"),
    ],
)
def test_where_one_process_computes(wanted, found, expected, monkeypatch):
    monkeypatch.setattr(device, "cuda_devices", lambda: found)
    assert device_for(wanted) == torch.device(expected)


@pytest.mark.parametrize("wanted", ["auto", "cuda"])
def test_each_of_several_processes_has_a_gpu_of_its_own(wanted, monkeypatch):
    monkeypatch.setattr(device, "cuda_devices", lambda: TWO)
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in (0, 1):
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        assert device_for(wanted) == TWO[rank]
    with pytest.raises(UserError, match="cuda:1"):
        device_for("cuda:1")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UnsupportedEnvironment) as caught:
        device_for(wanted)
    assert "fewer processes" in caught.value.fix


@pytest.mark.parametrize(("wanted", "found"), [("cuda", []), ("cuda:2", TWO)])
def test_a_gpu_that_does_not_exist_is_an_environment_error(wanted, found, monkeypatch):
    monkeypatch.setattr(device, "cuda_devices", lambda: found)
    with pytest.raises(UnsupportedEnvironment, match=wanted):
        device_for(wanted)


@pytest.mark.parametrize(
    ("wanted", "backend"), [("cpu", {"cpu": True}), ("cuda:0", {"cpu": False})], ids=["gloo", "nccl"]
)
def test_processes_talk_as_their_device_can(wanted, backend, monkeypatch):
    """A run that `device: cpu` keeps off the GPU must not join its processes by NCCL."""
    given = []
    monkeypatch.setattr(device, "PartialState", lambda **options: given.append(options))
    device.process_on(torch.device(wanted))
    assert given == [backend]


@pytest.mark.parametrize("text", ["gpu", "cuda:", "cuda:x", "cuda:-1", "CPU"])
def test_other_devices_are_refused(text):
    with pytest.raises(UserError, match="device"):
        load_config(CONFIG, [f"device='{text}'"])

"""Fixtures that tests of several folders share."""

from __future__ import annotations

from functools import cache

import cv2
import pytest
import torch

from core.console import show_messages


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Use one thread: tests run side by side, and small networks gain nothing from more. Commands inherit the
    variable."""
    patch = pytest.MonkeyPatch()
    patch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    yield
    patch.undo()


@pytest.fixture(scope="session", autouse=True)
def one_exporter_registry():
    """Cache torch's table of ONNX operators, which it parses for each export at more cost than exporting a test
    network."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    patch = pytest.MonkeyPatch()
    patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(cache(ONNXRegistry.from_torchlib)))
    yield
    patch.undo()


@pytest.fixture(scope="session", autouse=True)
def emulated_device():
    """Register the fake GPU before the first backward pass of the session (see `tests.fake_gpu`)."""
    from tests.fake_gpu import can_emulate, register

    if can_emulate():
        register()


@pytest.fixture(scope="session", autouse=True)
def messages():
    """Show messages to tests as a command's user sees them."""
    show_messages()


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """The residual network's ONNX files (see `tests.nets.exported.Exported`); tests must not change them."""
    from tests.nets.exported import export

    return export(tmp_path_factory.mktemp("exported"))

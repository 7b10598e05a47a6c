"""The registry: a backend is a folder of its name, and one name in `core.backends`."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import pytest

from core.backends import BACKEND_NAMES
from deploy import targets
from deploy.targets import TARGETS, get_backend, target_for, title_of


@pytest.mark.parametrize("name", BACKEND_NAMES)
def test_folder_backend_and_target_have_one_name(name):
    backend = get_backend(name)
    assert backend.name == backend.target == TARGETS[name].name == name
    assert type(backend).__module__.startswith("deploy.targets.")
    assert title_of(name) == backend.title


def test_targets_are_the_backends_and_the_portable_graph():
    assert tuple(TARGETS) == ("qdq", *BACKEND_NAMES)


def test_both_tensorrts_share_one_definition():
    assert replace(TARGETS["tensorrt_rtx"], name="tensorrt") == TARGETS["tensorrt"]
    assert get_backend("tensorrt_rtx").files == get_backend("tensorrt").files
    assert (title_of("tensorrt"), title_of("tensorrt_rtx")) == ("TensorRT", "TensorRT-RTX")


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt_rtx", "openvino", "qdq"])
def test_fallback_precision_is_in_the_graph_of_builders_that_read_it_there(name):
    assert target_for(name, "fp16").fallback == ("fp16" if name.startswith("tensorrt") else "fp32")


def test_a_new_backend_is_its_folder_and_its_name(monkeypatch):
    module = ModuleType("deploy.targets.dummy.backend")
    module.BACKEND = SimpleNamespace(name="dummy", title="Dummy")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(targets, "BACKEND_NAMES", (*BACKEND_NAMES, "dummy"))
    assert get_backend("dummy") is module.BACKEND
    assert title_of("dummy") == "Dummy"

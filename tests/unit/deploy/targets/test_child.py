"""Steps in separate processes: results, refusals, errors and native crashes."""

import pytest

from core.errors import UserError
from deploy.bundle.types import BuildOptions
from deploy.targets import get_backend
from deploy.targets.child import ChildFailed, run_in_child
from deploy.targets.tensorrt import backend as trt_backend
from deploy.targets.tensorrt.vendor import Vendor

MODULE = "tests.unit.deploy.targets.faulty_child"


def test_what_the_step_makes_is_in_the_folder(tmp_path):
    run_in_child(MODULE, {"way": "none"}, tmp_path)
    assert (tmp_path / "partial").read_text() == "begun"


def test_native_crash_is_an_error_that_names_the_signal(tmp_path):
    with pytest.raises(ChildFailed, match=r"crashed in native code \(SIGSEGV\)"):
        run_in_child(MODULE, {"way": "crash"}, tmp_path)


def test_user_error_crosses_with_all_its_parts(tmp_path):
    with pytest.raises(UserError) as caught:
        run_in_child(MODULE, {"way": "refuse"}, tmp_path)
    assert (caught.value.what, caught.value.why, caught.value.fix) == ("no such thing", "because", "do another")


def test_other_error_ends_with_what_was_said_last(tmp_path):
    with pytest.raises(ChildFailed, match="exit code 1: ValueError: not foreseen"):
        run_in_child(MODULE, {"way": "raise"}, tmp_path)


def test_crashed_builder_leaves_no_bundle_and_no_scratch(monkeypatch, tmp_path):
    monkeypatch.setattr(
        trt_backend, "run_in_child", lambda _, request, folder: run_in_child(MODULE, {"way": "crash"}, folder)
    )
    monkeypatch.setattr(Vendor, "version", lambda self: "tensorrt_rtx 1.0")
    (tmp_path / "m.onnx").touch()
    with pytest.raises(ChildFailed, match="SIGSEGV"):
        get_backend("tensorrt_rtx").build(tmp_path / "m.onnx", tmp_path / "engines" / "e", BuildOptions("fp32"))
    assert list((tmp_path / "engines").iterdir()) == []

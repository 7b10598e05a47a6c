"""Bundles on disk: what is written, and what is refused."""

from __future__ import annotations

import hashlib
import json
from types import SimpleNamespace

import onnx
import pytest
from onnx import TensorProto, helper

import deploy.bundle.store
from core.errors import UserError
from deploy.bundle.store import check_bundle, check_files, read_bundle, write_bundle
from deploy.bundle.types import BuildOptions
from deploy.targets import get_backend

OPTIONS = BuildOptions("int8", threads=2, meaning={"kind": "logits"}, placement={"target": "tensorrt"})
CPU = ["sums of uint8 products in 32 bits"]


def fake(version="1.0", name="onnxruntime"):
    """The members of a backend that `write_bundle` reads."""
    return SimpleNamespace(name=name, version=lambda: version, device=lambda precision: {"cpu": CPU})


def filled(folder):
    """A builder that writes two files and adds one fact to the manifest."""
    (folder / "model.onnx").write_bytes(b"native code")
    (folder / "weights.bin").write_bytes(b"1234")
    return {"threads": 1}


def failing(folder):
    """A builder that dies halfway."""
    (folder / "engine.bin").write_bytes(b"half")
    raise RuntimeError("no memory")


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "m.onnx"
    value = helper.make_tensor_value_info
    node = helper.make_node("Relu", ["image"], ["logits"], name="r")
    image, logits = (value(name, TensorProto.FLOAT, ["batch", 3, 8, 8]) for name in ("image", "logits"))
    onnx.save(helper.make_model(helper.make_graph([node], "g", [image], [logits])), path)
    return path


@pytest.fixture(autouse=True)
def able(monkeypatch):
    """A CPU that has what the bundles here need."""
    monkeypatch.setattr(deploy.bundle.store, "abilities", lambda: frozenset(CPU))


@pytest.fixture
def bundle(tmp_path, source):
    return write_bundle(tmp_path / "engines" / "a", fake(), OPTIONS, source, filled)


def test_manifest_holds_hashes_of_the_engine_and_of_what_it_was_made_from(bundle, source):
    manifest = json.loads((bundle.dir / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["files"] == {
        "model.onnx": hashlib.sha256(b"native code").hexdigest(),
        "weights.bin": hashlib.sha256(b"1234").hexdigest(),
    }
    assert manifest["source"] == {"name": "m.onnx", "sha256": hashlib.sha256(source.read_bytes()).hexdigest()}
    assert (manifest["backend"], manifest["version"], manifest["precision"]) == ("onnxruntime", "1.0", "int8")
    assert manifest["options"]["threads"] == 2
    assert manifest["threads"] == 1
    assert manifest["cpu"]["model"]
    assert manifest["tools"]["onnx"]


def test_written_bundle_reads_back_and_passes_its_check(bundle):
    found = read_bundle(bundle.dir)
    assert found == bundle
    assert found.size_bytes == len(b"native code") + len(b"1234")
    check_bundle(found, "1.0", ())


def test_bundle_can_be_read_by_others(bundle):
    assert bundle.dir.stat().st_mode & 0o777 == 0o755


def test_no_bundle_says_how_to_get_one(tmp_path):
    with pytest.raises(UserError, match="no engine bundle") as caught:
        read_bundle(tmp_path)
    assert "there are no engines yet" in caught.value.fix


def test_other_schema_is_refused(bundle):
    path = bundle.dir / "manifest.json"
    path.write_text(json.dumps({**bundle.manifest, "schema": 99}), encoding="utf-8")
    with pytest.raises(UserError, match="schema 99, not 2"):
        read_bundle(bundle.dir)


def test_missing_file_is_refused_by_name(bundle):
    (bundle.dir / "weights.bin").unlink()
    with pytest.raises(UserError, match=r"weights\.bin is missing"):
        check_bundle(bundle, "1.0", ())


def test_changed_file_is_refused_by_name(bundle):
    (bundle.dir / "weights.bin").write_bytes(b"1235")
    with pytest.raises(UserError, match=r"weights\.bin is changed since it was built"):
        check_bundle(bundle, "1.0", ())


def test_other_version_is_refused(bundle):
    with pytest.raises(UserError, match=r"built with onnxruntime 1\.0, have 1\.1"):
        check_bundle(bundle, "1.1", ())


def test_manifest_says_what_goes_in_and_out_and_what_is_quantized(bundle):
    image = {"name": "image", "dtype": "float32", "shape": ["batch", 3, 8, 8], "layout": "NCHW"}
    assert bundle.manifest["tensors"] == {"inputs": [image], "outputs": [{**image, "name": "logits"}]}
    assert bundle.manifest["meaning"] == {"kind": "logits"}
    assert bundle.manifest["placement"]["target"] == "tensorrt"
    assert bundle.manifest["placement"]["activations"] == 0
    assert bundle.manifest["device"] == {"cpu": CPU}
    assert bundle.manifest["options"].keys().isdisjoint({"meaning", "placement"})


def test_cpu_that_lacks_what_the_engine_was_built_for_is_refused(bundle, monkeypatch):
    monkeypatch.setattr(deploy.bundle.store, "abilities", lambda: frozenset({"BF16 arithmetic"}))
    with pytest.raises(UserError, match="built for a CPU with sums of uint8 products") as caught:
        check_bundle(bundle, "1.0", ())
    assert "build it again" in caught.value.fix
    check_files(bundle, ())


def test_source_that_is_no_onnx_is_refused_before_anything_is_built(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"graph")
    with pytest.raises(UserError, match="cannot be read as ONNX"):
        write_bundle(tmp_path / "engines" / "a", fake(), OPTIONS, tmp_path / "m.onnx", failing)


def test_second_build_replaces_the_first_whole(bundle, source):
    def other(folder):
        (folder / "model.onnx").write_bytes(b"x")
        return {"threads": 1}

    again = write_bundle(bundle.dir, fake("2.0"), OPTIONS, source, other)
    assert {path.name for path in bundle.dir.iterdir()} == {"model.onnx", "manifest.json"}
    assert read_bundle(bundle.dir).manifest["version"] == again.manifest["version"] == "2.0"
    assert [path.name for path in bundle.dir.parent.iterdir()] == ["a"]


def test_failed_build_keeps_the_first_and_leaves_nothing(bundle, source):
    with pytest.raises(RuntimeError, match="no memory"):
        write_bundle(bundle.dir, fake("2.0"), OPTIONS, source, failing)
    check_bundle(read_bundle(bundle.dir), "1.0", ())
    assert [path.name for path in bundle.dir.parent.iterdir()] == ["a"]


def test_failed_first_build_leaves_no_folder(tmp_path, source):
    with pytest.raises(RuntimeError, match="no memory"):
        write_bundle(tmp_path / "engines" / "a", fake(), OPTIONS, source, failing)
    assert list((tmp_path / "engines").iterdir()) == []


def test_fact_that_json_cannot_hold_leaves_no_folder(tmp_path, source):
    with pytest.raises(ValueError, match="JSON"):
        write_bundle(tmp_path / "engines" / "a", fake(), OPTIONS, source, lambda folder: {"ms": float("nan")})
    assert list((tmp_path / "engines").iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"schema": ', "is damaged"),
        ("[]", "schema None, not 2"),
        ('{"schema": 2}', "is damaged"),
    ],
)
def test_a_damaged_manifest_is_told_before_anything_is_read_from_it(tmp_path, text, message):
    (tmp_path / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        read_bundle(tmp_path)


def test_a_backend_that_is_not_known_is_told_with_those_that_are():
    with pytest.raises(UserError, match="no backend 'tvm'") as caught:
        get_backend("tvm")
    assert "openvino, onnxruntime, tensorrt, tensorrt_rtx" in caught.value.fix

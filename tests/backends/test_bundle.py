"""Bundles on disk: what is written, and what is refused."""

from __future__ import annotations

import hashlib
import json

import pytest

from core.errors import UserError
from deploy.backends.base import BuildOptions
from deploy.bundle import check_bundle, read_bundle, write_bundle

OPTIONS = BuildOptions("int8", threads=2)


def filled(folder):
    """A builder that writes two files and adds one fact to the manifest."""
    (folder / "engine.bin").write_bytes(b"native code")
    (folder / "weights.bin").write_bytes(b"1234")
    return {"device": "none"}


def failing(folder):
    """A builder that dies halfway."""
    (folder / "engine.bin").write_bytes(b"half")
    raise RuntimeError("no memory")


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"graph")
    return path


@pytest.fixture
def bundle(tmp_path, source):
    return write_bundle(tmp_path / "engines" / "a", "fake", "1.0", OPTIONS, source, filled)


def test_manifest_holds_hashes_of_the_engine_and_of_what_it_was_made_from(bundle):
    manifest = json.loads((bundle.dir / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["files"] == {
        "engine.bin": hashlib.sha256(b"native code").hexdigest(),
        "weights.bin": hashlib.sha256(b"1234").hexdigest(),
    }
    assert manifest["source"] == {"name": "m.onnx", "sha256": hashlib.sha256(b"graph").hexdigest()}
    assert (manifest["backend"], manifest["version"], manifest["precision"]) == ("fake", "1.0", "int8")
    assert manifest["options"]["threads"] == 2
    assert manifest["device"] == "none"
    assert manifest["cpu"]["model"]
    assert manifest["tools"]["onnx"]


def test_written_bundle_reads_back_and_passes_its_check(bundle):
    found = read_bundle(bundle.dir)
    assert found == bundle
    assert found.size_bytes == len(b"native code") + len(b"1234")
    check_bundle(found, "1.0")


def test_bundle_can_be_read_by_others(bundle):
    assert bundle.dir.stat().st_mode & 0o777 == 0o755


def test_no_bundle_says_how_to_get_one(tmp_path):
    with pytest.raises(UserError, match="no engine bundle") as caught:
        read_bundle(tmp_path)
    assert "make engine" in caught.value.fix


def test_other_schema_is_refused(bundle):
    path = bundle.dir / "manifest.json"
    path.write_text(json.dumps({**bundle.manifest, "schema": 99}), encoding="utf-8")
    with pytest.raises(UserError, match="schema 99, not 1"):
        read_bundle(bundle.dir)


def test_missing_file_is_refused_by_name(bundle):
    (bundle.dir / "weights.bin").unlink()
    with pytest.raises(UserError, match=r"weights\.bin is missing"):
        check_bundle(bundle, "1.0")


def test_changed_file_is_refused_by_name(bundle):
    (bundle.dir / "weights.bin").write_bytes(b"1235")
    with pytest.raises(UserError, match=r"weights\.bin is changed since it was built"):
        check_bundle(bundle, "1.0")


def test_other_version_is_refused(bundle):
    with pytest.raises(UserError, match=r"built with fake 1\.0, have 1\.1"):
        check_bundle(bundle, "1.1")


def test_second_build_replaces_the_first_whole(bundle, source):
    def other(folder):
        (folder / "other.bin").write_bytes(b"x")
        return {}

    again = write_bundle(bundle.dir, "fake", "2.0", OPTIONS, source, other)
    assert {path.name for path in bundle.dir.iterdir()} == {"other.bin", "manifest.json"}
    assert read_bundle(bundle.dir).manifest["version"] == again.manifest["version"] == "2.0"
    assert [path.name for path in bundle.dir.parent.iterdir()] == ["a"]


def test_failed_build_keeps_the_first_and_leaves_nothing(bundle, source):
    with pytest.raises(RuntimeError, match="no memory"):
        write_bundle(bundle.dir, "fake", "2.0", OPTIONS, source, failing)
    check_bundle(read_bundle(bundle.dir), "1.0")
    assert [path.name for path in bundle.dir.parent.iterdir()] == ["a"]


def test_failed_first_build_leaves_no_folder(tmp_path, source):
    with pytest.raises(RuntimeError, match="no memory"):
        write_bundle(tmp_path / "engines" / "a", "fake", "1.0", OPTIONS, source, failing)
    assert list((tmp_path / "engines").iterdir()) == []


def test_fact_that_json_cannot_hold_leaves_no_folder(tmp_path, source):
    with pytest.raises(ValueError, match="JSON"):
        write_bundle(tmp_path / "engines" / "a", "fake", "1.0", OPTIONS, source, lambda folder: {"ms": float("nan")})
    assert list((tmp_path / "engines").iterdir()) == []

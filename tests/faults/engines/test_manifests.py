"""Changed manifests: no file of the engine is loaded, and no file is written to their paths."""

from __future__ import annotations

import pytest

from tests.faults.commands import edit_json, files_below

BUNDLES = {"openvino": "engines/openvino-fp32-mask", "onnxruntime": "engines/onnxruntime-fp32-mask"}


def without(*keys):
    def change(manifest):
        for key in keys[:-1]:
            manifest = manifest[key]
        del manifest[keys[-1]]

    return change


def with_value(value, *keys):
    def change(manifest):
        for key in keys[:-1]:
            manifest = manifest[key]
        manifest[keys[-1]] = value

    return change


def nested(depth):
    return "[" * depth + "]" * depth


CHANGES = {
    "no files": (with_value({}, "files"), "model.xml, model.bin is missing"),
    "one file less": (without("files", "model.bin"), "model.bin is missing"),
    "files elsewhere": (with_value("0" * 64, "files", "../../etc/passwd"), "must match"),
    "files is a list": (with_value(["model.xml"], "files"), "files must be a mapping"),
    "no hash": (with_value("abc", "files", "model.xml"), "files.model.xml must match"),
    "cache elsewhere": (with_value("/tmp/planted", "properties", "CACHE_DIR"), "properties.CACHE_DIR is not a key"),
    "no properties": (without("properties"), "properties is missing"),
    "many threads": (with_value(100_000, "properties", "INFERENCE_NUM_THREADS"), "100000 threads are too many"),
    "no threads": (with_value(0, "properties", "INFERENCE_NUM_THREADS"), "must be at least 1"),
    "threads as text": (with_value("1", "properties", "INFERENCE_NUM_THREADS"), "must be a whole number"),
    "unknown backend": (with_value("tvm", "backend"), "backend must be 'openvino', 'onnxruntime'"),
    "version is a number": (with_value(2026, "version"), "version must be text"),
    "old version": (with_value("0.0.1", "version"), "built with openvino 0.0.1"),
    "no source": (without("source"), "source is missing"),
    "no tensors": (with_value([], "tensors", "inputs"), "at least 1"),
    "shape of text": (with_value("wide", "tensors", "inputs", 0, "shape"), "must be a list"),
    "height of a billion": (with_value(10**9, "meaning", "input", "height_px"), "must be at most"),
    "another size": (with_value(40, "meaning", "input", "height_px"), "does not run"),
    "no classes": (without("meaning", "classes"), "needs `classes`"),
    "one class": (lambda manifest: manifest["meaning"]["classes"].__delitem__(slice(1, None)), "has 1 classes"),
    "colour of text": (with_value("red", "meaning", "classes", 0, "color"), "must be a list"),
    "another schema": (with_value(99, "schema"), "schema 99, not 2"),
    "a list": (lambda manifest: [manifest], "schema None"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_manifest_is_refused(engines, picture, command, tmp_path, name):
    change, words = CHANGES[name]
    edit_json(engines / "openvino-fp32-mask" / "manifest.json", change)
    command("deploy.__main__", "run", BUNDLES["openvino"], picture, "-o", "out").refuses(2, words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("threads", [100_000, 0, "1", None])
def test_threads_of_the_other_backend_are_checked_too(engines, picture, command, threads):
    edit_json(engines / "onnxruntime-fp32-mask" / "manifest.json", with_value(threads, "threads"))
    command("deploy.__main__", "run", BUNDLES["onnxruntime"], picture, "-o", "out").refuses(2, "threads")


@pytest.mark.parametrize("text", ["", "{", nested(100_000), "9" * 5000, "\xff", '{"schema": NaN}'])
def test_a_damaged_manifest_is_refused(engines, picture, command, text):
    path = engines / "openvino-fp32-mask" / "manifest.json"
    path.write_bytes(text.encode("latin-1"))
    for name in ("inspect", "run", "triton"):
        arguments = {"inspect": [], "run": [picture], "triton": ["repository"]}[name]
        command("deploy.__main__", name, BUNDLES["openvino"], *arguments).refuses(2, "manifest.json is")


@pytest.mark.parametrize("backend", BUNDLES)
@pytest.mark.parametrize("name", ["inspect", "run", "triton"])
def test_an_engine_with_one_flipped_byte_is_never_loaded(engines, picture, command, tmp_path, backend, name):
    for path in (tmp_path / BUNDLES[backend]).iterdir():
        if path.name != "manifest.json":
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
    arguments = {"inspect": [], "run": [picture], "triton": ["repository"]}[name]
    command("deploy.__main__", name, BUNDLES[backend], *arguments).refuses(2, "changed since it was built")


def test_triton_leaves_no_file_of_another_backend(engines, command, tmp_path):
    for backend in ("openvino", "onnxruntime"):
        assert command("deploy.__main__", "triton", BUNDLES[backend], "repository", "--name", "net").code == 0
    assert sorted(files_below(tmp_path / "repository")) == ["net/1/model.onnx", "net/config.pbtxt", "net/labels.txt"]


def test_triton_replaces_nothing_that_it_did_not_write(engines, command, tmp_path):
    (tmp_path / "repository" / "net").mkdir(parents=True)
    (tmp_path / "repository" / "net" / "notes.txt").write_text("mine")
    done = command("deploy.__main__", "triton", BUNDLES["openvino"], "repository", "--name", "net")
    done.refuses(2, "notes.txt, which was not written here")
    assert files_below(tmp_path / "repository") == {"net/notes.txt": b"mine"}


def test_triton_serves_no_engine_of_another_version(engines, command, tmp_path):
    edit_json(engines / "onnxruntime-fp32-mask" / "manifest.json", with_value("0.0.1", "version"))
    done = command("deploy.__main__", "triton", BUNDLES["onnxruntime"], "repository")
    done.refuses(2, "built with onnxruntime 0.0.1")
    assert not (tmp_path / "repository").exists()

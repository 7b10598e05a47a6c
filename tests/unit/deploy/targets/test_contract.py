"""The contract of every backend, at every precision; see `deploy.targets.base.Backend`."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from core.errors import UserError
from deploy.bundle.store import read_bundle
from deploy.hardware.cpu import multiplies_uint8
from deploy.targets.layer_work import work_of
from tests.nets.exported import image, reference

CONVOLUTIONS = 6
TOLERANCES = {"fp32": 1e-4, "fp16": 0.02, "bf16": 0.05}


def copy_of(bundle, folder):
    """A copy of the bundle that a test may damage."""
    shutil.copytree(bundle.dir, folder)
    return replace(bundle, dir=folder)


def beside(bundle):
    """Names in the folder of bundles; TensorRT keeps its timing cache there, too."""
    return [path.name for path in bundle.dir.parent.iterdir() if path.suffix != ".cache"]


def test_runs_what_the_graph_computes(runnable):
    feeds = {"image": image()}
    expected = reference(runnable.source, feeds)
    with runnable.backend.open(runnable.bundle) as session:
        result = session.run(feeds)
        assert tuple(session.input_names) == ("image",)
    assert list(result) == ["logits"]
    logits = result["logits"]
    (told,) = runnable.bundle.manifest["tensors"]["outputs"]
    assert (told["name"], told["shape"], told["dtype"]) == ("logits", list(logits.shape), logits.dtype.name)
    assert (logits.shape, logits.dtype) == (expected.shape, expected.dtype)
    if runnable.precision == "int8":  # a value that lies between two steps may be rounded to the other one
        share = 0.002 if multiplies_uint8() else 0.004  # without VNNI, OpenVINO's int8 kernels round weights once more
        assert np.abs(logits - expected).mean() < share * np.abs(expected).max()
        assert (logits.argmax(1) == expected.argmax(1)).mean() > 0.98
    else:
        np.testing.assert_allclose(logits, expected, atol=TOLERANCES[runnable.precision])


def test_int8_stays_close_to_the_float_network(runnable, exported):
    feeds = {"image": image()}
    expected = reference(exported.fp32, feeds)
    with runnable.backend.open(runnable.bundle) as session:
        logits = session.run(feeds)["logits"]
    assert (logits.argmax(1) == expected.argmax(1)).mean() > 0.97


def test_results_outlive_the_next_run(runnable):
    with runnable.backend.open(runnable.bundle) as session:
        first = session.run({"image": image()})["logits"]
        before = first.copy()
        second = session.run({"image": image(seed=3)})["logits"]
    np.testing.assert_array_equal(first, before)
    assert not np.array_equal(first, second)


def test_times_every_run(runnable):
    with runnable.backend.open(runnable.bundle) as session:
        samples = session.time_ms({"image": image()}, runs=4)
    assert samples.shape == (4,)
    assert np.isfinite(samples).all()
    assert (samples > 0).all()


def test_layers_prove_the_precision(built):
    convolutions = [layer for layer in built.backend.layers(built.bundle) if layer.kind == "Conv"]
    # the lone BatchNormalization may have become a convolution: by the runtime itself, or by its target
    assert len(convolutions) in (CONVOLUTIONS, CONVOLUTIONS + 1)
    assert {layer.precision for layer in convolutions} == {built.precision}


def test_layers_give_bytes_and_products(built):
    found = work_of(built.backend.layers(built.bundle))
    products = (16 * 3 * 9 + 4 * 16 * 16 * 9 + 16 * 5) * 16 * 16
    # engines pad channels to register width, and may turn the lone BatchNormalization into a convolution
    assert products <= found.macs <= 1.03 * products
    assert found.bytes_moved > 3 * 32 * 32
    assert found.int8_outputs + found.float_outputs in (CONVOLUTIONS, CONVOLUTIONS + 1)
    if built.precision != "int8":
        assert found.int8_outputs == 0


def test_bundle_on_disk_says_what_it_is(built):
    found = read_bundle(built.bundle.dir)
    assert found == built.bundle
    assert (found.backend, found.precision) == (built.backend.name, built.precision)
    assert found.manifest["version"] == built.backend.version()
    assert found.manifest["source"]["name"] == built.source.name
    assert found.manifest["device"] == built.backend.device(built.precision)
    assert found.size_bytes > 0


def test_changed_engine_is_refused_before_it_is_loaded(built, tmp_path, no_loading):
    for name in built.bundle.manifest["files"]:
        bundle = copy_of(built.bundle, tmp_path / f"changed {name}")
        data = bytearray((bundle.dir / name).read_bytes())
        data[len(data) // 2] ^= 1
        (bundle.dir / name).write_bytes(data)
        calls = no_loading(built.backend)
        with pytest.raises(UserError, match="changed since it was built"), built.backend.open(bundle):
            pass
        with pytest.raises(UserError, match="changed since it was built"):
            built.backend.layers(bundle)
        assert calls == []


def test_engine_of_another_version_is_refused(built, monkeypatch, no_loading):
    version = built.backend.version()
    monkeypatch.setattr(type(built.backend), "version", lambda self: "0.0.1")
    calls = no_loading(built.backend)
    expected = f"built with {built.backend.name} {version}, have 0.0.1"
    with pytest.raises(UserError) as caught, built.backend.open(built.bundle):
        pass
    assert expected in caught.value.what
    assert calls == []


def test_failed_build_leaves_the_older_bundle_and_nothing_else(built, tmp_path):
    bundle = copy_of(built.bundle, tmp_path / "engines" / "kept")
    before = {path.name: path.read_bytes() for path in bundle.dir.iterdir()}
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"this is no ONNX")
    with pytest.raises(Exception, match=r"\.onnx"):  # every vendor has its own type
        built.build(broken, bundle.dir)
    assert {path.name: path.read_bytes() for path in bundle.dir.iterdir()} == before
    assert beside(bundle) == ["kept"]


def test_same_source_gives_a_bundle_in_place_of_the_old_one(built, tmp_path):
    bundle = copy_of(built.bundle, tmp_path / "engines" / "again")
    (bundle.dir / "stale").touch()
    rebuilt = built.build(built.source, bundle.dir)
    assert rebuilt.manifest["files"].keys() == built.bundle.manifest["files"].keys()
    assert {path.name for path in bundle.dir.iterdir()} == {"manifest.json", *rebuilt.manifest["files"]}
    assert beside(bundle) == ["again"]

"""`deploy.tensorrt` from the config to engines, really built with TensorRT-RTX, and to their manifests."""

from __future__ import annotations

import shutil

import pytest

from core.config import Config, section_dict
from core.files.paths import RunPaths
from deploy import pipeline
from deploy.bundle.meaning import write_classes
from deploy.bundle.types import BuildOptions
from deploy.targets import get_backend
from deploy.targets.tensorrt import backend as trt_backend

DYNAMIC = {"batch": {"min": 1, "opt": 2, "max": 4}}
NAMES, COLORS = ("road", "car", "tree", "sky"), ((0, 0, 0), (1, 1, 1), (2, 2, 2), (3, 3, 3))


def config_with(trt, backend="tensorrt"):
    return Config.model_validate(
        {
            "run": "demo",
            "model": {"num_classes": 4},
            "data": {"height_px": 32, "width_px": 32},
            "train": {"epochs": 1, "crop_height_px": 32, "crop_width_px": 32},
            "qat": {"epochs": 0},
            "deploy": {"backends": [backend], "tensorrt": trt},
        }
    )


@pytest.fixture
def run(exported, tmp_path, monkeypatch):
    """A run folder as the QAT stage and `place` leave it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pipeline, "ensure_placed", lambda config, paths, target: paths.placed(target))
    for check in ("require_trained", "ensure_portable"):
        monkeypatch.setattr(pipeline, check, lambda paths: None)
    paths = RunPaths("demo")
    paths.dir.mkdir(parents=True)
    shutil.copy(exported.fp32, paths.float_onnx)
    for target in ("tensorrt", "tensorrt_rtx"):
        shutil.copy(exported.targets[target], paths.placed(target))
    write_classes(paths.classes, NAMES, COLORS)
    return paths


@pytest.fixture
def built(monkeypatch):
    """Record the graph of each engine instead of building it."""
    found = []

    def build(self, onnx, out, options: BuildOptions):
        found.append((onnx.name, out.name, dict(options.tensorrt)))
        return trt_backend.write_bundle(out, self, options, onnx, fill)

    def fill(folder):
        for name in (trt_backend.ENGINE, trt_backend.LOG):
            (folder / name).write_bytes(b"engine")
        return {}

    monkeypatch.setattr(trt_backend.TRTBackend, "build", build)
    monkeypatch.setattr(trt_backend.TRTBackend, "available", lambda self, precision: None)
    monkeypatch.setattr(trt_backend.TRTBackend, "version", lambda self: "tensorrt 10.9.0")
    return found


def ensure(config):
    outcomes = pipeline.ensure(config)
    assert [outcome.status for outcome in outcomes] == ["ok"] * len(outcomes), [o.reason for o in outcomes]
    return {outcome.precision: outcome for outcome in outcomes}


def test_batch_of_the_export_by_default(run, built):
    ensure(config_with({}))
    assert {source for source, _, _ in built} == {
        "float.onnx",
        "fp16.onnx",
        "tensorrt.onnx",
        "float-mask-resize.onnx",
        "tensorrt-mask-resize.onnx",
    }


def test_dynamic_batch_reaches_every_engine_and_what_manifests_say_of_masks(run, built):
    outcomes = ensure(config_with(DYNAMIC))
    assert {source for source, _, _ in built} == {
        "float-dynamic.onnx",
        "fp16-dynamic.onnx",
        "tensorrt-dynamic.onnx",
        "float-dynamic-mask-resize.onnx",
        "tensorrt-dynamic-mask-resize.onnx",
    }
    (entry,) = outcomes["int8"].mask.manifest["tensors"]["inputs"]
    assert entry["shape"] == ["batch", 32, 32, 3]


@pytest.mark.parametrize(
    "changed", [{"optimization_level": 3}, {"version_compatible": True}, {"compute_capabilities": [8.6]}, DYNAMIC]
)
def test_changed_option_builds_again_and_is_in_the_manifest(run, built, monkeypatch, changed):
    ensure(config_with({}))
    ensure(config_with({}))
    assert len(built) == 5
    said = []
    monkeypatch.setattr("core.course.say", said.append)
    config = config_with(changed)
    outcomes = ensure(config)
    assert len(built) == 10
    (key,) = changed
    value = section_dict(config.deploy.tensorrt)[key]
    assert sum(f"options.tensorrt.{key}" in line for line in said) == 5
    for outcome in outcomes.values():
        assert outcome.bundle.manifest["options"]["tensorrt"][key] == value


def test_options_of_tensorrt_are_no_business_of_other_engines(run, exported):
    shutil.copy(exported.targets["onnxruntime"], run.placed("onnxruntime"))
    config = config_with(DYNAMIC)
    outcome = pipeline.ensure_engine(config, run, get_backend("onnxruntime"), "int8")
    assert outcome.bundle.manifest["options"]["tensorrt"] == {}
    assert outcome.bundle.manifest["source"]["name"] == "onnxruntime.onnx"


@pytest.mark.slow
def test_rtx_builds_all_engines_with_a_dynamic_batch(run):
    missing = get_backend("tensorrt_rtx").available("int8")
    if missing is not None:
        pytest.skip(f"{missing}")
    outcomes = ensure(config_with(DYNAMIC, "tensorrt_rtx"))
    assert outcomes["int8"].mask is not None
    assert outcomes["fp32"].mask is not None

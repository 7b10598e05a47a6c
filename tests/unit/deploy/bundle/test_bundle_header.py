"""The header of a bundle that `python -m deploy inspect` prints above its layers."""

import json
import sys

import pytest

from deploy.__main__ import main
from deploy.bundle.header import header_lines
from deploy.bundle.types import BuildOptions, Bundle
from deploy.targets.onnxruntime.backend import ONNXRuntimeBackend

MEANING = {
    "kind": "logits",
    "input": {"color": "RGB", "height_px": 32, "width_px": 32, "range": [-2.5, 2.75]},
    "normalization": {"mean": [0.5], "std": [0.2], "of": "(x / 255 - mean) / std", "where": "before the engine"},
    "output": "score of each class",
    "classes": [{"name": name, "color": [0, 0, 0]} for name in ("road", "car")],
}
PLACEMENT = {"target": "onnxruntime", "tuned": True, "skips": {"resize": 3, "gates": 1}}


@pytest.fixture(scope="module")
def built(exported, tmp_path_factory):
    options = BuildOptions("int8", meaning=MEANING, placement=PLACEMENT)
    out = tmp_path_factory.mktemp("engines") / "onnxruntime-int8"
    return ONNXRuntimeBackend().build(exported.targets["onnxruntime"], out, options)


def test_every_fact_has_its_line(built):
    lines = dict(header_lines(built))
    version = ONNXRuntimeBackend().version()
    assert lines["engine"].startswith(f"onnxruntime int8, built with onnxruntime {version} from ")
    assert built.manifest["source"]["sha256"][:12] in lines["engine"]
    assert built.manifest["cpu"]["model"] in lines["device"]
    assert lines["input"] == "image: float32 [1, 3, 32, 32] NCHW, RGB, -2.5 to 2.75"
    assert lines["output"].endswith("NCHW, score of each class")
    assert lines["pixels"] == "x → (x / 255 - mean) / std, before the engine; mean 0.5, std 0.2"
    assert lines["classes"] == "2: road, car"
    assert lines["placement"].startswith("onnxruntime, tuned: ")
    assert lines["placement"].endswith("convolutions quantized; skips by rule: resize 3, gates 1")


def manifest(**changes):
    """Of an engine that nothing is known of but what every build writes."""
    tensors = {"inputs": [{"name": "x", "dtype": "float32", "shape": ["n", None, 3], "layout": None}], "outputs": []}
    counts = {key: 0 for key in ("activations", "unsigned_activations", "weights", "convolutions")}
    return {
        "version": "tensorrt 10.9.0",
        "source": {"name": "m.onnx", "sha256": "0" * 64},
        "device": {"gpu": {"name": "NVIDIA A10", "compute_capability": "8.6"}},
        "options": {"tensorrt": {}},
        "tensors": tensors,
        "meaning": {},
        "placement": {**counts, "quantized_convolutions": 0},
        **changes,
    }


def test_a_bundle_without_meaning_says_what_is_known(tmp_path):
    lines = dict(header_lines(Bundle(tmp_path, "tensorrt", "int8", manifest())))
    assert lines["engine"].startswith("tensorrt int8, built with tensorrt 10.9.0 from m.onnx")
    assert lines["device"] == "GPU, built on NVIDIA A10 (compute capability 8.6)"
    assert lines["input"] == "x: float32 [n, ?, 3]"
    assert lines["placement"].startswith("of unknown origin: 0 activations, 0 weights")
    assert lines.keys().isdisjoint({"pixels", "classes", "output"})
    assert "placement" not in dict(header_lines(Bundle(tmp_path, "tensorrt", "fp32", manifest())))


@pytest.mark.parametrize(
    ("targets", "expected"),
    [(["8.6", "8.9"], "GPUs of compute capability 8.6, 8.9"), ([], "GPUs of the builder's own choice")],
)
def test_an_engine_built_without_a_gpu_names_its_targets(tmp_path, targets, expected):
    found = manifest(device={"gpu": None}, options={"tensorrt": {"compute_capabilities": targets}})
    assert dict(header_lines(Bundle(tmp_path, "tensorrt", "int8", found)))["device"] == expected


def test_command_prints_both_and_gives_both_as_json(built, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["deploy", "inspect", str(built.dir)])
    assert main() == 0
    shown = capsys.readouterr().out
    assert shown.index("engine     onnxruntime int8") < shown.index("convolutions: ")
    monkeypatch.setattr(sys, "argv", ["deploy", "inspect", str(built.dir), "--json"])
    assert main() == 0
    found = json.loads(capsys.readouterr().out)
    assert found["bundle"]["tensors"] == built.manifest["tensors"]
    assert found["bundle"]["meaning"] == MEANING
    assert found["bundle"]["files"] == built.manifest["files"]
    assert found["int8_percent"] == 100


def test_command_says_what_was_built_and_what_is_here(built, monkeypatch, capsys):
    version = ONNXRuntimeBackend().version()
    monkeypatch.setattr(ONNXRuntimeBackend, "version", lambda self: "0.0.1")
    monkeypatch.setattr(sys, "argv", ["deploy", "inspect", str(built.dir)])
    assert main() == 2
    told = capsys.readouterr().err
    assert f"built with onnxruntime {version}, have 0.0.1" in told
    assert "fix: build it again as it was built" in told

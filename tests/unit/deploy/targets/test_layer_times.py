"""deploy/targets/layer_times.py: every layer that computes is listed once, with its time and precision."""

import pytest

from deploy.bundle.types import BuildOptions, Bundle
from deploy.targets import get_backend
from deploy.targets.layer_times import layer_times
from deploy.targets.openvino.profiler import single
from tests.nets.exported import Exported, image


@pytest.mark.parametrize(("name", "precision"), [("openvino", "fp32"), ("openvino", "int8"), ("onnxruntime", "int8")])
def test_convolutions_are_those_of_the_layer_proof(name, precision, exported: Exported, tmp_path):
    backend = get_backend(name)
    missing = backend.available(precision)
    if missing:
        pytest.skip(missing.why)
    bundle = backend.build(exported.source(precision, backend.target), tmp_path / "engine", BuildOptions(precision))
    layers = layer_times(bundle, {"image": image()}, runs=2)
    assert layers is not None and all(layer.ms >= 0 for layer in layers)
    assert [layer.ms for layer in layers] == sorted((layer.ms for layer in layers), reverse=True)
    proof = [layer.precision for layer in backend.layers(bundle) if layer.kind == "Conv"]
    assert sorted(layer.precision for layer in layers if layer.kind == "Conv") == sorted(proof)


def test_a_backend_without_a_profiler_says_so(tmp_path):
    assert layer_times(Bundle(tmp_path, "tensorrt", "int8"), {}, runs=1) is None


def test_one_slow_run_does_not_stay_in_the_times():
    """OpenVINO's counters are running means: 9, 3, 3, 3 is read as 9, 6, 5, 4.5."""
    assert single([9.0, 6.0, 5.0, 4.5]) == [3.0, 3.0, 3.0]

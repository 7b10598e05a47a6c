"""TensorRT engines on a real GPU: build, open, run, and compare to ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from deploy.backends.base import BuildOptions
from deploy.backends.trt_backend import TRTBackend
from tests.nets.exported import image, reference

pytestmark = pytest.mark.gpu

# Float convolutions may use TF32; in INT8 a value between two steps may be rounded to the other one.
MEAN_TOLERANCES = {"fp32": 1e-3, "fp16": 5e-3, "int8": 5e-3}


@pytest.fixture(scope="module", params=TRTBackend.precisions)
def engine(request, exported, tmp_path_factory):
    """Backend, bundle, and the ONNX it was built from."""
    backend, precision = TRTBackend(), request.param
    missing = backend.runnable(precision)
    if missing is not None:
        pytest.skip(f"trt-{precision}: {missing.why}; fix: {missing.fix}")
    source = exported.source(precision, "tensorrt")
    out = tmp_path_factory.mktemp("engines") / precision
    return backend, backend.build(source, out, BuildOptions(precision)), source


def test_runs_what_the_graph_computes(engine):
    backend, bundle, source = engine
    feeds = {"image": image()}
    expected = reference(source, feeds)
    with backend.open(bundle) as session:
        logits = session.run(feeds)["logits"]
    assert np.abs(logits - expected).mean() < MEAN_TOLERANCES[bundle.precision] * np.abs(expected).max()
    assert (logits.argmax(1) == expected.argmax(1)).mean() > 0.98


def test_times_every_run(engine):
    backend, bundle, _ = engine
    with backend.open(bundle) as session:
        samples = session.time_ms({"image": image()}, runs=4)
    assert samples.shape == (4,)
    assert np.isfinite(samples).all()
    assert (samples > 0).all()


def test_opens_again_after_it_was_closed(engine):
    backend, bundle, _ = engine
    results = []
    for _ in range(2):
        with backend.open(bundle) as session:
            results.append(session.run({"image": image()})["logits"])
    np.testing.assert_array_equal(*results)


def test_convolutions_compute_in_the_precision_asked_for(engine):
    backend, bundle, _ = engine
    convolutions = [layer for layer in backend.layers(bundle) if layer.kind == "Conv"]
    assert convolutions
    assert {layer.precision for layer in convolutions} == {bundle.precision}

"""TensorRT engines on a real GPU: build, open, run, and compare to ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import UserError
from deploy.apply.dynamic_batch import with_dynamic_batch
from deploy.bundle.types import BuildOptions
from deploy.targets import get_backend
from deploy.targets.base import Unavailable
from deploy.targets.tensorrt import backend as trt_backend
from deploy.targets.tensorrt.backend import TRTBackend
from tests.nets.exported import image, reference

pytestmark = pytest.mark.gpu

# Float convolutions may use TF32; in INT8 a value between two steps may be rounded to the other one.
MEAN_TOLERANCES = {"fp32": 1e-3, "fp16": 5e-3, "int8": 5e-3}


@pytest.fixture(scope="module", params=["tensorrt", "tensorrt_rtx"])
def backend(request):
    """A backend that runs here."""
    found = get_backend(request.param)
    missing = found.runnable("int8")
    if missing is not None:
        pytest.skip(f"{found.title}: {missing}")
    return found


@pytest.fixture(scope="module", params=TRTBackend.precisions)
def engine(request, backend, exported, tmp_path_factory):
    """Backend, bundle, and the ONNX it was built from."""
    precision = request.param
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


def test_inspector_and_build_log_agree(engine, monkeypatch):
    backend, bundle, _ = engine
    assert backend._inspected(bundle)
    told = backend.layers(bundle)
    monkeypatch.setattr(trt_backend, "unsupported", lambda driver, vendor: Unavailable("the log is read"))
    logged = backend.layers(bundle)
    assert [(layer.name, layer.kind, layer.precision, layer.output) for layer in told] == [
        (layer.name, layer.kind, layer.precision, layer.output) for layer in logged
    ]


def built(backend, exported, folder, precision="int8", **trt):
    """Backend and an engine of the residual network with these options."""
    source = exported.source(precision, "tensorrt")
    if "batch" in trt:
        with_dynamic_batch(source, folder / "dynamic.onnx")
        source = folder / "dynamic.onnx"
    return backend, backend.build(source, folder / precision, BuildOptions(precision, tensorrt=trt))


def run(backend, bundle, images):
    with backend.open(bundle) as session:
        return session.run({"image": images})["logits"]


@pytest.mark.parametrize("graph", [False, True])
def test_dynamic_batch_gives_what_each_image_gives_alone(backend, exported, tmp_path, graph):
    if graph and backend.name == "tensorrt":
        pytest.importorskip("cuda.bindings.driver", reason="pip install cuda-bindings")
    _, bundle = built(backend, exported, tmp_path, batch={"opt": 2, "max": 4}, cuda_graph=graph)
    images = [image(seed) for seed in range(4)]
    with backend.open(bundle) as session:
        alone = [session.run({"image": one})["logits"] for one in images]
        for batch in (4, 2, 3, 4):
            together = session.run({"image": np.concatenate(images[:batch])})["logits"]
            expected = np.concatenate(alone[:batch])
            assert np.abs(together - expected).mean() < MEAN_TOLERANCES["int8"] * np.abs(expected).max()
        with pytest.raises(UserError, match="does not take image"):
            session.run({"image": np.concatenate(images + images)})


def test_graph_computes_what_single_launches_do(backend, exported, tmp_path):
    if backend.name == "tensorrt":
        pytest.importorskip("cuda.bindings.driver", reason="pip install cuda-bindings")
    results = []
    for graph in (False, True):
        folder = tmp_path / str(graph)
        folder.mkdir()
        results.append(run(*built(backend, exported, folder, cuda_graph=graph), image()))
    assert np.abs(results[1] - results[0]).mean() < MEAN_TOLERANCES["int8"] * np.abs(results[0]).max()


def test_closing_gives_all_memory_back(backend, exported, tmp_path):
    _, bundle = built(backend, exported, tmp_path)
    import pycuda.driver as cuda

    def free_bytes():
        gpu = cuda.Device(0).retain_primary_context()
        gpu.push()
        try:
            return cuda.mem_get_info()[0]
        finally:
            gpu.pop()

    run(backend, bundle, image())  # loads the memory that the libraries keep
    kept = cuda.Device(0).retain_primary_context()  # else the device is reset, and all memory is free anyway
    before = free_bytes()
    for _ in range(3):
        run(backend, bundle, image())
    assert free_bytes() >= before
    del kept


def test_second_build_reads_what_the_first_timed(backend, exported, tmp_path):
    if backend.name != "tensorrt":
        pytest.skip("TensorRT-RTX has no timing cache")
    _, bundle = built(backend, exported, tmp_path, "fp32")
    (cache,) = tmp_path.glob("timing-*.cache")
    assert cache.stat().st_size > 0
    assert bundle.manifest["version"].replace(" ", "-") in cache.name
    built(backend, exported, tmp_path, "fp32", optimization_level=3)
    assert list(tmp_path.glob("timing-*.cache")) == [cache]

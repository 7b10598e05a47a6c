"""Every command builds the same engine as `make engine` from the same float graph and plan."""

import pytest
import torch

from core.config import BenchConfig
from core.files.artifacts import sha256_file
from core.files.paths import RunPaths
from deploy import pipeline as engines
from deploy.apps.place import Choices, apply_plan
from deploy.bundle.store import read_bundle
from deploy.placement.rule_sets import known_rules
from deploy.plan.images import read_images
from deploy.targets import get_backend
from deploy.targets.tuned import scheme_of
from deploy.tuning.compare import Comparer, Source
from qat.pipeline import run as pipeline
from qat.pipeline.single_steps import load_quantized
from qat.sensitivity.decide.engines import Engines
from tests.small_line import small_config

BACKENDS = ("openvino", "onnxruntime")
BENCH = BenchConfig(rounds=1, runs_per_round=1, warmup_ms=0)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The config of a trained run in its own folder, with the engines of `make engine`."""
    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp("door")
    patch.chdir(folder)
    skipped = "placement.skip=[blocks.1.conv2]"
    own = "deploy.pixels=false"  # the analysis is given a loader, and knows no normalisation
    config = small_config(folder, f"deploy.backends=[{', '.join(BACKENDS)}]", skipped, "qat.epochs=1", own)
    pipeline.ensure(config)
    engines.ensure(config)
    yield config
    patch.undo()


def files_of(bundle):
    """Hash of every file of an engine."""
    return {name: sha256_file(bundle.dir / name) for name in bundle.manifest["files"]}


def made(run, backend):
    return read_bundle(RunPaths(run.run).bundle(backend, "int8"))


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_engine_of_the_sensitivity_analysis(run, backend, tmp_path):
    paths = RunPaths(run.run)
    network = load_quantized(run, paths.qat_checkpoint)
    images = [torch.from_numpy(image) for image in read_images(paths.calibration)]
    own = Engines(network, pipeline.example_of(run), backend, tmp_path, BENCH, images)
    skip = run.placement.skip
    assert files_of(own.bundle(skip)) == files_of(made(run, backend))
    assert files_of(own.bundle(("head",))) != files_of(made(run, backend))


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_graph_that_autotune_starts_from(run, backend, tmp_path):
    paths, engine = RunPaths(run.run), get_backend(backend)
    base = engines.target_config(run, engine.target)
    source = Source(paths.trained_onnx, paths.plan, paths.calibration, paths.parity, base, known_rules(run.placement))
    graph = Comparer(source, engine, BENCH, tmp_path).graph(scheme_of(base))
    assert graph.read_bytes() == paths.placed(engine.target).read_bytes()


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_graph_of_the_apply_command(run, backend, tmp_path):
    paths, out = RunPaths(run.run), tmp_path / "out.onnx"
    apply_plan(paths.trained_onnx, paths.plan, out, Choices(target=backend, skip=run.placement.skip))
    assert out.read_bytes() == paths.placed(backend).read_bytes()

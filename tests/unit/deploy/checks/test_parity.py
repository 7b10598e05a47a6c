import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from core.errors import UserError
from deploy.checks.parity import HIGHEST_SNR_DB, _compared, parity, require_parity
from tests.nets.exported import image, reference


@pytest.fixture
def stored(exported, tmp_path):
    """Outputs of the exported Q/DQ graph for two images, as the QAT stage stores them."""
    images = np.concatenate([image(seed) for seed in (1, 2)])
    logits = np.concatenate([reference(exported.qdq, {"image": one[np.newaxis]}) for one in images])
    np.savez(tmp_path / "parity.npz", images=images, logits=logits, nudged=logits)
    return tmp_path / "parity.npz"


def test_the_placed_graph_computes_what_was_exported(exported, stored):
    found = require_parity(exported.placed, stored, "placed.onnx")
    assert found.images == 2 and found.agreement > 0.99 and found.snr_db > 30


def test_a_wrong_scale_is_refused(exported, stored, tmp_path):
    model = onnx.load(exported.placed)
    scale = next(item for item in model.graph.initializer if item.name == "head.weight_scale")
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) * np.float32(2), scale.name))
    onnx.save(model, tmp_path / "wrong.onnx")
    assert parity(tmp_path / "wrong.onnx", stored).snr_db < 10
    with pytest.raises(UserError, match="is not the trained model"):
        require_parity(tmp_path / "wrong.onnx", stored, "placed.onnx")


def far(stored, target, **arrays):
    """`stored` with noise as large as the logits: a network that magnifies rounding."""
    with np.load(stored) as given:
        noise = np.random.default_rng(0).normal(size=given["logits"].shape) * given["logits"].std()
        found = {"images": given["images"], "logits": given["logits"], "nudged": given["logits"]}
        np.savez(target, **{**found, **{key: (found["logits"] + noise).astype(np.float32) for key in arrays}})
    return target


def test_a_network_that_magnifies_rounding_is_not_blamed_on_placement(exported, stored, tmp_path):
    reference = far(stored, tmp_path / "far.npz", logits=True)
    assert require_parity(exported.placed, reference, "placed.onnx").snr_db < 10


def test_a_steady_network_is_blamed(exported, stored, tmp_path):
    with np.load(far(stored, tmp_path / "far.npz", logits=True)) as given:
        np.savez(tmp_path / "steady.npz", **{**given, "nudged": given["logits"]})
    with pytest.raises(UserError, match="is not the trained model"):
        require_parity(exported.placed, tmp_path / "steady.npz", "placed.onnx")


def test_an_answer_where_training_gave_zeros_is_no_perfect_result():
    ones = np.ones((1, 2, 2, 2), np.float32)
    assert _compared(ones, np.zeros_like(ones)).snr_db == -HIGHEST_SNR_DB
    assert _compared(ones, ones).snr_db == HIGHEST_SNR_DB

"""Image → mask bundles: built beside the network's, described, and compared with it."""

import shutil

import numpy as np
import pytest

from benchmarks.measure.accuracy import agreement
from benchmarks.measure.validation import Validation
from core.config import Config
from core.errors import UserError
from core.files.artifacts import read_json, write_json
from core.files.paths import RunPaths
from deploy import pipeline
from deploy.bundle.meaning import is_mask, mask_bundle_beside, write_classes
from deploy.targets import get_backend
from qat.data.base import Sample
from qat.tasks import TASKS

NAMES = ("road", "car", "tree", "sky")
COLORS = ((128, 64, 128), (0, 0, 142), (107, 142, 35), (70, 130, 180))


@pytest.fixture
def run(exported, tmp_path, monkeypatch):
    """A run folder as the QAT stage leaves it, and its config."""
    monkeypatch.chdir(tmp_path)
    paths = RunPaths("demo")
    paths.dir.mkdir(parents=True)
    shutil.copy(exported.fp32, paths.float_onnx)
    shutil.copy(exported.targets["openvino"], paths.placed("openvino"))
    write_classes(paths.classes, NAMES, COLORS)
    config = Config.model_validate(
        {
            "run": "demo",
            "model": {"num_classes": 4},
            "data": {"height_px": 32, "width_px": 32},
            "train": {"epochs": 1, "crop_height_px": 32, "crop_width_px": 32},
            "qat": {"epochs": 0},
            "deploy": {"backends": ["openvino"]},
        }
    )
    monkeypatch.setattr(pipeline, "ensure_placed", lambda config, paths, target: paths.placed(target))
    for check in ("require_trained", "ensure_portable"):
        monkeypatch.setattr(pipeline, check, lambda paths: None)
    return paths, config


class Photos:
    """Noise as images."""

    class_names, colors = NAMES, COLORS

    def __len__(self):
        return 3

    def __getitem__(self, index):
        image = np.random.default_rng(index).integers(0, 256, (32, 32, 3), np.uint8)
        return Sample(image, np.zeros((32, 32), np.uint8), str(index))

    def fingerprint(self):
        return "noise"


def test_masks_stand_beside_their_network_and_agree_with_it(run):
    from qat.data.transform import normalize

    _, config = run
    outcomes = {outcome.precision: outcome for outcome in pipeline.ensure(config) if outcome.bundle}
    assert set(outcomes) >= {"fp32", "int8"}
    for precision in ("fp32", "int8"):
        bundle, mask = outcomes[precision].bundle, outcomes[precision].mask
        assert mask.dir == mask_bundle_beside(bundle) == mask_bundle_beside(mask)
        assert mask.dir.name == f"openvino-{precision}-mask"
        assert is_mask(mask) and not is_mask(bundle)
        backend = get_backend("openvino")
        with backend.open(bundle) as network, backend.open(mask) as session:
            photos = Validation(
                Photos(), lambda image: normalize(image, config.data), len(NAMES), TASKS["segmentation"], None, []
            )
            found = agreement(session, network, photos, 3)
        assert found > 99


def test_the_manifest_says_what_goes_in_and_what_comes_out(run):
    _, config = run
    mask = next(outcome.mask for outcome in pipeline.ensure(config) if outcome.mask)
    meaning = read_json(mask.dir / "manifest.json")["meaning"]
    assert [entry["name"] for entry in meaning["classes"]] == list(NAMES)
    assert [tuple(entry["color"]) for entry in meaning["classes"]] == list(COLORS)
    assert meaning["normalization"]["mean"] == [0.485, 0.456, 0.406]
    assert (meaning["input"]["height_px"], meaning["input"]["color"]) == (32, "RGB")
    assert (meaning["kind"], meaning["input"]["range"]) == ("mask", [0, 255])
    assert meaning["normalization"]["where"] == "inside the engine"
    image, label = mask.manifest["tensors"]["inputs"][0], mask.manifest["tensors"]["outputs"][0]
    assert image == {"name": "rgb_image", "dtype": "uint8", "shape": [1, 32, 32, 3], "layout": "NHWC"}
    assert label == {"name": "label_map", "dtype": "uint8", "shape": [1, 32, 32], "layout": "NHW"}


def test_the_network_s_own_manifest_says_as_much(run):
    paths, config = run
    skips = [{"node": "a", "rule": "resize", "why": "w"}, {"node": "b", "rule": "resize", "why": "w"}]
    write_json(paths.placement("openvino"), {"skips": skips})
    bundles = {outcome.precision: outcome.bundle for outcome in pipeline.ensure(config) if outcome.bundle}
    for bundle in bundles.values():
        meaning = read_json(bundle.dir / "manifest.json")["meaning"]
        assert (meaning["kind"], meaning["output"]) == ("logits", "score of each class")
        assert [entry["name"] for entry in meaning["classes"]] == list(NAMES)
        assert meaning["normalization"]["where"] == "before the engine"
        low, high = meaning["input"]["range"]
        assert low == pytest.approx(-0.485 / 0.229, abs=1e-4)
        assert high == pytest.approx((1 - 0.406) / 0.225, abs=1e-4)
        (image,) = bundle.manifest["tensors"]["inputs"]
        assert image == {"name": "image", "dtype": "float32", "shape": [1, 3, 32, 32], "layout": "NCHW"}
    placement = bundles["int8"].manifest["placement"]
    assert (placement["target"], placement["tuned"]) == ("openvino", False)
    assert placement["skips"] == {"resize": 2}
    assert placement["quantized_convolutions"] == placement["convolutions"] == 6
    assert bundles["fp32"].manifest["placement"]["activations"] == 0
    assert "target" not in bundles["fp32"].manifest["placement"]


def test_no_masks_where_none_are_wanted_and_a_failed_one_does_not_hide_the_network(run, monkeypatch):
    paths, config = run
    without = config.model_copy(update={"deploy": config.deploy.model_copy(update={"image_to_mask": ()})})
    assert all(outcome.mask is None for outcome in pipeline.ensure(without))
    assert not list(paths.dir.glob("*mask*"))

    def broken(*_):
        raise UserError("cannot become")

    monkeypatch.setattr(pipeline, "ensure_baked", broken)
    assert [outcome.status for outcome in pipeline.ensure(config) if outcome.precision == "int8"] == ["ok"]
    assert all(outcome.mask is None for outcome in pipeline.ensure(config))

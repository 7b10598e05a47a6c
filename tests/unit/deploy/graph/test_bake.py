"""Image → mask graphs against the network alone, normalised, upsampled and compared outside."""

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnxruntime
import pytest
import torch
import torch.nn.functional as F

from core.errors import UserError
from deploy.apply import bake as bake_module
from deploy.apply.bake import Normalization, bake, interpolation

IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
TIE = 1e-4  # rounding may swap the two best logits below this gap


def logits_graph(path, shape=(1, 3, 24, 40), low=(3, 5), classes=4, dtype=np.float32, dynamic=False):
    """A random 1×1 convolution behind an average pool down to `low`."""
    rng = np.random.default_rng(5)
    batch = "N" if dynamic else shape[0]
    image = gs.Variable("image", dtype, (batch, *shape[1:]))
    pooled, logits = gs.Variable("pooled", dtype), gs.Variable("logits", dtype, (batch, classes, *low))
    stride = [shape[2] // low[0], shape[3] // low[1]]
    weights = gs.Constant("w", rng.normal(size=(classes, shape[1], 1, 1)).astype(dtype))
    pool = gs.Node("AveragePool", "pool", {"kernel_shape": stride, "strides": stride}, [image], [pooled])
    head = gs.Node("Conv", "head", {}, [pooled, weights], [logits])
    model = gs.export_onnx(gs.Graph([pool, head], [image], [logits], opset=18))
    model.ir_version = 8
    onnx.save(model, path)
    return path


def run(path, value):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: value})[0]


def photo(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def unbaked(path, rgb, normalization=IMAGENET):
    """Upsampled logits, float64 (N, classes, H, W), of the network alone."""
    image = ((rgb / 255 - normalization.mean) / normalization.std).transpose(0, 3, 1, 2)
    logits = torch.from_numpy(run(path, image.astype(np.float32))).double()
    return F.interpolate(logits, size=rgb.shape[1:3], mode="bilinear", align_corners=True).numpy()


def assert_same_labels(mask, logits):
    assert mask.dtype == np.uint8 and mask.shape == (logits.shape[0], *logits.shape[2:])
    best = np.sort(logits, axis=1)
    differs = mask != logits.argmax(axis=1)
    assert np.all((best[:, -1] - best[:, -2])[differs] < TIE)
    assert differs.mean() < 0.01


@pytest.mark.parametrize("form", ["bands", "resize"])
@pytest.mark.parametrize("low", [(3, 5), (12, 20), (24, 40), (1, 1), (1, 5)])
def test_masks_equal_those_of_the_network_alone(tmp_path, form, low, monkeypatch):
    monkeypatch.setattr(bake_module, "BAND_BYTES", 5 * 4 * 40 * 4)  # five rows: bands that do not divide the image
    source = logits_graph(tmp_path / "net.onnx", low=low)
    bake(source, tmp_path / "mask.onnx", IMAGENET, form)
    images = [photo((1, 24, 40, 3), seed) for seed in range(3)]
    masks = np.concatenate([run(tmp_path / "mask.onnx", rgb) for rgb in images])
    assert_same_labels(masks, np.concatenate([unbaked(source, rgb) for rgb in images]))
    assert len(np.unique(masks)) > 1 or low == (1, 1)


@pytest.mark.parametrize("form", ["bands", "resize"])
def test_a_dynamic_batch_stays_dynamic(tmp_path, form):
    source = logits_graph(tmp_path / "net.onnx", dynamic=True)
    bake(source, tmp_path / "mask.onnx", IMAGENET, form)
    rgb = photo((3, 24, 40, 3))
    assert_same_labels(run(tmp_path / "mask.onnx", rgb), unbaked(source, rgb))
    assert_same_labels(run(tmp_path / "mask.onnx", rgb[:1]), unbaked(source, rgb[:1]))


@pytest.mark.parametrize("form", ["bands", "resize"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_every_precision_keeps_its_nodes(exported, tmp_path, form, precision):
    source = exported.source(precision, "tensorrt")
    bake(source, tmp_path / "mask.onnx", IMAGENET, form)
    before, after = ([node.op_type for node in onnx.load(path).graph.node] for path in (source, tmp_path / "mask.onnx"))
    for op in {"QuantizeLinear", "DequantizeLinear", "Conv"}:
        assert after.count(op) == before.count(op)
    rgb = photo((1, 32, 32, 3))
    mask, expected = run(tmp_path / "mask.onnx", rgb), unbaked(source, rgb).argmax(axis=1)
    assert (mask == expected).mean() > 0.99  # rounding of the image may change a quantized value


def test_the_file_is_the_same_every_time(exported, tmp_path):
    for name in ("a", "b"):
        bake(exported.placed, tmp_path / f"{name}.onnx", IMAGENET, "bands")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


@pytest.mark.parametrize(("size", "low"), [(360, 45), (7, 3), (5, 1), (1, 4), (9, 9)])
def test_interpolation_is_bilinear_with_aligned_corners(size, low):
    ramp = np.random.default_rng(1).normal(size=low).astype(np.float32)
    expected = F.interpolate(torch.from_numpy(ramp)[None, None], size=size, mode="linear", align_corners=True)
    assert np.allclose(interpolation(size, low) @ ramp, expected[0, 0].numpy(), atol=1e-5)


@pytest.mark.parametrize("shape", [{"shape": (1, 4, 24, 40)}, {"classes": 300}, {"dtype": np.float16}])
def test_other_networks_are_refused_by_what_they_have(tmp_path, shape):
    source = logits_graph(tmp_path / "net.onnx", **shape)
    with pytest.raises(UserError, match="cannot become an image → mask engine") as caught:
        bake(source, tmp_path / "mask.onnx", IMAGENET, "bands")
    assert "image" in caught.value.why and not (tmp_path / "mask.onnx").exists()

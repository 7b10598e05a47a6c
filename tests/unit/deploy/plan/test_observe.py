import numpy as np
import onnx_graphsurgeon as gs
import pytest

from core.errors import UserError
from deploy.plan.images import read_images
from deploy.plan.scale import activation_scale
from deploy.plan.statistics import collect


def observe(graph, tensors, calibration):
    """The scale of the largest magnitude of each tensor."""
    found = collect(graph, tensors, list(read_images(calibration)))
    return {name: activation_scale(histogram.amax) for name, histogram in found.items()}


def doubling(scale=2.0):
    x, y, z = (gs.Variable(name, np.float32, (1, 2, 3, 3)) for name in "xyz")
    nodes = [
        gs.Node("Mul", "double", inputs=[x, gs.Constant("two", np.array(scale, np.float32))], outputs=[y]),
        gs.Node("Relu", "relu", inputs=[y], outputs=[z]),
    ]
    return gs.Graph(nodes, inputs=[x], outputs=[z], opset=18, ir_version=8)


@pytest.fixture
def images(tmp_path):
    values = np.zeros((3, 2, 3, 3), np.float32)
    values[1, 0, 1, 1] = -5
    values[2, 1, 2, 2] = 3
    np.save(tmp_path / "c.npy", values)
    return tmp_path / "c.npy"


def test_the_largest_magnitude_of_all_images_is_127_steps(images):
    scales = observe(doubling(), ["y", "z"], images)
    assert {name: float(scale.values) * 127 for name, scale in scales.items()} == pytest.approx({"y": 10, "z": 6})
    assert all(scale.axis is None and scale.values.dtype == np.float32 for scale in scales.values())


def test_the_graph_is_left_as_it_was(images):
    graph = doubling()
    before = gs.export_onnx(graph).SerializeToString()
    observe(graph, ["y"], images)
    assert gs.export_onnx(graph).SerializeToString() == before


def test_a_tensor_of_zeros_has_a_positive_scale(images):
    assert float(observe(doubling(0.0), ["y"], images)["y"].values) > 0


def test_images_of_a_run_are_normalised(tmp_path):
    pixels = np.full((2, 3, 4, 3), 51, np.uint8)
    mean, std = np.float32([0.1, 0.2, 0.3]), np.float32([0.5, 0.25, 1])
    np.savez(tmp_path / "c.npz", images=pixels, mean=mean, std=std)
    first, second = read_images(tmp_path / "c.npz")
    assert first.shape == (1, 3, 3, 4) and first.dtype == np.float32
    np.testing.assert_allclose(first[0, :, 0, 0], [0.2, 0, -0.1], atol=1e-7)
    np.testing.assert_array_equal(first, second)


def test_infinite_activations_are_refused_by_name(images):
    with pytest.raises(UserError, match="y is NaN or infinity"):
        observe(doubling(np.inf), ["y"], images)


def test_wrong_files_are_refused(tmp_path):
    (tmp_path / "no.npy").write_bytes(b"no array")
    np.savez(tmp_path / "half.npz", images=np.zeros((1, 2, 2, 3), np.uint8))
    np.save(tmp_path / "wide.npy", np.ones((1, 5, 3, 3), np.float32))
    with pytest.raises(UserError, match="not a calibration file"):
        list(read_images(tmp_path / "missing.npy"))
    with pytest.raises(UserError, match="not a calibration file"):
        list(read_images(tmp_path / "no.npy"))
    with pytest.raises(UserError, match="lacks mean, std"):
        list(read_images(tmp_path / "half.npz"))
    with pytest.raises(UserError, match="do not fit the graph"):
        observe(doubling(), ["y"], tmp_path / "wide.npy")

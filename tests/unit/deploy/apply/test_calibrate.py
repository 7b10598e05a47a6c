"""Calibration without torch: the plan that qat's calibration gives, and files that hold no images."""

import copy
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx_graphsurgeon as gs
import pytest
import torch

from core.config import CalibrationConfig, QatConfig
from core.errors import UserError
from deploy.apply.apply import apply
from deploy.apply.calibrate import calibrate, complete
from deploy.apply.target import TargetConfig
from deploy.apps.place import Choices, make_plan
from deploy.graph import onnx_graph
from deploy.placement.rule_sets import select
from deploy.placement.rules import RULES
from deploy.plan.images import read_images
from deploy.plan.plan import EXACT, OBSERVED, read_plan
from deploy.targets import TARGETS
from qat.calibration.approaches import finish, prepare
from qat.export import planned
from tests.nets.exported import SHAPE
from tests.nets.residual_graph import quantized_residual

ROOT = Path(__file__).parents[4]
METHODS = ("max", "moving_average", "percentile", "mse", "entropy")
GOAL = TargetConfig(TARGETS["tensorrt"], RULES)
OTHERS = [TargetConfig(TARGETS[name], select(name)) for name in ("openvino", "onnxruntime")]


def images(count=4):
    """Normalised images with a few far outliers, which the methods clip differently."""
    values = np.random.default_rng(5).standard_t(4, (count, *SHAPE[1:])).astype(np.float32)
    return [value[np.newaxis] for value in values]


@pytest.fixture(scope="module")
def traced():
    """The residual network with quantizers that have no ranges."""
    return quantized_residual(SHAPE[-1])


@pytest.fixture(scope="module")
def float_file(exported):
    return exported.fp32


@pytest.fixture(scope="module")
def graph(float_file):
    return onnx_graph.clean(onnx_graph.load(float_file))


def config(method):
    return CalibrationConfig(method=method, percentile=99.0, momentum=0.5)


@pytest.mark.parametrize("method", METHODS)
def test_the_plan_is_that_of_qat_on_the_same_images(traced, method):
    model = copy.deepcopy(traced)
    prepare(model, QatConfig(epochs=0, calibration=config(method)), map(torch.from_numpy, images()))
    finish(model)
    graph, expected = planned(model, torch.zeros(SHAPE), 18)
    found = calibrate(graph, images(), GOAL, config(method))
    assert found.skips == expected.skips
    assert found.tensors.keys() == expected.tensors.keys()
    for name, tensor in expected.tensors.items():
        own = found.tensors[name]
        np.testing.assert_allclose(own.scale, tensor.scale, rtol=1e-5, err_msg=name)
        assert own.model_copy(update={"scale": tensor.scale}) == tensor


def test_methods_find_different_ranges(graph):
    found = {method: calibrate(graph, images(), GOAL, config(method)).tensors["image"] for method in METHODS}
    assert len({tensor.scale for tensor in found.values()}) == len(METHODS)
    assert all(tensor.scale <= found["max"].scale for tensor in found.values())
    assert found["max"].scale == pytest.approx(np.abs(images()).max() / 127, rel=1e-6)
    assert {tensor.origin for tensor in found.values()} == {
        "histogram-max",
        "moving-average",
        "histogram-percentile",
        "histogram-mse",
        "histogram-entropy",
    }


def test_tensors_of_other_targets_alone_get_their_observed_maximum(graph):
    alone = calibrate(graph, images(), GOAL, config("mse"))
    found = calibrate(graph, images(), GOAL, config("mse"), OTHERS)
    assert {name: found.tensors[name] for name in alone.tensors} == alone.tensors
    more = {name: tensor.origin for name, tensor in found.tensors.items() if name not in alone.tensors}
    assert more and set(more.values()) == {OBSERVED}
    assert not any(found.tensors[name].uses for name in more)
    for goal in OTHERS:
        assert not [skip for skip in apply(graph, found, goal).plan.skips if skip.rule == "scales"]


def test_a_complete_plan_stays_as_it_is(graph):
    found = calibrate(graph, images(), GOAL, config("mse"), OTHERS)
    assert complete(found, graph, images(1), [GOAL, *OTHERS]) == found


def test_weights_that_a_target_s_rewrite_makes_are_exact_and_no_part_of_the_plan(graph):
    found = calibrate(graph, images(), GOAL, config("mse"), OTHERS)
    made = apply(graph, found, OTHERS[1]).plan.weights
    assert {name: tensor.origin for name, tensor in made.items() if name not in found.tensors} == {"pre_weight": EXACT}


def test_the_graph_is_left_as_it_was(graph):
    before = gs.export_onnx(graph).SerializeToString()
    calibrate(graph, images(), GOAL, config("max"), OTHERS)
    assert gs.export_onnx(graph).SerializeToString() == before


def test_no_images_and_no_rules_are_refused(graph):
    with pytest.raises(UserError, match="no calibration images"):
        calibrate(graph, [], GOAL, config("max"))
    with pytest.raises(UserError, match="no placement rule found anything"):
        calibrate(graph, images(), TargetConfig(TARGETS["tensorrt"], RULES, ("*",)), config("max"))


def test_commands_make_and_apply_a_plan_where_torch_is_not_installed(float_file, tmp_path):
    np.save(tmp_path / "images.npy", np.concatenate(images()))
    program = "import runpy, sys; sys.modules['torch'] = None; runpy.run_module('deploy', run_name='__main__')"
    for arguments in (
        ("calibrate", float_file, "images.npy", "made", "--method", "entropy"),
        ("apply", "made/float.onnx", "made/plan.json", "openvino.onnx", "--target", "openvino"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", program, *map(str, arguments)],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    plan = read_plan(tmp_path / "made" / "plan.json", tmp_path / "made" / "float.onnx")
    assert plan.tensors["image"].origin == "histogram-entropy"
    operators = [node.op for node in onnx_graph.load(tmp_path / "openvino.onnx").nodes]
    assert operators.count("DequantizeLinear") == 12 and "6 activations and 6 weights" in done.stdout


def npy(array, **options):
    """The bytes that `np.save` writes."""
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def huge():
    """A header that claims more data than any machine holds."""
    file = io.BytesIO()
    described = {"descr": "<f4", "fortran_order": False, "shape": (2**40, *SHAPE[1:])}
    np.lib.format.write_array_header_1_0(file, described)
    return file.getvalue()


def npz(compressed=False, **changed):
    """A run's `calibration.npz` with some of its arrays replaced; None removes an array."""
    pixels = np.tile((np.arange(32 * 32 * 3) // 24 % 256).astype(np.uint8).reshape(1, 32, 32, 3), (2, 1, 1, 1))
    stored = {"images": pixels, "mean": np.float32([0.5] * 3), "std": np.float32([0.25] * 3), **changed}
    file = io.BytesIO()
    save = np.savez_compressed if compressed else np.savez
    save(file, **{key: value for key, value in stored.items() if value is not None})
    return file.getvalue()


def spoiled(content, member="images.npy"):
    """An archive whose member has a damaged middle."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        item = archive.getinfo(member)
    middle = item.header_offset + 30 + len(member) + item.compress_size // 2
    return content[:middle] + bytes(byte ^ 0xFF for byte in content[middle : middle + 16]) + content[middle + 16 :]


ONES = np.ones(SHAPE, np.float32)
FAULTS = {
    "empty.npy": b"",
    "no images.npy": npy(np.zeros((0, *SHAPE[1:]), np.float32)),
    "zeros.npy": npy(0 * ONES),
    "uint8.npy": npy(ONES.astype(np.uint8)),
    "a number.npy": npy(np.float32(1)),
    "strings.npy": npy(np.full(SHAPE, "x")),
    "objects.npy": npy(np.array([{}], object), allow_pickle=True),
    "one axis less.npy": npy(ONES[0]),
    "other size.npy": npy(np.ones((1, 3, 16, 16), np.float32)),
    "other channels.npy": npy(np.ones((1, 1, 32, 32), np.float32)),
    "nan.npy": npy(np.where(np.arange(32) == 7, np.nan, ONES).astype(np.float32)),
    "infinite.npy": npy(np.where(np.arange(32) == 7, np.inf, ONES).astype(np.float32)),
    "beyond float32.npy": npy(np.full(SHAPE, 1e300)),
    "truncated.npy": npy(ONES)[:-100],
    "huge.npy": huge(),
    "text.npy": b"these are no images",
    "an archive.npy": npz(),
    "empty.npz": b"",
    "truncated.npz": npz()[:-100],
    "damaged.npz": spoiled(npz()),
    "damaged compressed.npz": spoiled(npz(compressed=True)),
    "an array.npz": npy(ONES),
    "no mean.npz": npz(mean=None),
    "float images.npz": npz(images=np.ones((2, 32, 32, 3), np.float32)),
    "channels first.npz": npz(images=np.ones((2, 3, 32, 32), np.uint8)),
    "no images.npz": npz(images=np.zeros((0, 32, 32, 3), np.uint8)),
    "black.npz": npz(images=np.zeros((2, 32, 32, 3), np.uint8)),
    "other size.npz": npz(images=np.ones((2, 16, 16, 3), np.uint8)),
    "std of zero.npz": npz(std=np.float32([0.25, 0.0, 0.25])),
    "mean of nan.npz": npz(mean=np.float32([0.5, np.nan, 0.5])),
    "strings.npz": npz(images=np.full((2, 32, 32, 3), "x"), mean=np.array(["a"] * 3)),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_file_without_usable_images_is_refused_and_nothing_is_written(float_file, tmp_path, name):
    (tmp_path / name).write_bytes(FAULTS[name])
    with pytest.raises(UserError) as refused:
        make_plan(float_file, read_images(tmp_path / name), tmp_path / "made", Choices(), config("mse"))
    assert refused.value.why or refused.value.fix
    assert [path.name for path in tmp_path.rglob("*")] == [name]


def test_a_folder_and_a_missing_file_are_refused(float_file, tmp_path):
    for path in (tmp_path, tmp_path / "missing.npy", tmp_path / "missing.npz"):
        with pytest.raises(UserError, match="not a calibration file"):
            make_plan(float_file, read_images(path), tmp_path / "made", Choices(), config("mse"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_images_of_any_float_type_are_read(float_file, tmp_path, kind):
    np.save(tmp_path / "images.npy", np.concatenate(images(1)).astype(np.float16).astype(kind))
    _, made = make_plan(float_file, read_images(tmp_path / "images.npy"), tmp_path / "made", Choices(), config("max"))
    plan = read_plan(made)
    largest = np.abs(images(1)).max().astype(np.float16)
    assert plan.tensors["image"].scale == pytest.approx(float(largest) / 127, rel=1e-6)

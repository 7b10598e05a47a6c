"""Every toolkit's form is placed completely: all convolutions in INT8, and the network's function unchanged."""

import hashlib

import numpy as np
import onnx
import pytest

from deploy.checks.verify import verify
from deploy.graph import onnx_graph
from deploy.placement.rule_sets import select
from tests.foreign.builder import SIDE
from tests.foreign.toolkits import OPSETS, TOOLKITS
from tests.nets.exported import reference
from tests.nets.placing import place

# Shares of the largest logit. Symmetric int8 is kept exactly; an unsigned or asymmetric range loses one bit.
EXACT, COVERED = 0.002, 0.03


def image(seed=5):
    return {"image": np.random.default_rng(seed).standard_normal((1, 3, SIDE, SIDE)).astype(np.float32)}


@pytest.fixture(params=TOOLKITS)
def toolkit(request):
    return request.param


@pytest.fixture
def source(toolkit, tmp_path):
    path = TOOLKITS[toolkit]().save(tmp_path / "source.onnx", opset=OPSETS.get(toolkit, 17))
    onnx.checker.check_model(str(path), full_check=True)
    return path


def placed_file(source, target, **options):
    placed = place(source, select(), **options)
    onnx_graph.save(placed.graph, target)
    verify(target, placed.plan)
    return placed


def behind_copies(tensor):
    """Kind of the node that makes `tensor`, a Transpose not counted."""
    node = tensor.inputs[0]
    return behind_copies(node.inputs[0]) if node.op == "Transpose" else node.op


@pytest.mark.parametrize("weights", ["int8", "float"])
def test_it_computes_what_the_toolkit_exported(toolkit, source, tmp_path, weights):
    placed_file(source, tmp_path / "placed.onnx", weights=weights)
    bound = COVERED if toolkit.startswith(("onnxruntime", "nncf")) else EXACT
    expected, got = reference(source, image()), reference(tmp_path / "placed.onnx", image())
    assert np.abs(got - expected).max() <= bound * np.abs(expected).max()


def test_every_conv_and_the_residual_are_int8(source, tmp_path):
    placed = placed_file(source, tmp_path / "placed.onnx")
    assert len(placed.plan.weights) == 3
    assert [skip for skip in placed.plan.skips if skip.rule == "scales"] == []
    graph = onnx_graph.load(tmp_path / "placed.onnx")
    above = {node.op: [behind_copies(tensor) for tensor in node.inputs] for node in graph.nodes if node.op == "Add"}
    assert above["Add"].count("DequantizeLinear") == 1
    convs = [node for node in graph.nodes if node.op == "Conv"]
    assert [behind_copies(tensor) for node in convs for tensor in node.inputs[:2]] == ["DequantizeLinear"] * 6


def test_it_leaves_nothing_of_the_toolkit(source, tmp_path):
    placed_file(source, tmp_path / "placed.onnx")
    model = onnx.load(tmp_path / "placed.onnx")
    kinds = {node.op_type for node in model.graph.node}
    assert kinds <= {"QuantizeLinear", "DequantizeLinear", "Conv", "Relu", "Add", "Transpose"}
    relus = [node for node in model.graph.node if node.op_type == "Relu"]
    assert len(relus) == 2
    assert model.opset_import[0].version >= 17
    assert [output.name for output in model.graph.output] == ["logits"]


def test_the_same_file_makes_the_same_file_and_placing_again_changes_nothing(source, tmp_path):
    for name in ("a", "b"):
        placed_file(source, tmp_path / f"{name}.onnx")
    placed_file(tmp_path / "a.onnx", tmp_path / "again.onnx")
    assert len({hashlib.sha256((tmp_path / f"{name}.onnx").read_bytes()).hexdigest() for name in "ab"}) == 1
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "a.onnx").read_bytes()


def test_float_weights_placed_again_are_the_same(source, tmp_path):
    placed_file(source, tmp_path / "a.onnx", weights="float")
    placed_file(tmp_path / "a.onnx", tmp_path / "again.onnx", weights="float")
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "a.onnx").read_bytes()
    stored = {item.name: item.data_type for item in onnx.load(tmp_path / "a.onnx").graph.initializer}
    assert sum(kind == onnx.TensorProto.FLOAT and "scale" not in name for name, kind in stored.items()) >= 3

"""Noise of one operator's quantization is what the graph computes with that operator alone in INT8."""

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from core.config import CalibrationConfig
from deploy.apply.apply import apply
from deploy.apply.calibrate import calibrate
from deploy.apply.target import PORTABLE, TargetConfig
from deploy.checks.noise import noise_by_node
from deploy.graph.debug_session import watching
from deploy.graph.opgraph import WEIGHTED
from deploy.importing.import_plan import import_plan
from deploy.placement.rule_sets import select
from tests.nets.picture_nets import network

RANDOM = np.random.default_rng(3)
IMAGES = [np.abs(RANDOM.standard_normal((1, 3, 32, 32))).astype(np.float32) for _ in range(2)]
GOAL = TargetConfig(PORTABLE, select("openvino"))


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    graph, _ = import_plan(network(tmp_path_factory.mktemp("net") / "net.onnx", outputs=("scores", "map")))
    return graph, calibrate(graph, IMAGES, GOAL, CalibrationConfig(method="max"))


def outputs(graph):
    names = [output.name for output in graph.outputs]
    session = watching(gs.export_onnx(graph), names)
    return [session.run(names, {"image": image}) for image in IMAGES]


def test_each_operator_alone(parts):
    graph, plan = parts
    found = {item.node: item for item in noise_by_node(graph, plan, IMAGES)}
    copies = {"flat_Flatten"}  # its pair is the Gemm's
    assert found.keys() == {use.node for tensor in plan.quantized.values() for use in tensor.uses} - copies
    references, ops = outputs(graph), {node.name: node.op for node in graph.nodes}
    weighted = {node: item for node, item in found.items() if ops[node] in WEIGHTED}
    assert len(weighted) >= 4
    for node, item in weighted.items():
        goal = TargetConfig(PORTABLE, GOAL.rules, skip=tuple(found.keys() - {node}))
        results = outputs(apply(graph, plan, goal).graph)
        shares = [
            np.square(one - other, dtype=np.float64).sum() / np.square(one, dtype=np.float64).sum()
            for expected, got in zip(references, results, strict=True)
            for one, other in zip(expected, got, strict=True)
        ]
        assert item.power == pytest.approx(sum(shares) / len(IMAGES), rel=1e-3) and item.power > 0


def test_work_is_multiply_adds_and_results(parts):
    graph, plan = parts
    works = {item.node: item.work for item in noise_by_node(graph, plan, IMAGES[:1])}
    nodes = {node.name: node for node in graph.nodes}
    first = nodes["c1_Conv"]
    assert works["c1_Conv"] == 8 * 32 * 32 * (1 + 3 * 3 * 3)
    assert works["c2_Conv"] == 8 * 32 * 32 * (1 + 3 * 3)
    assert first.outputs[0].shape == [1, 8, 32, 32]


def test_those_that_win_most_for_their_work_come_first(parts):
    ratios = [item.power / item.work for item in noise_by_node(*parts, IMAGES)]
    assert ratios == sorted(ratios, reverse=True) and len(ratios) >= 4

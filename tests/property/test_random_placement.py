"""Any network: the placed graph is valid, placing it again changes nothing, and it computes nearly the same."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from hypothesis import HealthCheck, given, settings

from deploy.checks.verify import verify
from deploy.graph import onnx_graph
from deploy.placement.rule_sets import RULE_SETS, select
from deploy.targets import TARGETS
from tests.nets.placing import place
from tests.property.mutations import fuzz
from tests.property.random_graphs import networks, quantize_everything, run

ERROR = 0.15  # of the output's RMS: a dozen layers, each rounding to 1/127 of its range
REPEATABLE = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def feeds():
    return {"x": np.random.default_rng(7).standard_normal((1, 4, 8, 8), dtype=np.float32)}


def placed_file(source: Path, target: Path, rules):
    placed = place(source, rules)
    onnx_graph.save(placed.graph, target)
    verify(target, placed.plan)
    return placed


@fuzz(12)
@given(graph=networks())
def test_a_few_networks(graph):
    check(graph, select())


@pytest.mark.slow
@pytest.mark.parametrize("rule_set", RULE_SETS)
@settings(REPEATABLE, max_examples=200)
@given(graph=networks())
def test_many_networks(rule_set, graph):
    check(graph, select(rule_set))


@fuzz(12)
@given(graph=networks())
def test_a_few_networks_for_the_targets_of_cpu_engines(graph):
    for name in ("openvino", "onnxruntime"):
        check_target(graph, name)


@pytest.mark.slow
@settings(REPEATABLE, max_examples=200)
@given(graph=networks())
def test_many_networks_for_the_targets_of_cpu_engines(graph):
    for name in ("openvino", "onnxruntime"):
        check_target(graph, name)


def check_target(graph, name):
    wanted = TARGETS[name]
    with tempfile.TemporaryDirectory() as folder:
        source, target, calibration = (Path(folder) / name for name in ("source.onnx", "placed.onnx", "c.npy"))
        onnx.save(gs.export_onnx(quantize_everything(graph, feeds())), str(source))
        np.save(calibration, feeds()["x"])
        placed = place(source, select(name), target=wanted, calibration=calibration)
        onnx_graph.save(placed.graph, target)
        verify(target, placed.plan, wanted.unsigned)
        close(run(graph, feeds()), run(onnx_graph.load(target), feeds()))


def close(expected, got):
    assert expected.keys() == got.keys()
    for name, values in expected.items():
        assert np.sqrt(np.mean((got[name] - values) ** 2)) <= ERROR * np.sqrt(np.mean(values**2)) + 1e-3, name


def check(graph, rules):
    with tempfile.TemporaryDirectory() as folder:
        source, once, twice = (Path(folder) / f"{name}.onnx" for name in ("source", "once", "twice"))
        onnx.save(gs.export_onnx(quantize_everything(graph, feeds())), str(source))
        placed = placed_file(source, once, rules)
        again = placed_file(once, twice, rules)
        assert once.read_bytes() == twice.read_bytes()
        assert again.unused == again.widened == ()
        close(run(graph, feeds()), run(onnx_graph.load(once), feeds()))
    narrow = {skip.node for skip in placed.plan.skips if skip.rule == "small-groups"}
    weighted = {node.name for node in graph.nodes if node.op in ("Conv", "Gemm")}
    assert {use.node for item in placed.plan.weights.values() for use in item.uses} == weighted - narrow

"""A Concat with negative values between convolutions: the engine computes what its graph says."""

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest

from deploy.apply.target import TargetConfig
from deploy.bundle.types import BuildOptions
from deploy.checks.fidelity import fidelity
from deploy.checks.write import write_applied
from deploy.graph import onnx_graph
from deploy.graph.debug_session import watching
from deploy.placement.rule_sets import select
from deploy.plan.plan import QuantizationPlan, write_plan
from deploy.plan.scale import activation_scale, max_scale
from deploy.targets import get_backend, target_for

RANDOM = np.random.default_rng(0)
SIDE = 16


def conv(graph, source, name, inputs, op="Conv", **attrs):
    weight = gs.Constant(f"w_{name}", RANDOM.normal(size=(16, inputs, 3, 3)).astype(np.float32) / (3 * inputs**0.5))
    result = gs.Variable(name, np.float32)
    graph.nodes.append(gs.Node(op, f"conv_{name}", {"pads": [1] * 4, **attrs}, [source, weight], [result]))
    return result


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_signed_and_unsigned_parts(name, tmp_path):
    x = gs.Variable("x", np.float32, (1, 16, SIDE, SIDE))
    graph = gs.Graph([], inputs=[x], opset=18, ir_version=8)
    positive = gs.Variable("positive", np.float32)
    graph.nodes.append(gs.Node("Relu", "relu", {}, [conv(graph, x, "a", 16)], [positive]))
    joined = gs.Variable("joined", np.float32)
    signed = conv(graph, positive, "b", 16)
    graph.nodes.append(gs.Node("Concat", "join", {"axis": 1}, [positive, signed], [joined]))
    graph.outputs = [conv(graph, joined, "y", 32)]
    graph.outputs[0].shape = (1, 16, SIDE, SIDE)
    onnx_graph.save(graph, tmp_path / "float.onnx")
    image = RANDOM.normal(size=x.shape).astype(np.float32)
    session = watching(onnx.load(str(tmp_path / "float.onnx")), ["positive", "joined"])
    largest = dict(zip(["positive", "joined"], session.run(None, {"x": image}), strict=True)) | {"x": image}
    scales = {tensor: activation_scale(float(np.abs(value).max())) for tensor, value in largest.items()}
    weights = {f"w_{part}": max_scale(graph.tensors()[f"w_{part}"].values, 0) for part in ("a", "b", "y")}
    plan = QuantizationPlan().adding(scales, "max").adding(weights, "max")
    write_plan(plan.of_graph(tmp_path / "float.onnx"), tmp_path / "plan.json")
    goal = TargetConfig(target_for(name), select(name))
    write_applied(tmp_path / "float.onnx", tmp_path / "plan.json", goal, tmp_path / "placed.onnx")
    expected = watching(onnx.load(str(tmp_path / "placed.onnx")), ["y"]).run(["y"], {"x": image})[0]
    backend = get_backend(name)
    bundle = backend.build(tmp_path / "placed.onnx", tmp_path / "engine", BuildOptions("int8", threads=1))
    with backend.open(bundle) as engine:
        (found,) = fidelity([{"y": expected}], [engine.run({"x": image})])
    assert found.snr_db > 35
    in_int8 = sum(layer.kind == "Conv" and layer.precision == "int8" for layer in backend.layers(bundle))
    assert in_int8 == (3 if name == "openvino" else 1)  # ONNX Runtime's kernels need a pair behind them, too

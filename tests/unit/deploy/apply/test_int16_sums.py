"""Weights whose neighbouring products fit into 16 bits, which is what x86 CPUs without VNNI add them in."""

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest

from deploy.apply.int16_sums import fitted, heaviest
from deploy.apply.target import TargetConfig
from deploy.bundle.types import BuildOptions
from deploy.checks.fidelity import fidelity
from deploy.checks.write import write_applied
from deploy.graph import onnx_graph
from deploy.graph.debug_session import watching
from deploy.placement.rule_sets import select
from deploy.plan.plan import QuantizationPlan, TensorPlan, Use, write_plan
from deploy.plan.scale import Scale, activation_scale, max_scale, quantize_array
from deploy.targets import TARGETS, get_backend, target_for

SHAPES = {
    "Conv": ((8, 6, 3, 3), 0, {}),
    "odd": ((8, 3, 3, 3), 0, {}),
    "depthwise": ((6, 1, 3, 3), 0, {"group": 6}),
    "ConvTranspose": ((6, 8, 2, 2), 1, {}),
    "Gemm": ((6, 8), 1, {}),
    "Gemm transB": ((8, 6), 0, {"transB": 1}),
    "MatMul": ((6, 8), 1, {}),
}


def planned(case, per_channel=True):
    shape, axis, attrs = SHAPES[case]
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    op = case.split()[0] if case[0].isupper() else "Conv"
    weight = gs.Constant("w", values)
    x, y = gs.Variable("x", np.float32), gs.Variable("y", np.float32)
    graph = gs.Graph([gs.Node(op, "op", dict(attrs), [x, weight], [y])], inputs=[x], outputs=[y], opset=18)
    scale = max_scale(values, axis) if per_channel else Scale(np.array(np.abs(values).max() / 127, np.float32))
    entry = TensorPlan.of(scale, "max").model_copy(
        update={"weight": True, "uses": (Use(node="op", input=1, rule="weighted-ops"),)}
    )
    return graph, QuantizationPlan(tensors={"w": entry}), values, axis


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("case", SHAPES)
def test_no_two_neighbouring_products_leave_16_bits(case, per_channel):
    graph, plan, values, axis = planned(case, per_channel)
    _, found = fitted(graph, plan)
    old, new = plan.scales()["w"], found.scales()["w"]
    assert (new.values >= old.values).all() and new.axis == old.axis
    steps = np.moveaxis(quantize_array(values, new).astype(int), axis, 0)
    steps = steps.reshape(*steps.shape[:2], -1).transpose(0, 2, 1)  # outputs, places, inputs
    flat = steps.reshape(len(steps), -1)
    pairs = [(2 * k, 2 * k + 1) for k in range(flat.shape[1] // 2)]
    if steps.shape[2] % 2 and steps.shape[2] > 1:
        pairs = [(k, k + 1) for k in range(flat.shape[1] - 1)]
    if steps.shape[2] == 1:
        assert (new.values == old.values).all()
        return
    for sign in (1, -1):  # an input of 0 takes the other product out
        one_sign = 255 * np.maximum(0, sign * flat)
        assert max((one_sign[:, i] + one_sign[:, j]).max() for i, j in pairs) <= 32767


def test_a_channel_pays_only_for_its_own_worst_pair():
    weight = np.zeros((3, 4, 1, 1), np.float32)
    weight[0, :, 0, 0] = 1, 1, 0, 0
    weight[1, :, 0, 0] = 1, -1, 1, -1
    weight[2, :, 0, 0] = 0, 1, 1, 0
    assert heaviest(127 * weight.reshape(3, 1, 4)).tolist() == [254, 0, 0]


def test_only_openvino_s_weights_are_narrowed_and_only_without_vnni(monkeypatch):
    for has, sums in ((True, "int32"), (False, "int16")):
        monkeypatch.setattr("deploy.targets.multiplies_uint8", lambda has=has: has)
        assert {name: target_for(name).sums for name in TARGETS} == {
            "qdq": "int32",
            "openvino": sums,
            "onnxruntime": "int32",
            "tensorrt": "int32",
            "tensorrt_rtx": "int32",
        }
        assert target_for("openvino").unsigned == "non-negative"


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_the_engine_computes_what_its_graph_says(name, tmp_path):
    """Weights of one sign and inputs near their largest value: sums that 16 bits do not hold."""
    rng = np.random.default_rng(0)
    x = gs.Variable("x", np.float32, (1, 16, 12, 12))
    tensors, nodes = [x], []
    for index in range(3):
        weight = np.abs(rng.normal(1, 0.1, size=(16, 16, 3, 3))).astype(np.float32) / 144
        made, kept = gs.Variable(f"c{index}", np.float32), gs.Variable(f"r{index}", np.float32)
        constant = gs.Constant(f"w{index}", weight)
        attrs = {"pads": [1, 1, 1, 1]}
        nodes += [gs.Node("Conv", f"conv{index}", attrs, [tensors[-1], constant], [made])]
        nodes += [gs.Node("Relu", f"relu{index}", {}, [made], [kept])]
        tensors.append(kept)
    graph = gs.Graph(nodes, inputs=[x], outputs=[tensors[-1]], opset=18, ir_version=8)
    graph.outputs[0].dtype, graph.outputs[0].shape = np.dtype(np.float32), (1, 16, 12, 12)
    onnx_graph.save(graph, tmp_path / "float.onnx")
    scales = {tensor.name: activation_scale(1.2) for tensor in tensors}
    weights = {f"w{index}": max_scale(graph.tensors()[f"w{index}"].values, 0) for index in range(3)}
    plan = QuantizationPlan().adding(scales, "max").adding(weights, "max")
    write_plan(plan.of_graph(tmp_path / "float.onnx"), tmp_path / "plan.json")
    goal = TargetConfig(target_for(name), select(name))
    write_applied(tmp_path / "float.onnx", tmp_path / "plan.json", goal, tmp_path / "placed.onnx", lambda _: None)
    image = rng.uniform(0.8, 1.2, size=(1, 16, 12, 12)).astype(np.float32)
    session = watching(onnx.load(str(tmp_path / "placed.onnx")), ["r2"])
    expected = {"r2": session.run(["r2"], {"x": image})[0]}
    backend = get_backend(name)
    bundle = backend.build(tmp_path / "placed.onnx", tmp_path / "engine", BuildOptions("int8", threads=1))
    with backend.open(bundle) as engine:
        (found,) = fidelity([expected], [engine.run({"x": image})])
    assert found.snr_db > 30

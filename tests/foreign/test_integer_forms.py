"""Integer operators, per-channel activations and quantized scalars of other toolkits as pairs that can be placed."""

from itertools import pairwise

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

from deploy.apply.apply import apply
from deploy.checks.fidelity import fidelity
from deploy.graph import onnx_graph
from deploy.hardware.cpu import multiplies_uint8
from deploy.importing.foreign import to_pairs
from deploy.importing.import_plan import import_plan
from deploy.importing.strip import strip
from deploy.targets import get_backend
from tests.faults.commands import call
from tests.foreign.builder import WEIGHTS, Builder, per_channel
from tests.nets.exported import reference
from tests.nets.picture_nets import network
from tests.nets.placing import goal_of

RANDOM = np.random.default_rng(0)
IMAGES = [RANDOM.standard_normal((1, 3, 32, 32)).astype(np.float32) for _ in range(4)]
INT8 = np.int8(0)


class Reader:
    def __init__(self):
        self.left = iter(IMAGES)

    def get_next(self):
        image = next(self.left, None)
        return None if image is None else {"image": image}


def padded(path):
    """The picture network with its depthwise convolution's padding as a separate Pad, as TensorFlow exports it."""
    model = onnx.load(network(path, outputs=("scores", "map")))
    conv = next(node for node in model.graph.node if node.name == "c2_Conv")
    position = list(model.graph.node).index(conv)
    del conv.attribute[:]
    conv.attribute.append(onnx.helper.make_attribute("group", 8))
    conv.input[0] = "padded"
    pads = numpy_helper.from_array(np.int64([0, 0, 1, 1, 0, 0, 1, 1]), "pads")
    model.graph.initializer.extend([pads, numpy_helper.from_array(np.float32(0), "fill")])
    model.graph.node.insert(position, onnx.helper.make_node("Pad", ["deep", "pads", "fill"], ["padded"], name="pad"))
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("form", [QuantFormat.QDQ, QuantFormat.QOperator])
@pytest.mark.parametrize("activations", [QuantType.QUInt8, QuantType.QInt8])
@pytest.mark.parametrize("per_channel", [True, False])
def test_every_form_of_onnx_runtime_s_quantizer(tmp_path, form, activations, per_channel):
    source, quantized = padded(tmp_path / "net.onnx"), tmp_path / "quantized.onnx"
    quantize_static(
        str(source), str(quantized), Reader(), quant_format=form, activation_type=activations,
        weight_type=QuantType.QInt8, per_channel=per_channel, calibrate_method=CalibrationMethod.MinMax,
    )  # fmt: skip
    if form == QuantFormat.QOperator:
        assert any(node.op_type == "QLinearConv" for node in onnx.load(quantized).graph.node)
    pairs = to_pairs(onnx_graph.load(quantized))
    onnx_graph.save(pairs, tmp_path / "pairs.onnx")
    images = np.concatenate(IMAGES)
    names = [output.name for output in onnx.load(source).graph.output]
    overflows = form == QuantFormat.QOperator and not multiplies_uint8()  # ONNX Runtime's own sums, in 16 bits
    files = ("pairs.onnx", "net.onnx") if overflows else ("pairs.onnx", "quantized.onnx", "net.onnx")
    for name, other in pairwise(files):
        own = [dict(zip(names, outputs(tmp_path / name, image), strict=True)) for image in images[:, np.newaxis]]
        theirs = [dict(zip(names, outputs(tmp_path / other, image), strict=True)) for image in images[:, np.newaxis]]
        # the same integers except for one step; the quantizer itself against float
        least = 15 if other == "net.onnx" else 30
        assert all(each.snr_db > least for each in fidelity(theirs, own))
    for backend in ("openvino", "onnxruntime"):
        graph, plan = import_plan(quantized)
        applied = apply(graph, plan, goal_of(get_backend(backend)))
        assert len(applied.plan.weights) == 5, backend


def outputs(path, image):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(
        None, {"image": image}
    )


def test_the_scales_of_an_activation_s_channels_become_their_largest():
    b = Builder()
    x = b.pair("image", [0.1, 0.3, 0.2], np.zeros(3, np.int8), "xd", axis=1)
    w = b.pair(b.const("w", WEIGHTS["c1"]), per_channel(WEIGHTS["c1"]), np.zeros(4, np.int8), "wd", axis=0)
    b.conv(x, w, "c1")
    import onnx_graphsurgeon as gs

    scales = strip(to_pairs(gs.import_onnx(b.model(output="c1", shape=(1, 4, 8, 8)))))
    assert scales["image"].axis is None and float(scales["image"].values) == pytest.approx(0.3)
    assert scales["w"].axis == 0


def test_a_quantized_scalar_is_an_array(tmp_path):
    """Graphsurgeon refuses NumPy's scalars as constants."""
    b = Builder()
    fill = b.add("DequantizeLinear", [b.const("f", INT8), b.const("fs", np.float32(0.1)), b.const("fz", INT8)], "fill")
    x = b.pair("image", 0.05, INT8, "xd")
    b.add("Pad", [x, b.const("pads", np.int64([0, 0, 1, 1, 0, 0, 1, 1])), fill], "padded")
    w = b.pair(b.const("w", WEIGHTS["c1"]), per_channel(WEIGHTS["c1"]), np.zeros(4, np.int8), "wd", axis=0)
    b.add("Conv", [b.pair("padded", 0.05, INT8, "pd"), w], "c1")
    source = b.save(tmp_path / "net.onnx", output="c1", shape=(1, 4, 8, 8))
    graph, plan = import_plan(source)
    placed = apply(graph, plan, goal_of(get_backend("onnxruntime")))
    onnx_graph.save(placed.graph, tmp_path / "placed.onnx")
    feeds = {"image": RANDOM.standard_normal((1, 3, 8, 8)).astype(np.float32)}
    expected, got = reference(source, feeds), reference(tmp_path / "placed.onnx", feeds)
    assert np.abs(got - expected).max() < 0.02 * np.abs(expected).max()


def test_integers_are_never_quantized_though_a_rule_asks(tmp_path):
    """A window's position, added and multiplied in int64 as in Swin, feeds a Gather of a quantized tensor."""
    b = Builder()
    x = b.conv(b.pair("image", 0.05, INT8, "xd"), b.const("w", WEIGHTS["c1"]), "c1")
    best, worst = (b.add(op, [x], op, keepdims=1) for op in ("ReduceMax", "ReduceMin"))
    row, other = (b.add("ArgMax", [one], f"{one}_row", axis=2, keepdims=0) for one in (best, worst))
    moved = b.add("Mul", [b.add("Add", [row, other], "sum"), row], "product")
    flat = b.add("Reshape", [moved, b.const("one", np.int64([1]))], "index")
    b.add("Gather", [x, flat], "logits", axis=2)
    source = b.save(tmp_path / "net.onnx", shape=(1, 4, 1, 8))
    import deploy.apply.calibrate as calibrating
    from core.config import CalibrationConfig

    graph, _ = import_plan(source)
    goal = goal_of(get_backend("onnxruntime"))
    images = [RANDOM.standard_normal((1, 3, 8, 8)).astype(np.float32)]
    view = onnx_graph.view(graph)
    assert {"sum", "product"} <= view.integers
    plan = calibrating.calibrate(graph, images, goal, CalibrationConfig(method="max"))
    assert not view.integers & plan.quantized.keys()
    assert any("integers are not quantized" in skip.why for skip in plan.skips)
    onnx_graph.save(apply(graph, plan, goal).graph, tmp_path / "placed.onnx")


def test_a_constant_cast_like_another_tensor_is_a_constant():
    b = Builder()
    half = b.add("CastLike", [b.const("half", np.float64(0.5)), "image"], "half_float")
    b.conv("image", b.const("w", WEIGHTS["c1"]), "c1")
    b.add("Mul", ["c1", half], "logits")
    import onnx_graphsurgeon as gs

    graph = onnx_graph.clean(gs.import_onnx(b.model(shape=(1, 4, 8, 8))))
    assert not [node for node in graph.nodes if node.op == "CastLike"]
    scalar = next(node for node in graph.nodes if node.op == "Mul").inputs[1]
    assert isinstance(scalar, gs.Constant) and scalar.values.dtype == np.float32 and float(scalar.values) == 0.5


def test_place_ends_with_1_and_writes_nothing_where_nothing_would_be_quantized(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    b = Builder()
    b.conv(b.pair("image", 0.05, INT8, "xd"), b.const("w", WEIGHTS["c1"]), "c1")
    source = b.save(tmp_path / "net.onnx", output="c1", shape=(1, 4, 8, 8))
    assert call("deploy.__main__", "place", source, "placed.onnx") == 1
    told = capsys.readouterr().err
    assert "nothing would be quantized" in told and "no trained scale for w" in told
    assert not (tmp_path / "placed.onnx").exists()


def test_an_add_whose_one_operand_leaves_the_plan_keeps_the_pair_that_makes_its_convolution_int8(tmp_path):
    """On ONNX Runtime the pair on the other operand is the convolution's output: without it the convolution is
    float."""
    from core.config import CalibrationConfig
    from deploy.apply.calibrate import calibrate

    graph, _ = import_plan(network(tmp_path / "net.onnx", outputs=("map",)))
    goal = goal_of(get_backend("onnxruntime"))
    plan = calibrate(graph, IMAGES, goal, CalibrationConfig(method="max")).without(["features"])
    onnx_graph.save(apply(graph, plan, goal).graph, tmp_path / "placed.onnx")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(str(tmp_path / "placed.onnx"), options, providers=["CPUExecutionProvider"])
    operators = {node.name: node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node}
    assert "QLinearConv" in operators.values() and "QLinearAdd" not in operators.values()
    made = next(node for node in onnx.load(tmp_path / "optimized.onnx").graph.node if "c3" in node.output[0])
    assert made.op_type == "QLinearConv"

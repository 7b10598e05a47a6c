import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from core.errors import UserError
from deploy.checks.verify import verify
from deploy.graph import onnx_graph
from deploy.placement.rules import RULES
from tests.nets import qdq_graphs as graphs
from tests.nets.exported import image, reference
from tests.nets.placing import place

INT8 = np.int8(0)


def placed_file(source, target, **options):
    onnx_graph.save(place(source, RULES, **options).graph, target)
    return target


def test_placing_our_own_export_computes_the_same(exported):
    feeds = {"image": image()}
    np.testing.assert_allclose(reference(exported.placed, feeds), reference(exported.qdq, feeds), rtol=0, atol=1e-5)


def test_our_own_export_has_a_scale_for_everything_and_none_too_many(exported):
    placed = place(exported.qdq, RULES)
    assert placed.unused == ()
    assert [skip for skip in placed.plan.skips if skip.rule == "scales"] == []
    assert len(placed.plan.weights) == 6


def test_placing_twice_changes_nothing(exported, tmp_path):
    once = placed_file(exported.qdq, tmp_path / "once.onnx")
    twice = placed_file(once, tmp_path / "twice.onnx")
    thrice = placed_file(twice, tmp_path / "thrice.onnx")
    hashes = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (once, twice, thrice)}
    assert len(hashes) == 1


def test_a_graph_without_pairs_is_refused(exported):
    with pytest.raises(UserError, match="no Q/DQ nodes") as caught:
        place(exported.fp32, RULES)
    assert "calibration images" in caught.value.fix


def test_uint8_export_is_placed_as_the_int8_one_of_the_same_range(tmp_path):
    unsigned = graphs.save(graphs.one_conv(5.1 / 255, np.uint8(0)), tmp_path / "unsigned.onnx")
    signed = graphs.save(graphs.one_conv(5.1 / 127, INT8), tmp_path / "signed.onnx")
    x = {"x": np.abs(image())[..., :8, :8]}
    results = [reference(placed_file(path, tmp_path / f"placed_{path.name}"), x) for path in (unsigned, signed)]
    np.testing.assert_allclose(*results, rtol=0, atol=1e-4)
    verify(tmp_path / "placed_unsigned.onnx", place(unsigned, RULES).plan)


class Images(CalibrationDataReader):
    """A few random images for ONNX Runtime's quantizer."""

    def __init__(self):
        self._images = iter([{"image": image(seed)} for seed in range(4)])

    def get_next(self):
        return next(self._images, None)


@pytest.mark.parametrize("activations", [QuantType.QUInt8, QuantType.QInt8])
def test_graph_quantized_by_onnx_runtime_is_placed_and_stays_close(exported, tmp_path, activations):
    quantize_static(
        str(exported.fp32),
        str(tmp_path / "foreign.onnx"),
        Images(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=activations,
        weight_type=QuantType.QInt8,
    )
    placed = place(tmp_path / "foreign.onnx", RULES)
    onnx_graph.save(placed.graph, tmp_path / "placed.onnx")
    verify(tmp_path / "placed.onnx", placed.plan)
    assert len(placed.plan.weights) == 6
    feeds = {"image": image()}
    expected, result = reference(exported.fp32, feeds), reference(tmp_path / "placed.onnx", feeds)
    assert np.abs(result - expected).mean() < 0.02 * np.abs(expected).max()
    assert (result.argmax(1) == expected.argmax(1)).mean() > 0.95


def test_pairs_that_no_rule_wants_go_and_are_reported(tmp_path):
    x, w = graphs.image(), gs.Constant("w", graphs.weight())
    conv = graphs.conv(x, w, "c")
    relu = gs.Node("Relu", "r_Relu", {}, [conv.outputs[0]], [gs.Variable("r", np.float32, (1, 4, 8, 8))])
    pair = graphs.pair(relu.outputs[0], 0.1, INT8, "r")
    sigmoid = gs.Node("Sigmoid", "s_Sigmoid", {}, [pair[1].outputs[0]], [gs.Variable("y", np.float32, (1, 4, 8, 8))])
    source = graphs.save(graphs.graph([conv, relu, *pair, sigmoid], x, sigmoid.outputs[0]), tmp_path / "m.onnx")
    placed = place(source, RULES)
    assert placed.unused == ("r",)
    assert {node.op for node in placed.graph.nodes} == {"Conv", "Relu", "Sigmoid"}


def conv_chain(quantize_second_input, quantize_second_weight):
    """Two Convs, the first quantized whole, the second as the arguments say."""
    x = graphs.image()
    first_w = gs.Constant("w1", graphs.weight())
    second_w = gs.Constant("w2", np.random.default_rng(1).standard_normal((4, 4, 3, 3), dtype=np.float32))
    nodes = [*graphs.pair(x, 0.05, INT8, "x"), *graphs.pair(first_w, [0.1] * 4, np.zeros(4, np.int8), "w1", axis=0)]
    nodes.append(graphs.conv(nodes[1].outputs[0], nodes[3].outputs[0], "c"))
    inner, second = nodes[-1].outputs[0], second_w
    if quantize_second_input:
        nodes += graphs.pair(inner, 0.1, INT8, "c")
        inner = nodes[-1].outputs[0]
    if quantize_second_weight:
        nodes += graphs.pair(second_w, [0.1] * 4, np.zeros(4, np.int8), "w2", axis=0)
        second = nodes[-1].outputs[0]
    nodes.append(graphs.conv(inner, second, "y"))
    return graphs.graph(nodes, x, nodes[-1].outputs[0])


@pytest.mark.parametrize(("with_input", "with_weight"), [(True, False), (False, True)])
def test_without_both_trained_scales_a_conv_stays_float_and_says_so(tmp_path, with_input, with_weight):
    placed = place(graphs.save(conv_chain(with_input, with_weight), tmp_path / "m.onnx"), RULES)
    assert set(placed.plan.activations) == {"x"}
    assert list(placed.plan.weights) == ["w1"]
    (skip,) = (skip for skip in placed.plan.skips if skip.rule == "scales")
    assert skip.node == "y_Conv"
    assert "no trained scale" in skip.why
    assert placed.unused == (("c",) if with_input else ("w2",))
    kinds = [node.op for node in placed.graph.nodes]
    assert kinds.count("QuantizeLinear") == 1
    assert kinds.count("DequantizeLinear") == 2


def test_with_both_scales_the_same_conv_is_quantized(tmp_path):
    placed = place(graphs.save(conv_chain(True, True), tmp_path / "m.onnx"), RULES)
    assert set(placed.plan.activations) == {"x", "c"}
    assert placed.unused == ()


def test_skip_pattern_leaves_a_conv_float(exported):
    placed = place(exported.qdq, RULES, skip=("head",))
    (head,) = (node for node in placed.graph.nodes if node.name == "head")
    assert isinstance(head.inputs[1], gs.Constant)
    assert head.inputs[1].values.dtype == np.float32
    assert "head.weight" in placed.unused


def test_graph_inputs_and_outputs_keep_their_names(exported):
    graph = onnx_graph.load(exported.placed)
    assert [tensor.name for tensor in graph.inputs] == ["image"]
    assert [tensor.name for tensor in graph.outputs] == ["logits"]


def test_taking_a_pair_off_an_output_keeps_its_name(tmp_path):
    source = conv_chain(True, True)
    pair = graphs.pair(source.outputs[0], 0.1, INT8, "logits")
    source.nodes.extend(pair)
    source.outputs = [pair[1].outputs[0]]
    placed = place(graphs.save(source, tmp_path / "m.onnx"), RULES)
    assert [tensor.name for tensor in placed.graph.outputs] == ["logits_dq"]


def test_int32_bias_behind_a_dq_becomes_float(tmp_path):
    source = graphs.one_conv()
    bias = graphs.stored(np.arange(4, dtype=np.int32), [0.5] * 4, np.zeros(4, np.int32), "b_quantized", axis=0)
    source.nodes.append(bias)
    (conv,) = (node for node in source.nodes if node.op == "Conv")
    conv.inputs.append(bias.outputs[0])
    source.toposort()
    placed = place(graphs.save(source, tmp_path / "m.onnx"), RULES)
    (conv,) = (node for node in placed.graph.nodes if node.op == "Conv")
    np.testing.assert_array_equal(conv.inputs[2].values, [0, 0.5, 1, 1.5])


def test_a_scale_behind_a_pool_is_carried_to_the_pair_before_it(tmp_path):
    x, w = graphs.image(), gs.Constant("w", graphs.weight())
    relu = gs.Node("Relu", "r_Relu", {}, [x], [gs.Variable("r", np.float32, graphs.SHAPE)])
    attrs = {"kernel_shape": [3, 3], "pads": [1] * 4}
    pool = gs.Node("MaxPool", "p_MaxPool", attrs, relu.outputs, [gs.Variable("p", np.float32, graphs.SHAPE)])
    pairs = [*graphs.pair(pool.outputs[0], 0.03, INT8, "p"), *graphs.pair(w, [0.1] * 4, np.zeros(4, np.int8), "w", 0)]
    conv = graphs.conv(pairs[1].outputs[0], pairs[3].outputs[0])
    source = graphs.save(graphs.graph([relu, pool, *pairs, conv], x, conv.outputs[0]), tmp_path / "m.onnx")
    placed = place(source, RULES)
    assert list(placed.plan.activations) == ["r"] and placed.unused == ()
    moved = placed_file(source, tmp_path / "placed.onnx")
    verify(moved, placed.plan)
    feeds = {"x": np.random.default_rng(3).standard_normal(graphs.SHAPE, dtype=np.float32) * 3}
    np.testing.assert_allclose(reference(moved, feeds), reference(source, feeds), rtol=0, atol=1e-5)


def test_commands_take_target_and_custom_rules(exported, tmp_path):
    example = Path(__file__).parents[4] / "examples" / "custom_rule.py"
    command = [sys.executable, "-m", "deploy", "place", str(exported.qdq), str(tmp_path / "m.onnx")]
    done = subprocess.run([*command, "--target", "openvino", "--custom", str(example)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "6 activations and 6 weights" in done.stdout and "1 scales of the source are not used" in done.stdout
    refused = subprocess.run([*command, "--target", "tpu"], capture_output=True, text=True)
    assert refused.returncode == 2 and "no target 'tpu'" in refused.stderr + refused.stdout

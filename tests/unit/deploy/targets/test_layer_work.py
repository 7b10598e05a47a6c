"""Bytes, multiply-adds and fused epilogues: checked by hand, and against a second reader of real lists.

`lists/` holds the layer lists of real builds by TensorRT-RTX 1.7.1: the residual test network, FP16 and INT8.
"""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from deploy.apply.fp16 import to_fp16
from deploy.bundle.types import BuildOptions
from deploy.graph import onnx_graph
from deploy.placement.rules import RULES
from deploy.targets import get_backend
from deploy.targets.base import LayerInfo, Tensor
from deploy.targets.layer_work import EngineWork, bytes_moved, caution, executed, macs, work_of
from deploy.targets.packages import missing_package
from deploy.targets.tensorrt.backend import LOG
from deploy.targets.tensorrt.build_log import from_build_log
from qat.export import export_onnx
from qat.models.pidnet import SIZES as NETWORKS
from qat.models.pidnet import PIDNet
from qat.tracing import fx_graph
from tests.nets.placing import place

LISTS = Path(__file__).parent / "tensorrt" / "lists"
SIZES = {"Half": 2, "Float": 4, "Int8": 1}
# The stem reads three channels that RTX pads to four; four convolutions 16 → 16; a head to five classes; all at 16×16.
PRODUCTS = (16 * 4 * 9 + 4 * 16 * 16 * 9 + 16 * 5) * 16 * 16


def lines_of(precision: str) -> list[str]:
    return (LISTS / f"rtx-1.7.1-residual-{precision}.txt").read_text(encoding="utf-8").splitlines()


def sections(line: str) -> dict[str, list[tuple[int, str]]]:
    """Elements and type of the tensors in each list of a line, read by splitting at words, not by patterns."""
    rest, found = line.split(", LayerType: ")[1], {}
    for name, end in (("Inputs", ", Constants: ["), ("Constants", ", Outputs: ["), ("Outputs", ", TacticName: ")):
        text = rest.split(f"{name}: [", 1)[1].split(end)[0]
        tensors = text.split("{ Name: ")[1:]
        found[name] = [
            (
                math.prod(int(side) for side in tensor.split("Dimensions: [")[1].split("]")[0].split(",")),
                tensor.split("Datatype: ")[1].split(",")[0],
            )
            for tensor in tensors
        ]
    return found


@pytest.mark.parametrize(("precision", "output", "others"), [("fp16", "Half", 2), ("int8", "Float", 7)])
def test_counts_are_those_of_another_reader(precision, output, others):
    lines = lines_of(precision)
    read = [sections(line) for line in lines]
    convolutions = [
        parts
        for line, parts in zip(lines, read, strict=True)
        if "LayerType: correlation" in line or "Name: __myl_Corr" in line
    ]
    assert len(convolutions) == 6
    assert {parts["Outputs"][0][1] for parts in convolutions} == {output}
    assert sum("LayerType: kgen" in line for line in lines) == others
    moved = sum(count * SIZES[kind] for parts in read for tensors in parts.values() for count, kind in tensors)
    found = work_of(from_build_log(lines))
    assert found == EngineWork(
        int8_outputs=0,
        float_outputs=6,
        pointwise=others,
        conversions=0,
        bytes_moved=moved,
        macs=PRODUCTS,
    )


def test_int8_that_writes_float_moves_more_than_fp16():
    int8, fp16 = (work_of(from_build_log(lines_of(precision))) for precision in ("int8", "fp16"))
    assert int8.bytes_moved > fp16.bytes_moved
    said = caution(int8, fp16, "fp16")
    assert "INT8 moves more bytes than fp16" in said
    assert "6 convolutions write float" in said
    assert caution(fp16, int8, "fp16") == ""
    assert caution(int8, work_of([LayerInfo("c", "Conv", "fp16")]), "fp16") == ""


def conv(inputs: tuple[int, ...], weights: tuple[int, ...], outputs: tuple[int, ...]) -> LayerInfo:
    """An INT8 convolution with a float bias."""
    bias = Tensor((outputs[1],), "fp32")
    tensors = {"inputs": (Tensor(inputs, "int8"),), "outputs": (Tensor(outputs, "int8"),)}
    return LayerInfo("c", "Conv", "int8", constants=(bias, Tensor(weights, "int8")), **tensors)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (conv((1, 8, 10, 10), (16, 8, 3, 3), (1, 16, 5, 5)), 16 * 8 * 9 * 25),
        (conv((2, 8, 10, 10), (16, 8, 1, 1), (2, 16, 10, 10)), 2 * 16 * 8 * 100),
        (conv((1, 8, 6, 6), (8, 1, 3, 3), (1, 8, 6, 6)), 8 * 9 * 36),  # depthwise
        (conv((1, 8, 5, 5), (8, 16, 2, 2), (1, 16, 10, 10)), 8 * 16 * 4 * 25),  # transposed: places of the input
    ],
    ids=["stride", "batch", "depthwise", "transposed"],
)
def test_products_of_a_convolution(layer, expected):
    assert macs(layer) == expected


def test_bytes_of_a_layer():
    layer = conv((1, 8, 10, 10), (16, 8, 3, 3), (1, 16, 5, 5))
    assert bytes_moved(layer) == 800 + 16 * 4 + 16 * 8 * 9 + 400
    assert Tensor((2, 3), "unknown").size_bytes == 24


def test_product_with_constant_weights_and_without():
    rows, weights = Tensor((4, 32), "fp16"), Tensor((32, 10), "fp16")
    layer = LayerInfo("m", "MatMul", "fp16", inputs=(rows,), constants=(weights,), outputs=(Tensor((4, 10), "fp16"),))
    assert macs(layer) == 4 * 32 * 10
    assert macs(LayerInfo("m", "MatMul", "fp16", inputs=(rows, weights), outputs=layer.outputs)) == 0


def test_what_never_runs_does_not_count():
    reorder = LayerInfo("weights", "Reorder", "fp32")
    running = conv((1, 8, 4, 4), (8, 8, 1, 1), (1, 8, 4, 4))
    assert executed([reorder, running]) == [running]
    assert work_of([reorder, running]).conversions == 0
    assert executed([reorder]) == [reorder]
    assert work_of([reorder]).bytes_moved is None


@pytest.mark.parametrize(
    ("name", "pointwise", "conversions"),
    [
        ("__myl_Tran_myl0_1", 0, 1),
        ("__myl_Cast_myl0_1", 1, 1),
        ("__myl_MulMinMaxRounCast_myl0_1", 1, 1),
        ("__myl_MulAddRelu_myl0_1", 1, 0),
    ],
)
def test_generated_kernels(name, pointwise, conversions):
    tensor = (Tensor((1, 8), "fp16"),)
    found = work_of([LayerInfo(name, "kgen", "fp16", inputs=tensor, outputs=tensor)])
    assert (found.pointwise, found.conversions) == (pointwise, conversions)


def test_a_convolution_that_rtx_computes_as_a_product_is_one():
    def tensor(dims: str) -> str:
        return f"{{ Name: t, Dimensions: {dims}, Datatype: Half, Format: (NHWC) Channel major format }}"

    line = (
        f"Name: __myl_FcAddRelu_myl0_26, LayerType: runtime_fusion, Inputs: [ {tensor('[1,512,48]')}], Constants: [ "
        f"{tensor('[1,256,1]')}, {tensor('[1,256,512]')}], Outputs: [ {tensor('[1,256,48]')}], TacticName: , StreamId: "
        "0, Metadata: [ONNX Layer: /layer5/1/conv1/Conv][ONNX Layer: /relu]__gemm_from_conv1x1"
    )
    (layer,) = from_build_log([line])
    assert (layer.kind, layer.precision, macs(layer)) == ("Conv", "fp16", 256 * 512 * 48)
    (product,) = from_build_log([line.removesuffix("__gemm_from_conv1x1")])
    assert (product.kind, macs(product)) == ("runtime_fusion", 0)


@pytest.mark.slow
def test_pidnet_on_rtx_is_what_docs_say(tmp_path):
    """Real builds of PIDNet-S with random weights: word counts in the log beside this project's counts."""
    if missing_package("tensorrt_rtx"):
        pytest.skip("tensorrt-rtx is not installed")
    model, image = PIDNet(NETWORKS["pidnet_s"], 11, augment=False).eval(), torch.zeros(1, 3, 360, 480)
    export_onnx(fx_graph.trace(model, image), image, tmp_path / "float.onnx", 18)
    to_fp16(tmp_path / "float.onnx", tmp_path / "fp16.onnx")
    np.save(tmp_path / "images.npy", np.random.default_rng(0).standard_normal(image.shape, dtype=np.float32))
    placed = place(tmp_path / "float.onnx", RULES, calibration=tmp_path / "images.npy")
    onnx_graph.save(placed.graph, tmp_path / "int8.onnx")
    found, backend = {}, get_backend("tensorrt_rtx")
    for precision, pair, correlations, kernels in (("fp16", "Half", 69, 20), ("int8", "Int8", 75, 67)):
        bundle = backend.build(tmp_path / f"{precision}.onnx", tmp_path / precision, BuildOptions(precision))
        log = gzip.decompress((bundle.dir / LOG).read_bytes()).decode().split("\n")
        listed = [line for line in log if "LayerType: correlation, Inputs: [ " in line]
        assert len(listed) == correlations
        assert {sections(line)["Outputs"][0][1] for line in listed} == {"Float" if precision == "int8" else "Half"}
        assert all(pair in {kind for _, kind in sections(line)["Inputs"]} for line in listed)
        assert sum("LayerType: kgen" in line for line in log) == kernels
        found[precision] = work_of(backend.layers(bundle))
    assert {precision: work.float_outputs for precision, work in found.items()} == {"fp16": 75, "int8": 75}
    assert (found["fp16"].pointwise, found["int8"].pointwise) == (19, 67)  # one kernel of FP16 only transposes
    assert found["int8"].bytes_moved / found["fp16"].bytes_moved == pytest.approx(1.55, abs=0.03)

"""One small residual network in the Q/DQ form of each toolkit, modelled on its real exports of PIDNet-S.

image ─▶ c1 ─▶ Relu ─▶ c2 ─▶ Add ─▶ Relu ─▶ c3 ─▶ logits
                  └────────────▶
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.foreign.builder import BIASES, WEIGHTS, Builder, per_channel, symmetric

AMAX = {"image": 4.0, "r1": 16.0, "c2": 40.0, "r2": 40.0, "logits": 60.0}
INT8, UINT8 = np.int8(0), np.uint8(0)


def scale(name: str, steps: int = 127) -> np.float32:
    return np.float32(AMAX[name] / steps)


def modelopt_onnx() -> Builder:
    """Symmetric int8 pairs, float weights behind Q/DQ, one Q feeding several DQs, the residual input quantized."""
    b = Builder()
    w = {}
    for name, values in WEIGHTS.items():
        zeros = np.zeros(len(values), np.int8)
        w[name] = b.pair(b.const(f"{name}_w", values), per_channel(values), zeros, f"{name}_wd", axis=0)
    bias = {name: b.const(name + "_b", value) for name, value in BIASES.items()}
    b.conv(b.pair("image", scale("image"), INT8, "image_d"), w["c1"], "c1", bias["c1"])
    b.add("Relu", ["c1"], "r1")
    b.pair("r1", scale("r1"), INT8, "r1_d")
    b.add("DequantizeLinear", ["r1_d_q", "r1_d_s", "r1_d_z"], "r1_d2")
    b.conv("r1_d", w["c2"], "c2", bias["c2"])
    b.add("Add", ["c2", "r1_d2"], "sum")
    b.add("Relu", ["sum"], "r2")
    b.conv(b.pair("r2", scale("r2"), INT8, "r2_d"), w["c3"], "c3", bias["c3"])
    b.add("Identity", ["c3"], "logits")
    return b


def torch_exporter() -> Builder:
    """modelopt.torch and pytorch-quantization: Constant nodes, Casts, BatchNorm left, one quantizer an input."""
    b = Builder()
    count = 0

    def constant(value: object) -> str:
        nonlocal count
        count += 1
        name = f"constant_{count}"
        b.nodes.append(_constant_node(name, np.asarray(value)))
        return name

    def quantizer(tensor: str, values: object, output: str, **attrs: int) -> str:
        zero = b.add("Cast", [constant(np.zeros(np.shape(values), np.float32))], f"{output}_zc", to=TensorProto.INT8)
        step = constant(np.asarray(values, np.float32))
        b.add("QuantizeLinear", [tensor, step, zero], f"{output}_q", **attrs)
        return b.add("DequantizeLinear", [f"{output}_q", step, zero], output, **attrs)

    def layer(x: str, amax: str, name: str, norm: bool) -> str:
        values = WEIGHTS[name]
        weight = quantizer(b.const(f"{name}.weight", values), per_channel(values), f"{name}_wd", axis=0)
        b.conv(quantizer(x, scale(amax), f"{name}_xd"), weight, name)
        if not norm:
            return name
        parameters = [np.linspace(-1.5, 2, len(values)), BIASES[name], BIASES[name] / 2, np.full(len(values), 0.7)]
        names = [b.const(f"{name}.bn{index}", value.astype(np.float32)) for index, value in enumerate(parameters)]
        return b.add("BatchNormalization", [name, *names], f"{name}_bn", epsilon=1e-5)

    b.add("Relu", [layer("image", "image", "c1", True)], "r1")
    b.add("Add", [layer("r1", "r1", "c2", True), quantizer("r1", scale("r1"), "residual_d")], "sum")
    b.add("Relu", ["sum"], "r2")
    b.add("Identity", [layer("r2", "r2", "c3", False)], "logits")
    return b


def _constant_node(name: str, value: NDArray[Any]) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], name=f"{name}_Constant", value=numpy_helper.from_array(value))


def onnx_runtime(weight_type: type = np.int8, channels: bool = True) -> Builder:
    """uint8 activations whose zero-point of 0 replaces a Relu, stored weights, int32 biases, the output quantized."""
    b = Builder()

    def layer(x: str, x_scale: np.float32, name: str) -> str:
        values = WEIGHTS[name]
        if weight_type == np.uint8:
            step = np.float32(np.ptp(values) / 255)
            zero = np.uint8(round(float(-values.min() / step)))
        else:
            step = per_channel(values) if channels else symmetric(values)
            zero = np.zeros(np.shape(step), np.int8)
        shaped = np.reshape(step, (-1, 1, 1, 1)) if np.ndim(step) else step
        limits = np.iinfo(weight_type)
        stored = np.clip(np.rint(values / shaped) + zero.astype(np.float32).max(), limits.min, limits.max)
        axis = {"axis": 0} if np.ndim(step) else {}
        parameters = [b.const(f"{name}_ws", np.float32(step)), b.const(f"{name}_wz", zero)]
        stored_name = b.const(f"{name}_w_quantized", stored.astype(weight_type))
        weight = b.add("DequantizeLinear", [stored_name, *parameters], f"{name}_wd", **axis)
        bias_step = np.float32(step * x_scale)
        parameters = [b.const(f"{name}_bs", bias_step), b.const(f"{name}_bz", np.zeros(np.shape(bias_step), np.int32))]
        bias = b.const(f"{name}_b_quantized", np.rint(BIASES[name] / bias_step).astype(np.int32))
        return b.conv(x, weight, name, b.add("DequantizeLinear", [bias, *parameters], f"{name}_bd", **axis))

    image = b.pair("image", scale("image", 255) * 2, np.uint8(128), "image_d")
    r1 = b.pair(layer(image, scale("image", 255) * 2, "c1"), scale("r1", 255), UINT8, "r1_d")
    c2 = b.pair(layer(r1, scale("r1", 255), "c2"), scale("c2", 255) * 2, np.uint8(120), "c2_d")
    r2 = b.pair(b.add("Add", [c2, r1], "sum"), scale("r2", 255), UINT8, "r2_d")
    b.pair(layer(r2, scale("r2", 255), "c3"), scale("logits", 255) * 2, np.uint8(128), "logits")
    return b


def nncf() -> Builder:
    """int8 weights behind a DQ under another name pattern, uint8 after Relu, asymmetric int8 before the Add."""
    b = Builder()
    bias = {name: b.const(name + "_b", value) for name, value in BIASES.items()}
    weight = {}
    for name, values in WEIGHTS.items():
        step = per_channel(values)
        stored = np.rint(values / step.reshape(-1, 1, 1, 1)).astype(np.int8)
        parameters = [b.const(f"scale_{name}", step), b.const(f"zero_{name}", np.zeros(len(step), np.int8))]
        stored_name = b.const(f"q_output_{name}.weight_1", stored)
        weight[name] = b.add("DequantizeLinear", [stored_name, *parameters], f"dq_output_{name}.weight_1", axis=0)
    b.conv(b.pair("image", scale("image", 255) * 2, np.int8(3), "image_d"), weight["c1"], "c1", bias["c1"])
    b.add("Relu", ["c1"], "r1")
    r1 = b.pair("r1", scale("r1", 255), UINT8, "r1_d")
    b.add("DequantizeLinear", ["r1_d_q", "r1_d_s", "r1_d_z"], "r1_d2")
    c2 = b.pair(b.conv(r1, weight["c2"], "c2", bias["c2"]), scale("c2", 255) * 2, np.int8(-5), "c2_d")
    b.add("Relu", [b.add("Add", [c2, "r1_d2"], "sum")], "r2")
    b.conv(b.pair("r2", scale("r2", 255), UINT8, "r2_d"), weight["c3"], "c3", bias["c3"])
    b.add("Identity", ["c3"], "logits")
    return b


def tf2onnx(channels: bool = True) -> Builder:
    """HWIO weights quantized before their Transpose, and a Transpose between an activation's Q and DQ."""
    b = Builder()
    b.add("Transpose", ["image"], "nhwc", perm=[0, 2, 3, 1])

    def layer(x: str, name: str) -> str:
        values = np.ascontiguousarray(WEIGHTS[name].transpose(2, 3, 1, 0))
        step = per_channel(values, 3) if channels else symmetric(values)
        axis = {"axis": 3} if channels else {}
        weight = b.pair(
            b.const(f"{name}/kernel", values), step, np.zeros(np.shape(step), np.int8), f"{name}_wd", **axis
        )
        weight = b.add("Transpose", [weight], f"{name}_wt", perm=[3, 2, 0, 1])
        return b.conv(x, weight, name, b.const(f"{name}/bias", BIASES[name]))

    def activation(x: str, amax: str) -> str:
        """`x` is NHWC; its DQ is NCHW, the Transpose having sunk below the Q."""
        parameters = [b.const(f"{x}_s", scale(amax)), b.const(f"{x}_z", INT8)]
        b.add("QuantizeLinear", [x, *parameters], f"{x}_q")
        b.add("Transpose", [f"{x}_q"], f"{x}_qt", perm=[0, 3, 1, 2])
        return b.add("DequantizeLinear", [f"{x}_qt", *parameters], f"{x}_dq")

    b.add("Transpose", [layer(activation("nhwc", "image"), "c1")], "c1_nhwc", perm=[0, 2, 3, 1])
    b.add("Relu", ["c1_nhwc"], "r1")
    r1 = activation("r1", "r1")
    b.add("Add", [layer(r1, "c2"), r1], "sum")
    b.add("Relu", ["sum"], "r2_nchw")
    b.add("Transpose", ["r2_nchw"], "r2", perm=[0, 2, 3, 1])
    b.add("Identity", [layer(activation("r2", "r2"), "c3")], "logits")
    return b


TOOLKITS: dict[str, Callable[[], Builder]] = {
    "modelopt.onnx": modelopt_onnx,
    "modelopt.torch and pytorch-quantization": torch_exporter,
    "onnxruntime, per channel": onnx_runtime,
    "onnxruntime, per tensor": lambda: onnx_runtime(channels=False),
    "onnxruntime, uint8 weights": lambda: onnx_runtime(np.uint8),
    "nncf": nncf,
    "tf2onnx, per channel": tf2onnx,
    "tf2onnx, per tensor": lambda: tf2onnx(False),
}
OPSETS = {"modelopt.torch and pytorch-quantization": 13}

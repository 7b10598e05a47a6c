"""All peers, with the settings their documentation recommends for a convolutional network on this kind of engine."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.peer_tools.base import Peer
from core.errors import UserError

FLOAT_FAMILY = "bf16"  # no toolkit: the float engine that INT8 has to beat where the CPU computes BF16


def _nncf(name: str, preset: str) -> Peer:
    return Peer(
        name=name,
        family="nncf",
        module="benchmarks.peer_tools.nncf_openvino",
        call="nncf.quantize of the OpenVINO model",
        settings={"preset": preset},
        file="model.xml",
        beside=("model.bin",),
        backends=("openvino",),
        imports=("nncf",),
        packages=("nncf", "openvino"),
    )


def _nncf_onnx(name: str, preset: str) -> Peer:
    return Peer(
        name=name,
        family="nncf",
        module="benchmarks.peer_tools.nncf_onnx",
        call="nncf.quantize of the ONNX graph",
        settings={"preset": preset},
        file="model.onnx",
        backends=("onnxruntime",),
        imports=("nncf",),
        packages=("nncf", "onnx"),
    )


def _ort(name: str, activations: str, method: str, **options: float) -> Peer:
    return Peer(
        name=name,
        family="ort",
        module="benchmarks.peer_tools.ort_static",
        call="onnxruntime quant_pre_process, then quantize_static",
        settings={"activations": activations, "weights": "QInt8", "per_channel": True, "method": method, **options},
        file="model.onnx",
        backends=("onnxruntime",),
        imports=("onnxruntime",),
        packages=("onnxruntime",),
    )


def _modelopt_onnx(name: str, method: str) -> Peer:
    return Peer(
        name=name,
        family="modelopt",
        module="benchmarks.peer_tools.modelopt_onnx",
        call="modelopt.onnx.quantization.quantize",
        settings={"quantize_mode": "int8", "calibration_method": method, "high_precision_dtype": "fp32"},
        file="model.onnx",
        backends=("openvino", "onnxruntime", "trt"),
        imports=("modelopt", "requests", "huggingface_hub", "onnxslim", "onnxconverter_common", "lief"),
        packages=("nvidia-modelopt", "onnxruntime"),
    )


PEERS: tuple[Peer, ...] = (
    _nncf("nncf-performance", "performance"),
    _nncf("nncf-mixed", "mixed"),
    _nncf_onnx("nncf-onnx-performance", "performance"),
    _nncf_onnx("nncf-onnx-mixed", "mixed"),
    _ort("ort-s8s8", "QInt8", "MinMax"),
    _ort("ort-u8s8", "QUInt8", "MinMax"),
    _ort("ort-u8s8-percentile", "QUInt8", "Percentile", percentile=99.999),
    _modelopt_onnx("modelopt-max", "max"),
    _modelopt_onnx("modelopt-entropy", "entropy"),
    Peer(
        name="modelopt-torch",
        family="modelopt",
        module="benchmarks.peer_tools.modelopt_torch",
        call="modelopt.torch.quantization.quantize, then torch.onnx.export (TorchScript)",
        settings={"config": "INT8_DEFAULT_CFG", "opset": 17},
        file="model.onnx",
        backends=("openvino", "onnxruntime", "trt"),
        imports=("modelopt", "requests", "huggingface_hub"),
        packages=("nvidia-modelopt", "torch"),
    ),
)
FAMILIES = (*dict.fromkeys(peer.family for peer in PEERS), FLOAT_FAMILY)


def peer(name: str) -> Peer:
    """The peer of that name; raises `KeyError` for another."""
    return {peer.name: peer for peer in PEERS}[name]


def selected(families: Sequence[str]) -> list[Peer]:
    """The peers of these families, in the catalog's order.

    Raises:
        UserError: a family that does not exist.
    """
    unknown = [family for family in families if family not in FAMILIES]
    if unknown:
        raise UserError(f"no peers called {', '.join(unknown)}", fix=f"--peers takes {', '.join(FAMILIES)}")
    return [peer for peer in PEERS if peer.family in families]

"""All baselines, with the settings their documentation recommends for a convolutional network on these engines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.baselines.base import Baseline
from core.backends import BACKEND_NAMES
from core.errors import UserError
from core.nearest import did_you_mean
from deploy.hardware.cpu import multiplies_uint8

FLOAT_FAMILY = "bf16"  # no toolkit: the float engine that INT8 must beat where the CPU computes BF16


def _nncf() -> Iterator[Baseline]:
    presets: dict[str, dict[str, object]] = {name: {"preset": name} for name in ("performance", "mixed")}
    if not multiplies_uint8():  # its own way round sums that overflow
        presets["mixed-7bit"] = {"preset": "mixed", "overflow_fix": "enable"}
    for name, settings in presets.items():
        yield Baseline(
            name=f"nncf-{name}",
            family="nncf",
            toolkit="nncf_openvino",
            call="nncf.quantize of the OpenVINO model",
            settings=settings,
            files=("model.bin", "model.xml"),
            backends=("openvino",),
            imports=("nncf",),
            packages=("nncf", "openvino"),
        )
    for preset in ("performance", "mixed"):
        yield Baseline(
            name=f"nncf-onnx-{preset}",
            family="nncf",
            toolkit="nncf_onnx",
            call="nncf.quantize of the ONNX graph",
            settings={"preset": preset},
            backends=("onnxruntime",),
            imports=("nncf",),
            packages=("nncf", "onnx"),
        )


def _onnxruntime() -> Iterator[Baseline]:
    variants: dict[str, dict[str, object]] = {
        "ort-s8s8": {"activations": "QInt8", "method": "MinMax"},
        "ort-u8s8": {"activations": "QUInt8", "method": "MinMax"},
        "ort-u8s8-percentile": {"activations": "QUInt8", "method": "Percentile", "percentile": 99.999},
    }
    if not multiplies_uint8():  # as above
        variants["ort-u8s8-7bit"] = {"activations": "QUInt8", "method": "MinMax", "reduce_range": True}
    for name, own in variants.items():
        yield Baseline(
            name=name,
            family="ort",
            toolkit="ort_static",
            call="onnxruntime quant_pre_process, then quantize_static",
            settings={"weights": "QInt8", "per_channel": True, **own},
            backends=("onnxruntime",),
            imports=("onnxruntime",),
            packages=("onnxruntime",),
        )


def _modelopt() -> Iterator[Baseline]:
    for method in ("max", "entropy"):
        yield Baseline(
            name=f"modelopt-{method}",
            family="modelopt",
            toolkit="modelopt_onnx",
            call="modelopt.onnx.quantization.quantize",
            settings={"quantize_mode": "int8", "calibration_method": method, "high_precision_dtype": "fp32"},
            backends=BACKEND_NAMES,
            imports=("modelopt", "requests", "huggingface_hub", "onnxslim", "onnxconverter_common", "lief"),
            packages=("nvidia-modelopt", "onnxruntime"),
        )
    yield Baseline(
        name="modelopt-torch",
        family="modelopt",
        toolkit="modelopt_torch",
        call="modelopt.torch.quantization.quantize, then torch.onnx.export (TorchScript)",
        settings={"config": "INT8_DEFAULT_CFG", "opset": 17},
        backends=BACKEND_NAMES,
        imports=("modelopt", "requests", "huggingface_hub"),
        packages=("nvidia-modelopt", "torch"),
    )


BASELINES: tuple[Baseline, ...] = (*_nncf(), *_onnxruntime(), *_modelopt())
FAMILIES = (*dict.fromkeys(each.family for each in BASELINES), FLOAT_FAMILY)


def baseline(name: str) -> Baseline:
    """The baseline of that name; raises `KeyError` for another."""
    return {each.name: each for each in BASELINES}[name]


def selected(families: Sequence[str]) -> list[Baseline]:
    """The baselines of these families, in the catalog's order.

    Raises:
        UserError: a family that does not exist.
    """
    unknown = [family for family in families if family not in FAMILIES]
    if unknown:
        raise UserError(f"no baselines called {', '.join(unknown)}", fix=did_you_mean(unknown[0], FAMILIES))
    return [each for each in BASELINES if each.family in families]

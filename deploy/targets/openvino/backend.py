"""OpenVINO on the CPU: FP32, BF16 where the CPU computes it, and INT8 from a Q/DQ graph.

Source: OpenVINO documentation, "CPU Device" (inference precision hint, runtime model) and "Precision Control".
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy.bundle.store import check_bundle, write_bundle
from deploy.bundle.types import BuildOptions, Bundle, Precision
from deploy.hardware.cpu import BF16, UINT8, abilities, computes_bf16
from deploy.hardware.signal_stack import make_room
from deploy.targets.base import LayerInfo, Tensor, Tensors, Unavailable
from deploy.targets.packages import missing_package, package_version

MODEL, WEIGHTS = "model.xml", "model.bin"
_CONVOLUTIONS = {"Convolution", "GroupConvolution", "Deconvolution"}
_PRECISION_BY_SUFFIX = {"i8": "int8", "u8": "int8", "bf16": "bf16", "f16": "fp16", "f32": "fp32"}
_DTYPES = {**_PRECISION_BY_SUFFIX, "i32": "int32", "i64": "int64", "boolean": "bool"}
_NEVER_EXECUTED = "unknown_"  # begins the `primitiveType` of constants, inputs, outputs and reshapes in place


class OpenVINOBackend:
    """Engines are OpenVINO IR; the manifest holds the properties that they are compiled with."""

    name = title = target = "openvino"
    section = ""
    files: tuple[str, ...] = (MODEL, WEIGHTS)
    fallback_in_graph = False
    precisions: tuple[Precision, ...] = ("fp32", "bf16", "int8")

    def version(self) -> str:
        """Version of the openvino package."""
        return package_version("openvino")

    def device(self, precision: Precision) -> Mapping[str, Any]:
        """BF16 arithmetic, and for INT8 the abilities that decide its number formats too."""
        used = {"bf16": {BF16}, "int8": {BF16, UINT8}}.get(precision, set())
        return {"cpu": sorted(used & abilities())}

    def available(self, precision: Precision) -> Unavailable | None:
        """BF16 is refused where it would be emulated: it would be timed as something it is not."""
        if precision == "bf16" and not computes_bf16():
            return Unavailable("this CPU has no BF16 arithmetic (avx512_bf16 or amx_bf16)", "use a newer CPU")
        return missing_package("openvino")

    def runnable(self, precision: Precision) -> Unavailable | None:
        """What can be built can be run."""
        return self.available(precision)

    def build(self, onnx: Path, out: Path, options: BuildOptions) -> Bundle:
        """Convert to IR with weights as they are; INT8 graphs keep their Q/DQ, which the CPU plugin fuses."""
        import openvino

        def fill(folder: Path) -> Mapping[str, Any]:
            model = openvino.Core().read_model(onnx)
            _number_unnamed(model)
            openvino.save_model(model, folder / MODEL, compress_to_fp16=False)
            return {"properties": _properties(options)}

        return write_bundle(out, self, options, onnx, fill)

    @contextmanager
    def open(self, bundle: Bundle) -> Iterator[OpenVINOSession]:
        """Check the hashes, compile, and hold one inference request."""
        yield OpenVINOSession(self._compile(bundle))

    def layers(self, bundle: Bundle) -> list[LayerInfo]:
        """Layers of the compiled model by `primitiveType`: `runtimePrecision` also calls float kernels i8."""
        model = self._compile(bundle).get_runtime_model()
        return [_layer(operation) for operation in model.get_ordered_ops()]

    def _compile(self, bundle: Bundle) -> Any:
        check_bundle(bundle, self.version(), self.files)
        return compile_model(bundle.dir / MODEL, bundle.manifest["properties"])


def _number_unnamed(model: Any) -> None:
    """OpenVINO numbers operators without a name by a count of its process: count anew, so that equal graphs are equal
    files."""
    for index, operation in enumerate(model.get_ordered_ops()):
        if operation.get_friendly_name() == operation.get_name():
            operation.set_friendly_name(f"{operation.get_type_name()}_{index}")


def compile_model(model: Path, properties: Mapping[str, Any]) -> Any:
    """`openvino.CompiledModel` of an IR on the CPU."""
    import openvino

    compiled = openvino.Core().compile_model(model, "CPU", dict(properties))
    make_room()
    return compiled


class OpenVINOSession:
    """One compiled model with one request, whose tensors are filled and read in place."""

    def __init__(self, compiled: Any) -> None:
        self._request = compiled.create_infer_request()
        self.input_names = tuple(port.get_any_name() for port in compiled.inputs)
        self.output_names = tuple(port.get_any_name() for port in compiled.outputs)

    def run(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """One inference; the results are copies that the next one leaves alone."""
        self._fill(feeds)
        self._request.infer()
        return {name: self._request.get_tensor(name).data.copy() for name in self.output_names}

    def time_ms(self, feeds: Tensors, runs: int) -> NDArray[np.float64]:
        """Milliseconds of each of `runs` inferences, inputs in place."""
        self._fill(feeds)
        samples = np.empty(runs)
        for index in range(runs):
            start = time.perf_counter()
            self._request.infer()
            samples[index] = (time.perf_counter() - start) * 1e3
        return samples

    def _fill(self, feeds: Tensors) -> None:
        for name, value in feeds.items():
            self._request.get_tensor(name).data[...] = value


def _properties(options: BuildOptions) -> dict[str, Any]:
    """Latency first; what an INT8 graph leaves in float runs in BF16 where that is fast."""
    low = options.precision == "bf16" or (options.precision == "int8" and computes_bf16())
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": options.threads,
        "INFERENCE_PRECISION_HINT": "bf16" if low else "f32",
    }


def kind_of(layer_type: str) -> str:
    """ "Conv" for every convolution, else OpenVINO's own name."""
    return "Conv" if layer_type in _CONVOLUTIONS else layer_type


def precision_of(primitive: str) -> str:
    """What a kernel computes in, from the end of its `primitiveType`."""
    return _PRECISION_BY_SUFFIX.get(primitive.lower().rpartition("_")[2], "unknown")


def _layer(operation: Any) -> LayerInfo:
    info = {key: value.astype(str) for key, value in operation.get_rt_info().items()}
    primitive = info.get("primitiveType", "")
    runs = not (primitive.startswith(_NEVER_EXECUTED) or _is_constant(operation))
    sources = [(port, _is_constant(port.get_source_output().get_node())) for port in operation.inputs()] if runs else []
    return LayerInfo(
        name=operation.get_friendly_name(),
        kind=kind_of(info["layerType"]),
        precision=precision_of(primitive),
        detail=primitive,
        origin=tuple(filter(None, info.get("originalLayersNames", "").split(","))),
        inputs=tuple(_tensor(port) for port, constant in sources if not constant),
        constants=tuple(_tensor(port) for port, constant in sources if constant),
        outputs=tuple(map(_tensor, operation.outputs())) if runs else (),
    )


def _is_constant(node: Any) -> bool:
    """True for a constant, also behind the reshapes and copies that are made of it once."""
    sources = [port.get_source_output().get_node() for port in node.inputs()]
    kind = node.get_rt_info()["layerType"].astype(str)
    return kind == "Const" or (bool(sources) and all(map(_is_constant, sources)))


def _tensor(port: Any) -> Tensor:
    sides = port.get_partial_shape()
    shape = tuple(side.get_length() if side.is_static else 1 for side in sides)
    return Tensor(shape, _DTYPES.get(port.get_element_type().get_type_name(), "unknown"))


BACKEND = OpenVINOBackend()

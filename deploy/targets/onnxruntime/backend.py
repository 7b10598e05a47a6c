"""ONNX Runtime on the CPU: FP32, and INT8 from a Q/DQ graph.

Source: ONNX Runtime documentation, "Quantize ONNX models" (QDQ format) and "Graph Optimizations".
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx as onnx_package
from numpy.typing import NDArray

from deploy.bundle.store import check_bundle, write_bundle
from deploy.bundle.types import BuildOptions, Bundle, Precision
from deploy.hardware.cpu import UINT8, abilities
from deploy.targets.base import LayerInfo, Tensor, Tensors, Unavailable
from deploy.targets.packages import missing_package, package_version

MODEL = "model.onnx"
_KERNEL_TIME = "_kernel_time"
_ERRORS_ONLY = 3
_INT8_CONVOLUTIONS = {"QLinearConv", "ConvInteger"}
_FLOAT_CONVOLUTIONS = {"Conv", "FusedConv", "ConvTranspose"}
_INT8_PREFIXES = ("QLinear", "QGemm", "QAttention", "MatMulInteger", "DynamicQuantize")
# As the profiler and `NodeArg.type` name them; both name the others as numpy does.
_DTYPES = {"uint8": "int8", "float": "fp32", "float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
_NUMPY = {"float": "float32"}


class ONNXRuntimeBackend:
    """The engine file is the ONNX itself: sessions optimise it when they open it."""

    name = title = target = "onnxruntime"
    section = ""
    files: tuple[str, ...] = (MODEL,)
    fallback_in_graph = False
    precisions: tuple[Precision, ...] = ("fp32", "int8")

    def version(self) -> str:
        """Version of the onnxruntime package."""
        return package_version("onnxruntime")

    def device(self, precision: Precision) -> Mapping[str, Any]:
        """For INT8 the abilities that decide its number formats (see `deploy.targets.target_for`)."""
        used = {UINT8} if precision == "int8" else set()
        return {"cpu": sorted(used & abilities())}

    def available(self, precision: Precision) -> Unavailable | None:
        """Whether the package is here."""
        return missing_package("onnxruntime")

    def runnable(self, precision: Precision) -> Unavailable | None:
        """What can be built can be run."""
        return self.available(precision)

    def build(self, onnx: Path, out: Path, options: BuildOptions) -> Bundle:
        """Copy the graph and make sure that a session can be opened on it."""

        def fill(folder: Path) -> Mapping[str, Any]:
            shutil.copyfile(onnx, folder / MODEL)
            open_session(folder / MODEL, options.threads)
            return {"threads": options.threads}

        return write_bundle(out, self, options, onnx, fill)

    @contextmanager
    def open(self, bundle: Bundle) -> Iterator[ONNXRuntimeSession]:
        """Check the hash, then open a session."""
        check_bundle(bundle, self.version(), self.files)
        yield ONNXRuntimeSession(open_session(bundle.dir / MODEL, bundle.manifest["threads"]))

    def layers(self, bundle: Bundle) -> list[LayerInfo]:
        """Operators of the graph as ONNX Runtime has optimised and fused it.

        One inference on zeros, under the profiler, gives the shapes that the optimised graph lacks.
        """
        check_bundle(bundle, self.version(), self.files)
        with tempfile.TemporaryDirectory() as folder:
            optimized = Path(folder) / "optimized.onnx"
            session = open_session(bundle.dir / MODEL, bundle.manifest["threads"], optimized, Path(folder))
            feeds = {value.name: _zeros(value) for value in session.get_inputs()}
            session.run(None, feeds)
            events = kernel_events(session)
            graph = onnx_package.load(str(optimized)).graph
        outputs = {name: event["args"]["output_type_shape"] for name, event in events}
        constants = {value.name: _constant(value) for value in graph.initializer}
        tensors = {name: Tensor(value.shape, _dtype(value.dtype.name)) for name, value in feeds.items()}
        for node in graph.node:
            tensors |= zip(node.output, map(_described, outputs.get(node.name, ())), strict=False)
        return [_layer(node, tensors, constants) for node in graph.node]


class ONNXRuntimeSession:
    """A session whose tensors are bound once and reused while it is timed."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.input_names = tuple(value.name for value in session.get_inputs())
        self.output_names = tuple(value.name for value in session.get_outputs())

    def run(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """One inference."""
        values = self._session.run(list(self.output_names), dict(feeds))
        return dict(zip(self.output_names, values, strict=True))

    def time_ms(self, feeds: Tensors, runs: int) -> NDArray[np.float64]:
        """Milliseconds of each of `runs` inferences on bound tensors."""
        binding = self._session.io_binding()
        for name, value in feeds.items():
            binding.bind_cpu_input(name, np.ascontiguousarray(value))
        for name in self.output_names:
            binding.bind_output(name)
        samples = np.empty(runs)
        for index in range(runs):
            start = time.perf_counter()
            self._session.run_with_iobinding(binding)
            samples[index] = (time.perf_counter() - start) * 1e3
        return samples


def open_session(model: Path, threads: int, save_to: Path | None = None, profile_to: Path | None = None) -> Any:
    """An `InferenceSession` on the CPU, `threads` wide.

    Args:
        save_to: file that gets the optimised graph.
        profile_to: folder that gets the profile when `end_profiling` is called.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    if save_to is not None:
        options.optimized_model_filepath = str(save_to)
    if profile_to is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile_to / "profile")
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def kind_of(operator: str) -> str:
    """ "Conv" for every convolution, else the operator's name."""
    return "Conv" if operator in _INT8_CONVOLUTIONS | _FLOAT_CONVOLUTIONS else operator


def precision_of(operator: str) -> str:
    """What a CPU kernel computes in, which its operator tells."""
    int8 = operator in _INT8_CONVOLUTIONS or operator.startswith(_INT8_PREFIXES)
    return "int8" if int8 else "fp32"


def kernel_events(session: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """Ends profiling; name of the node and event of every kernel that ran, in order."""
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return [
        (event["name"].removesuffix(_KERNEL_TIME), event)
        for event in events
        if event.get("cat") == "Node" and event["name"].endswith(_KERNEL_TIME)
    ]


def _zeros(value: Any) -> NDArray[Any]:
    named = value.type.removeprefix("tensor(").removesuffix(")")
    return np.zeros([side if isinstance(side, int) else 1 for side in value.shape], _NUMPY.get(named, named))


def _constant(initializer: Any) -> Tensor:
    dtype = onnx_package.helper.tensor_dtype_to_np_dtype(initializer.data_type)
    return Tensor(tuple(initializer.dims), _dtype(dtype.name))


def _described(tensor: Mapping[str, Sequence[int]]) -> Tensor:
    """A tensor as the profiler writes it: `{"uint8": [1, 180, 240, 32]}`."""
    ((named, shape),) = tensor.items()
    return Tensor(tuple(shape), _dtype(named))


def _dtype(named: str) -> str:
    return _DTYPES.get(named, named)


def _layer(node: Any, tensors: Mapping[str, Tensor], constants: Mapping[str, Tensor]) -> LayerInfo:
    last = any(attribute.name == "channels_last" and attribute.i for attribute in node.attribute)

    def found(names: Iterable[str]) -> tuple[Tensor, ...]:
        return tuple(_channels_second(tensors[name]) if last else tensors[name] for name in names if name in tensors)

    return LayerInfo(
        name=node.name,
        kind=kind_of(node.op_type),
        precision=precision_of(node.op_type),
        detail=node.op_type,
        inputs=found(node.input),
        constants=tuple(constants[name] for name in node.input if name in constants),
        outputs=found(node.output),
    )


def _channels_second(tensor: Tensor) -> Tensor:
    """An N×H×W×C image as N×C×H×W; other tensors as they are."""
    shape = tensor.shape
    return Tensor((shape[0], shape[3], shape[1], shape[2]), tensor.dtype) if len(shape) == 4 else tensor


BACKEND = ONNXRuntimeBackend()

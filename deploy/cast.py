"""FP16 in the graph: strongly typed builders take precision from the tensors, not from a flag."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_graphsurgeon as gs

from deploy import onnx_graph


def to_fp16(source: Path, target: Path) -> None:
    """Write the float graph of `source` with FP16 weights and activations; graph inputs and outputs stay float32.

    The conversion is ONNX Runtime's (`onnxruntime.transformers.float16`), which keeps operators without an FP16 form
    in float32 and clips constants to FP16's range.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    converted = convert_float_to_float16(onnx.load(str(source)), keep_io_types=True)
    onnx_graph.save(gs.import_onnx(converted).cleanup().toposort(), target)

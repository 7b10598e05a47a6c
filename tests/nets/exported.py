"""The residual test network as the ONNX files that the deploy stage meets: float, Q/DQ and placed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from deploy.apply.dialects import DIALECTS
from deploy.apply.fp16 import to_fp16
from deploy.apply.place import place
from deploy.checks.verify import verify
from deploy.graph import onnx_graph
from deploy.placement.decide import Placement
from deploy.placement.rule_sets import select
from deploy.placement.rules import RULES
from qat.calibration.approaches import finish, set_modes
from qat.quantization.insert import insert
from qat.quantization.quantizers import Mode
from qat.tracing import fx_graph
from qat.tracing.export import export_onnx
from tests.nets.residual import residual_net

SHAPE = (1, 3, 32, 32)
OPSET = 17


@dataclass(frozen=True)
class Exported:
    """`fp32`, `fp16`, `qdq` (as trained) and `placed` (as built) are files; `placement` belongs to `placed`."""

    fp32: Path
    fp16: Path
    qdq: Path
    placed: Path
    placement: Placement
    dialects: Mapping[str, Path]

    def source(self, precision: str, dialect: str) -> Path:
        """What an engine of `precision` is built from."""
        return {"int8": self.dialects[dialect], "fp16": self.fp16}.get(precision, self.fp32)


def export(folder: Path) -> Exported:
    """Calibrate on random images (the statistics decide nothing here) and export everything."""
    example = torch.zeros(SHAPE)
    model = fx_graph.trace(residual_net(), example)
    export_onnx(model, example, folder / "fp32.onnx", OPSET)
    to_fp16(folder / "fp32.onnx", folder / "fp16.onnx")
    insert(model, RULES)
    set_modes(model, Mode.TRACK)
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    torch.manual_seed(1)
    model(torch.randn(4, *SHAPE[1:]))
    finish(model)
    export_onnx(model, example, folder / "qdq.onnx", OPSET)
    placed = place(folder / "qdq.onnx", RULES)
    onnx_graph.save(placed.graph, folder / "placed.onnx")
    np.save(folder / "calibration.npy", image())
    dialects = {name: _in_dialect(folder, name) for name in DIALECTS}
    return Exported(
        fp32=folder / "fp32.onnx",
        fp16=folder / "fp16.onnx",
        qdq=folder / "qdq.onnx",
        placed=folder / "placed.onnx",
        placement=placed.placement,
        dialects=dialects,
    )


def _in_dialect(folder: Path, name: str) -> Path:
    target = folder / f"placed-{name}.onnx"
    placed = place(folder / "qdq.onnx", select(name), dialect=DIALECTS[name], calibration=folder / "calibration.npy")
    onnx_graph.save(placed.graph, target)
    verify(target, placed.placement, DIALECTS[name].unsigned)
    return target


def image(seed: int = 2) -> NDArray[np.float32]:
    """A normalised image, `SHAPE`."""
    return np.random.default_rng(seed).standard_normal(SHAPE, dtype=np.float32)


def reference(model: Path, feeds: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """First output as ONNX Runtime computes it node by node, with every optimisation off."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)[0]

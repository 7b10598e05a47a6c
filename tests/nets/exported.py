"""The residual test network as the ONNX files that the deploy stage meets: float, Q/DQ and placed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from deploy.apply.fp16 import to_fp16
from deploy.checks.verify import verify
from deploy.graph import onnx_graph
from deploy.placement.rule_sets import select
from deploy.placement.rules import RULES
from deploy.plan.plan import QuantizationPlan
from deploy.targets import TARGETS, target_for
from qat.calibration.approaches import finish, set_modes
from qat.export import export_onnx
from qat.quantization.insert import insert
from qat.quantization.quantizers import Mode
from qat.tracing import fx_graph
from tests.nets.placing import place
from tests.nets.residual import residual_net

SHAPE = (1, 3, 32, 32)
OPSET = 18


@dataclass(frozen=True)
class Exported:
    """`fp32`, `fp16`, `qdq` (as trained) and `placed` (as built) are files; `plan` belongs to `placed`."""

    fp32: Path
    fp16: Path
    qdq: Path
    placed: Path
    plan: QuantizationPlan
    targets: Mapping[str, Path]

    def source(self, precision: str, target: str) -> Path:
        """The graph that an engine of `precision` is built from."""
        return {"int8": self.targets[target], "fp16": self.fp16}.get(precision, self.fp32)


def export(folder: Path) -> Exported:
    """Calibrate on random images (the statistics decide nothing here) and export everything."""
    example = torch.zeros(SHAPE)
    model = fx_graph.trace(residual_net(), example)
    export_onnx(model, example, folder / "fp32.onnx", OPSET)
    to_fp16(folder / "fp32.onnx", folder / "fp16.onnx")
    insert(model, RULES, graph=onnx_graph.load(folder / "fp32.onnx"))
    set_modes(model, Mode.TRACK)
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    torch.manual_seed(1)
    model(torch.randn(4, *SHAPE[1:]))
    finish(model)
    export_onnx(model, example, folder / "qdq.onnx", OPSET)
    placed = place(folder / "qdq.onnx")
    onnx_graph.save(placed.graph, folder / "placed.onnx")
    np.save(folder / "calibration.npy", image())
    targets = {name: _for_target(folder, name) for name in TARGETS}
    return Exported(
        fp32=folder / "fp32.onnx",
        fp16=folder / "fp16.onnx",
        qdq=folder / "qdq.onnx",
        placed=folder / "placed.onnx",
        plan=placed.plan,
        targets=targets,
    )


def _for_target(folder: Path, name: str) -> Path:
    path, target = folder / f"placed-{name}.onnx", target_for(name)
    placed = place(folder / "qdq.onnx", select(target.rule_set), target=target, calibration=folder / "calibration.npy")
    onnx_graph.save(placed.graph, path)
    verify(path, placed.plan, target.unsigned)
    return path


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

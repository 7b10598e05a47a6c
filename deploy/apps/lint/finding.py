"""One problem of a graph for TensorRT, with the document that describes it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

# error: refused or computed wrongly · warning: slower than necessary · info: inherent in the network
Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)

EXPLICIT = "NVIDIA TensorRT Developer Guide, Explicit Quantization"
PLACEMENT = "NVIDIA TensorRT Developer Guide, Q/DQ Layer-Placement Recommendations"
FUSIONS = "NVIDIA TensorRT Developer Guide, Types of Fusions"
TENSOR_CORES = "NVIDIA TensorRT Developer Guide, Optimizing for Tensor Cores"
OPERATORS = "onnx-tensorrt, Supported ONNX Operators"


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
        code: kind of the finding; a rule's name where a placement rule is broken.
        node: name in the given graph.
        why: how TensorRT treats the node.
        source: the document that describes this.
        mended: True if `python -m deploy place` fixes it; None before that was tried.
    """

    severity: Severity
    code: str
    node: str
    why: str
    source: str
    mended: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def at_least(severity: Severity, least: Severity) -> bool:
    """Return True if `severity` is as bad as `least`, or worse."""
    return SEVERITIES.index(severity) <= SEVERITIES.index(least)

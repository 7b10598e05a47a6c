"""One thing that TensorRT will not like, and where that is written."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

# error: refused, or computed wrongly · warning: slower than it needs to be · info: so by nature of the network
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
        code: what kind it is; a rule's name where a placement rule is broken.
        node: of the graph that was given.
        why: what TensorRT does with it.
        source: the document that says so.
        mended: whether `python -m deploy place` mends it; None before that was tried.
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
    """Whether `severity` is as bad as `least`, or worse."""
    return SEVERITIES.index(severity) <= SEVERITIES.index(least)

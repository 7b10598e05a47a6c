"""How INT8 is spelled for an engine: rewrites of the float graph before placement, element types after it.

A profile says where pairs go (`deploy.placement.rule_sets`); the dialect of the same name says in which form. Trained scales are
kept; what a tensor loses by a dialect is at most one trained step (see `deploy.apply.number_formats`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx_graphsurgeon as gs

from deploy.apply.insert import Scale
from deploy.apply.number_formats import Unsigned
from deploy.apply.rewrites.bn_as_conv import bn_as_conv
from deploy.apply.rewrites.fold_bn_through_add import fold_bn_through_add
from deploy.hardware.cpu import multiplies_uint8

Rewrite = Callable[[gs.Graph, Mapping[str, Scale]], dict[str, Scale]]


@dataclass(frozen=True)
class Dialect:
    """`rewrites` are exact and keep the scales that still hold; `unsigned` says which activations are uint8."""

    rewrites: tuple[Rewrite, ...] = ()
    unsigned: Unsigned = "never"


PLAIN = Dialect()

# The measurements that decided are in docs/placement.md.
DIALECTS: dict[str, Dialect] = {
    "tensorrt": PLAIN,
    "openvino": Dialect(unsigned="non-negative"),
    "onnxruntime": Dialect((fold_bn_through_add, bn_as_conv), unsigned="always"),
}


def dialect_of(profile: str) -> Dialect:
    """The dialect of a profile on this machine.

    Without VNNI or AMX, x86 kernels add two products of uint8 and int8 in 16 bits, which can overflow: int8 stays.
    """
    dialect = DIALECTS[profile]
    return dialect if multiplies_uint8() else Dialect(dialect.rewrites)
